import copy
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from meddet.pages.report import report_page
from meddet.pages.report_curves import points, read_rows
from meddet.pages.report_values import interval, metric_name, number
from tests.meddet.pages.invented import CORRUPTIONS, LEVELS, MODELS, UNDEFINED, sources

MEGABYTE = 1_000_000
VOID = ("meta", "img", "br", "image", "link", "input")


class Page(HTMLParser):
    """Collect what a browser would fetch and the tables by caption, and check that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption: str | None = None
        self._rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if tag == "table":
            assert self._caption is not None
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "caption" in self.open:
            self._caption = (self._caption or "") + data
        elif "td" in self.open or ("th" in self.open and self._rows):
            self._rows[-1][-1] += f" {data}" if "small" in self.open else data


def built(
    change: Callable[[Mapping[str, Any]], object] = lambda _: None, *, gallery: str = "", max_bytes: int = 15 * MEGABYTE
) -> str:
    given = sources()
    change(given.reports)
    return report_page(given, gallery=lambda _: gallery, max_bytes=max_bytes)


@pytest.fixture(scope="module")
def text() -> str:
    return built()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def shown(block: Mapping[str, Any], name: str) -> str:
    value = block["metrics"][name]
    return value if isinstance(value, str) else f"{number(value)} {interval(block['ci95'][name])}"


def test_it_is_one_file_that_asks_nobody(text: str, page: Page) -> None:
    assert page.open == []
    assert all(re.fullmatch(r"#\w+", address) for address in page.addresses)
    for word in ("url(", "@import", "<link", "<img", "fetch(", "XMLHttpRequest"):
        assert word not in text
    assert "default-src 'none'" in text
    assert text.count("Research use only; phantom scores are not clinical.") == 2


def test_the_questions_and_sections_stand_in_order(text: str) -> None:
    questions = ("Which discs?", "Which patients?", "How sure?", "At which operating point?", "Under which noise?")
    others = ("Compared with what?", "At what cost?")
    sections = [f'id="{name}"' for name in ("flow", "discs", "cost", "sources", "notes")]
    places = [text.index(word) for word in ('id="headline"', *questions, *others, *sections)]
    assert places == sorted(places)


def test_every_detection_metric_is_shown_for_every_model(page: Page) -> None:
    evaluate, table = sources().reports["evaluate"], page.tables["Every detection metric"]
    metrics = evaluate["student"]["detection"]["metrics"]
    assert [row[0] for row in table[1:]] == [metric_name(name) for name in metrics]
    for row, name in zip(table[1:], metrics, strict=True):
        assert row[1:] == [shown(evaluate[model]["detection"], name) for model in MODELS]


def test_what_the_locator_leaves_out_is_told(text: str) -> None:
    assert "95.4 % of the annotated test discs lie in the region" in text


def test_every_level_patient_error_and_group_has_its_row(page: Page) -> None:
    evaluate = sources().reports["evaluate"]
    student = evaluate["student"]
    for caption, blocks in (
        ("The student by level, given that the disc was located", student["levels"]["given_location"]),
        ("The student by level, end to end", student["levels"]["named"]),
        ("The student on discs of a patient, over the slices", student["patients"]["disc"]),
    ):
        table = page.tables[caption]
        assert [row[0] for row in table[1:]] == ["all", *LEVELS]
        for row in table[1:]:
            block = blocks[row[0]]
            assert row[1:-1] == [shown(block, name) for name in block["metrics"]]
    assert [row[1] for row in page.tables["Errors per image"][1:]] == [
        shown(student["errors"], name) for name in student["errors"]["metrics"]
    ]
    assert [row[1] for row in page.tables["Errors in all test images"][1:]] == [
        str(count) for count in student["errors"]["counts"].values()
    ]
    for kind, title in (("sex", "Sex"), ("scanner", "Scanner"), ("level", "Level")):
        assert [row[0] for row in page.tables[f"{title}: every number"][1:]] == list(evaluate["subgroups"][kind])


def test_comparisons_noise_and_cost_have_their_rows(page: Page) -> None:
    given = sources().reports
    table = page.tables["Student against the others"]
    assert len(table) - 1 == len(given["evaluate"]["comparisons"])
    assert table[1][:3] == ["student − plain student", "AP50, any class", "0.040 0.010 to 0.070"]
    assert table[1][3:] == ["< 0.001", "< 0.001", "46"]
    noise = page.tables["AP50, any class under each corruption"]
    assert [row[0] for row in noise[1:]] == [
        f"{name.replace('_', ' ')}, severity {severity}" for name in CORRUPTIONS for severity in (1, 3, 5)
    ]
    latency = given["benchmark"]["models"]["resnet50"]["latency"]["openvino"]
    row = next(row for row in page.tables["Latency at batch 1, threads: 2"] if row[0] == "OpenVINO")
    below = f"{latency['p95_ms']:.1f} ms; {latency['images_per_second']:.1f}/s"
    assert row[2] == f"{latency['p50_ms']:.1f} {below}"


def test_the_ratio_of_users_engine_is_told_first(text: str, page: Page) -> None:
    table = page.tables["Student against ResNet-50, the smallest teacher, in the same engine"]
    assert table[1] == ["speed, ONNX Runtime", "1.50 ×", "5.08 ×"]
    assert [row[1] for row in table if row[0].endswith("one thread")] == ["1.70 ×"] * 4
    assert "1.50 times as fast as ResNet-50 in the same engine; the paper says 5.08 times" in text


def test_what_is_undefined_or_withheld_stays_a_word(page: Page) -> None:
    table = page.tables["The student by level, given that the disc was located"]
    auc = table[0].index("AUC")
    assert next(row for row in table if row[0] == "C7/T1")[auc] == UNDEFINED
    young = next(row for row in page.tables["Age: every number"] if row[0] == "under 40")
    assert young[1] == "withheld fewer than 20 patients"
    assert all(cell == "withheld" for cell in young[2:-1])
    assert young[-1] == "253 of 564 7 patients, 94 images"


def test_no_threshold_that_keeps_the_promise_is_said() -> None:
    def lose(changed: Mapping[str, Any]) -> None:
        changed["evaluate"]["student"]["conformal"]["threshold"] = None
        changed["evaluate"]["student"]["conformal"]["metrics"]["miss_rate"] = UNDEFINED

    page = built(lose)
    assert "No threshold keeps the promise of at most 10.0 % missed with only 28 validation patients." in page
    assert "none holds" in page


def test_the_same_reports_are_the_same_bytes(text: str) -> None:
    assert built() == text


def test_hostile_names_stay_text() -> None:
    name = "<script>alert('x')</script>"

    def rename(changed: Mapping[str, Any]) -> None:
        scanners = changed["evaluate"]["subgroups"]["scanner"]
        changed["evaluate"]["subgroups"]["sex"][name] = changed["evaluate"]["subgroups"]["sex"].pop("F")
        scanners[name] = scanners.pop("Phantom A")
        changed["benchmark"]["machine"]["processor"] = name
        changed["evaluate"]["remarks"] = [name]

    hostile = built(rename)
    assert hostile.count("<script>") == 1, "the page's own"
    assert "alert('x')" not in hostile
    assert hostile.count("&lt;script&gt;alert") >= 6
    assert Page(hostile).open == []


def test_the_gallery_stands_between_cost_and_sources_and_knows_its_budget() -> None:
    asked: list[int] = []

    def gallery(budget: int) -> str:
        asked.append(budget)
        return '<section id="gallery"><p>pictures & boxes</p></section>'

    bare = built()
    full = report_page(sources(), gallery=gallery, max_bytes=2 * MEGABYTE)
    assert full.index('id="cost"') < full.index('<section id="gallery">') < full.index('id="sources"')
    assert asked[0] <= 2 * MEGABYTE - len(bare.encode())


def test_a_page_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected at most 500,000 bytes \(report.megabytes\), got"):
        built(gallery="x" * 500_000, max_bytes=500_000)
    with pytest.raises(ValueError, match=r"expected at most 10,000 bytes"):
        built(max_bytes=10_000)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("evaluate", "student", "froc"), "reports/evaluate.json: student: expected a key 'froc'"),
        (("evaluate", "comparisons"), "reports/evaluate.json: the file: expected a key 'comparisons'"),
        (
            ("evaluate", "student", "detection", "metrics", "ap50.any"),
            "student.detection.metrics: expected a key 'ap50.any'",
        ),
        (("benchmark", "models", "student", "bytes"), "reports/benchmark.json: models.student: expected a key 'bytes'"),
        (("robustness", "comparison"), "reports/robustness.json: the file: expected a key 'comparison'"),
        (("split", "parts", "test"), "reports/split.json: parts: expected a key 'test'"),
    ],
)
def test_a_missing_part_is_named(keys: tuple[str, ...], said: str) -> None:
    def remove(changed: Mapping[str, Any]) -> None:
        *path, last = keys
        place: Any = changed
        for key in path:
            place = place[key]
        del place[last]

    with pytest.raises(ValueError, match=re.escape(said)):
        built(remove)


@pytest.mark.parametrize(("name", "key"), [("robustness", "test_md5"), ("package", "data_md5")])
def test_reports_about_other_data_are_refused(name: str, key: str) -> None:
    def swap(changed: Mapping[str, Any]) -> None:
        changed[name][key] = "f" * 32

    with pytest.raises(ValueError, match=f"reports/{name}.json: {key}: expected .* as in reports/evaluate.json, got f"):
        built(swap)


def test_curves_are_read_from_tables_and_words_are_no_points(tmp_path: Path) -> None:
    path = tmp_path / "roc.csv"
    path.write_text(f"model,unit,fpr,tpr\nstudent,disc,0,0.5\nstudent,disc,{UNDEFINED},1\nother,disc,1,1\n")
    rows = read_rows(path, ("model", "unit", "fpr", "tpr"))
    assert points(rows, "fpr", "tpr", model="student", unit="disc") == [(0.0, 0.5)]
    with pytest.raises(ValueError, match=r"roc.csv: expected a column 'n', got model, unit, fpr, tpr"):
        read_rows(path, ("model", "n"))
    with pytest.raises(ValueError, match=r"none.csv: expected a table of a, b, found no file"):
        read_rows(tmp_path / "none.csv", ("a", "b"))


def test_the_sources_are_not_changed() -> None:
    given = sources()
    before = copy.deepcopy(given)
    report_page(given, gallery=lambda _: "", max_bytes=15 * MEGABYTE)
    assert given == before
