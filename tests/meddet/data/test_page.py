import re
from html.parser import HTMLParser

from meddet.data.finding import Finding
from meddet.data.page import Gate, validation_page

HOLDS = Finding(
    table="patients",
    type="ExpectColumnValuesToBeInSet",
    kwargs={"column": "sex", "value_set": ["F", "M"]},
    text="a known sex",
    success=True,
    num_rows=40,
    num_failed=0,
    rows=(),
    error=None,
)
FAILS = Finding(
    table="boxes",
    type="ExpectColumnPairValuesAToBeGreaterThanB",
    kwargs={"column_A": "image_width", "column_B": "x2"},
    text="a box that ends inside the image",
    success=False,
    num_rows=240,
    num_failed=25,
    rows=tuple(str(row) for row in range(20)),
    error=None,
)
BROKEN = Finding(
    table="images",
    type="ExpectColumnValuesToBeBetween",
    kwargs={"column": "std", "min_value": 0, "strict_min": True},
    text="an image that is not constant",
    success=False,
    num_rows=80,
    num_failed=0,
    rows=(),
    error='no column "std" <b>',
)
GATES = (Gate("Annotations", True, "2 faults", ("no area: 2 rejected", "a <b>")), Gate("Doubles", True, "None.", ()))
NUM_ROWS = {"patients": 40, "images": 80, "boxes": 240}


def page(*findings: Finding) -> str:
    return validation_page(findings, GATES, num_rows=NUM_ROWS, data_md5="0123.dir")


def test_findings_are_said_in_one_line() -> None:
    assert str(HOLDS) == "patients.sex: expected a known sex (F or M), not so in 0 of 40 rows: "
    assert str(FAILS) == (
        "boxes.image_width ≥ x2: expected a box that ends inside the image, not so in 25 of 240 rows: 0, 1, 2, ..."
    )
    assert str(BROKEN) == (
        'images.std: expected an image that is not constant (above 0), got an error: no column "std" <b>'
    )


def test_failures_come_first_with_their_rows() -> None:
    text = page(HOLDS, FAILS, BROKEN)
    assert "2 of 3 expectations failed" in text
    assert "25 of 240 rows: <code>0, 1, 2, 3" in text
    assert "18, 19, and 5 more</code>" in text
    assert "no column &quot;std&quot; &lt;b&gt;" in text
    assert text.index('class="failure"') < text.index("<h2>Patients</h2>")
    assert "All 1 expectations hold" in page(HOLDS)


def test_gates_are_shown_and_a_closed_one_stops() -> None:
    text = page(HOLDS)
    assert "<h2>Annotations</h2><p>2 faults</p><ul><li>no area: 2 rejected</li><li>a &lt;b&gt;</li></ul>" in text
    assert "<h2>Doubles</h2><p>None.</p>" in text
    closed = Gate("Doubles", False, "23 pairs", tuple(f"pair {number}" for number in range(23)))
    text = validation_page([HOLDS], [closed], num_rows=NUM_ROWS, data_md5="0123.dir")
    assert "Doubles: refused. The graph stops here." in text
    assert "pair 19</li><li>and 3 more</li>" in text


def test_the_page_stands_alone() -> None:
    text = page(HOLDS, FAILS, BROKEN)
    assert not re.search(r"https?:|//|<script|<link|<img|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "research use only" in text
    assert "0123.dir" in text
    assert text == page(HOLDS, FAILS, BROKEN)


def test_every_tag_is_closed() -> None:
    class Tags(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    tags = Tags()
    tags.feed(page(HOLDS, FAILS, BROKEN))
    assert tags.open == []
