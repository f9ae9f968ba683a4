import re
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Collect what a browser would fetch, and check that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "image", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(hospital: Any) -> str:
    for stage in ("validate", "split", "data_page"):
        code, said = hospital.call(stage)
        assert code == 0, said
    return (hospital.root / "artifacts/data_page/data.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_loads_nothing(ingested: Any) -> None:
    text = page_of(ingested)
    page = Page(text)
    assert page.open == []
    assert all(re.match(r"#\w+$|data:image/(png|jpeg);base64,", address) for address in page.addresses)
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text
    for heading in (
        "Enrolment",
        "Patients",
        "Classes by level",
        "Split",
        "Agreement of raters",
        "Findings of the gates",
    ):
        assert heading in page.text
    assert "Research use only" in page.text
    assert text.count("<figure>") == 6, "one thumbnail for each of the six patients"
    assert text.count("<rect") == 12
    assert "no raters' files" in page.text


def test_the_same_data_give_the_same_page_and_no_patient_is_named(ingested: Any) -> None:
    first = page_of(ingested)
    assert ingested.call("data_page")[0] == 0
    assert (ingested.root / "artifacts/data_page/data.html").read_text(encoding="utf-8") == first
    assert not re.search(r"\bP[1-8]_?[01]?\b", Page(first).text)


def test_what_a_file_says_is_escaped(hospital: Any) -> None:
    table = hospital.root / "data/patients.csv"
    table.write_text(table.read_text().replace(",A,", ",<b>A&amp;</b>,"))
    assert hospital.call("ingest")[0] == 0
    text = page_of(hospital)
    assert "<b>" not in text
    assert "&lt;b&gt;A&amp;amp;&lt;/b&gt;" in text


def test_what_an_import_left_behind_is_shown(hospital: Any) -> None:
    outcomes = '{"brought": 5, "left out": 0, "outside the intended use": 2, "failed": 1, "ignored": 0}'
    counts = f'{{"files": 8, "images": 5, "boxes": 3, "patients": 2, "outcomes": {outcomes}}}'
    (hospital.root / "data/import.json").write_text(f'{{"counts": {counts}}}')
    assert hospital.call("ingest")[0] == 0
    assert "8 files gave 5 images; 2 outside the intended use, 1 failed" in Page(page_of(hospital)).text
