"""The report page as Chromium shows it; skipped where there is no Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meddet.pages.report import report_page
from tests.meddet.pages.invented import sources

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
A4_PX = 703
"""The width of A4 without the page's margins of 12 mm."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_page(sources(), gallery=lambda _: "", max_bytes=15_000_000), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as program:
        opened = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visit(browser: Any, address: str, **options: Any) -> Any:
    page = browser.new_page(**options)
    page.goto(address)
    return page


def test_it_opens_without_errors_or_requests_outside(browser: Any, address: str) -> None:
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert said == []
    assert asked == [address]
    assert page.title() == "MedDet report"
    page.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_scrolls_sideways_but_tables(browser: Any, address: str, width: int) -> None:
    page = visit(browser, address, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    narrow = page.locator("figure > svg").evaluate_all("all => all.filter(each => each.clientWidth < 250).length")
    assert narrow == 0, "charts stay large enough to be read"
    page.close()


def test_dark_and_light_differ_and_print_is_light(browser: Any, address: str) -> None:
    paper = {}
    for scheme in ("light", "dark"):
        page = visit(browser, address, color_scheme=scheme)
        look = "getComputedStyle(document.body).backgroundColor"
        line = "getComputedStyle(document.querySelector('svg .line.s0')).stroke"
        paper[scheme] = (page.evaluate(look), page.evaluate(line))
        page.emulate_media(media="print")
        assert page.evaluate(look) == "rgb(255, 255, 255)"
        page.close()
    assert paper["light"][0] != paper["dark"][0]
    assert paper["light"][1] != paper["dark"][1]


def test_in_print_no_table_is_cut_and_everything_is_open(browser: Any, address: str) -> None:
    page = visit(browser, address, viewport={"width": A4_PX, "height": 1000})
    assert page.locator("details table").first.is_hidden()
    page.emulate_media(media="print")
    hidden = page.locator("details table").evaluate_all("all => all.filter(each => !each.checkVisibility()).length")
    assert hidden == 0
    wide = page.locator("table").evaluate_all(f"all => all.filter(e => e.scrollWidth > {A4_PX}).map(e => e.innerText)")
    assert wide == []
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.close()


def test_the_contents_lead_to_their_sections_by_keyboard(browser: Any, address: str) -> None:
    page = visit(browser, address)
    links = page.locator("nav a:visible").evaluate_all("all => all.map(each => each.getAttribute('href').slice(1))")
    assert "gallery" not in links, "there is none on this page"
    assert len(links) > 10
    assert page.evaluate("names => names.filter(name => !document.getElementById(name))", links) == []
    page.locator("nav a[href='#cost']").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#cost'")
    page.close()
