"""The gallery as Chromium shows it, beside what Python says of the same models; skipped where there is no Chromium."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meddet.classes import CLASSES
from meddet.evaluate.errors import CALL_KINDS, MISSED, RIGHT, ImageErrors, error_verdicts
from meddet.evaluate.scored import Scored
from meddet.pages.gallery import gallery_fragment
from meddet.pages.gallery_figures import SHOWN_KINDS, worst_images
from tests.meddet.pages.gallery_models import IMAGES, gallery_models, pixels_of, regions, with_thresholds

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
MODELS = gallery_models()
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><title>gallery</title></head>
<body><button id="before">before</button>{fragment}<button id="after">after</button></body></html>"""
THRESHOLDS = [(0.2, 0.2), (0.05, 0.05), (0.415, 0.3), (0.6, 0.25), (0.3, 0.8), (1.0, 1.0)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("gallery") / "page.html"
    fragment = gallery_fragment(MODELS, pixels_of, regions(), budget_bytes=4_000_000)
    path.write_text(PAGE.format(policy=POLICY, fragment=fragment), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as program:
        opened = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Pages that fail the test if they say or ask for anything."""
    said: list[str] = []
    pages = []

    def opened(width: int = 1280) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith("data:") else None)
        page.goto(address)
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == [address] * len(pages)


def shown_images(page: Any) -> list[int]:
    """Walk from the first image to the last by the keys k and j."""
    return page.evaluate(
        """() => {
            const stage = document.querySelector("#gallery .stage"), seen = [];
            const press = (key) => stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            for (let last = null; last !== stage.dataset.image; press("k")) last = stage.dataset.image;
            for (; stage.dataset.image && seen.at(-1) !== Number(stage.dataset.image); press("j"))
                seen.push(Number(stage.dataset.image));
            return seen;
        }"""
    )


def counts_on(page: Any) -> dict[str, dict[str, str]]:
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("#gallery .counts tbody tr")].map((row) => [
            row.dataset.model,
            Object.fromEntries([...row.querySelectorAll("td")].map((each) => [each.dataset.count, each.textContent])),
        ]))"""
    )


def counts_of(verdicts: list[ImageErrors]) -> dict[str, str]:
    targets = dict(zip(MODELS["student"].image_ids, MODELS["student"].targets, strict=True))
    kinds = Counter(kind for each in verdicts for kind in each.call_kinds)
    discs = [
        (label == 0, kind)
        for each in verdicts
        for label, kind in zip(targets[each.image_id].labels.tolist(), each.box_kinds, strict=True)
    ]
    protruded = [kind for is_protruded, kind in discs if is_protruded]
    wrong = sum(kinds.values()) - kinds[RIGHT]
    ratio = lambda part, whole, digits: f"{part / whole:.{digits}f}" if whole else "undefined (n=0)"  # noqa: E731
    return {
        "right": f"{kinds[RIGHT]} of {len(discs)}",
        "sensitivity": ratio(kinds[RIGHT], len(discs), 3),
        "protrusions": ratio(protruded.count("found"), len(protruded), 3),
        "missed": str([kind for _, kind in discs].count(MISSED)),
        **{kind: str(kinds[kind]) for kind in CALL_KINDS if kind != RIGHT},
        "wrong": str(wrong),
        "per_image": ratio(wrong, len(verdicts), 2),
    }


def entries(model: str) -> dict[int, list[tuple[str, str, float | None]]]:
    """By image: kind, level and score of each call and each missed disc, as the filter looks at them."""
    scored, result = MODELS[model], {}
    for index, each in enumerate(error_verdicts(scored)):
        scores = scored.detections[index].scores.tolist()
        rows: list[tuple[str, str, float | None]] = []
        for kind, box, score in zip(each.call_kinds, each.call_boxes, each.calls.scores.tolist(), strict=True):
            level = scored.levels[index][box] if box >= 0 else scored.named[index][scores.index(score)]
            rows.append((kind, level, score))
        rows += [(k, level, None) for k, level in zip(each.box_kinds, scored.levels[index], strict=True) if k == MISSED]
        result[each.image_id] = rows
    return result


def set_thresholds(page: Any, protrusion: float, other: float) -> None:
    page.fill("#gallery-t0", str(protrusion))
    page.fill("#gallery-t1", str(other))


def test_it_opens_at_the_operating_point_with_pythons_counts(open_page: Callable[..., Any]) -> None:
    page = open_page()
    assert counts_on(page) == {name: counts_of(error_verdicts(scored)) for name, scored in MODELS.items()}
    shapes = page.locator("#gallery .panel .picture image").evaluate_all(
        "all => all.map(e => e.getAttribute('href').length)"
    )
    assert len(shapes) == 4 and len(set(shapes)) == 1
    assert page.locator("#gallery .viewer").is_visible()


def test_at_every_threshold_the_browser_judges_as_python_does(open_page: Callable[..., Any]) -> None:
    page = open_page()
    for protrusion, other in THRESHOLDS:
        set_thresholds(page, protrusion, other)
        moved = {name: error_verdicts(with_thresholds(each, protrusion, other)) for name, each in MODELS.items()}
        assert counts_on(page) == {name: counts_of(verdicts) for name, verdicts in moved.items()}
        first = moved["student"][0]
        boxes = page.locator("#gallery [data-model=student] .boxes rect:not(.region)")
        assert boxes.count() == len(first.call_kinds) + first.box_kinds.count(MISSED)
        assert boxes.and_(page.locator(".wrong")).count() == sum(kind != RIGHT for kind in first.call_kinds)
    page.click("#gallery [data-do=reset]")
    assert counts_on(page) == {name: counts_of(error_verdicts(scored)) for name, scored in MODELS.items()}
    assert page.locator("#gallery .point").inner_text().startswith("Each model at its own operating point")


def told(model: str, scored: Scored, each: ImageErrors) -> str:
    """A panel's words: calls by falling score, with the level that the model named, then the discs it missed."""
    row = scored.image_ids.index(each.image_id)
    found, names = (
        scored.detections[row],
        dict(zip(scored.detections[row].scores.tolist(), scored.named[row], strict=True)),
    )
    assert len(names) == len(found.scores), "scores tell the calls apart"
    calls = zip(each.calls.labels.tolist(), each.calls.scores.tolist(), each.call_kinds, strict=True)
    words = [
        f"{names[score] or 'disc'} {CLASSES[label]} {score:.2f} {SHOWN_KINDS.get(kind, kind)}"
        for label, score, kind in calls
    ]
    discs = zip(scored.levels[row], each.box_kinds, strict=True)
    words += [f"{level or 'disc'} missed" for level, kind in discs if kind == MISSED]
    return f"{model}: {', '.join(words) or 'no call'}"


def test_every_panel_tells_pythons_verdict_on_every_call(open_page: Callable[..., Any]) -> None:
    page = open_page()
    set_thresholds(page, 0.06, 0.06)
    scored = with_thresholds(MODELS["student"], 0.06, 0.06)
    label = page.locator("#gallery [data-model=student] .boxes")
    page.locator("#gallery .stage").focus()
    for each in error_verdicts(scored):
        assert label.get_attribute("aria-label") == told("Student", scored, each)
        page.keyboard.press("j")


def test_the_thresholds_of_one_model_leave_the_others(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.select_option("#gallery-of", "baseline")
    set_thresholds(page, 0.25, 0.55)
    wanted = {name: counts_of(error_verdicts(scored)) for name, scored in MODELS.items()}
    wanted["baseline"] = counts_of(error_verdicts(with_thresholds(MODELS["baseline"], 0.25, 0.55)))
    assert counts_on(page) == wanted
    assert page.locator("#gallery .point").inner_text() == "Moved: plain student."


@pytest.mark.parametrize("model", ["student", "resnet50"])
def test_the_filter_by_kind_shows_the_images_that_python_names(open_page: Callable[..., Any], model: str) -> None:
    page, of_images = open_page(), entries(model)
    page.select_option("#gallery-model", model)
    some = 0
    for kind in ("error", *CALL_KINDS, MISSED):
        page.select_option("#gallery-kind", kind)
        wanted = [
            image
            for image, rows in of_images.items()
            if any(kind == each or (kind == "error" and each != RIGHT) for each, _, _ in rows)
        ]
        assert shown_images(page) == wanted, kind
        verdicts = [each for each in error_verdicts(MODELS[model]) if each.image_id in wanted]
        assert counts_on(page)[model] == counts_of(verdicts)
        some += 0 < len(wanted) < IMAGES
    assert some > 4, "the kinds tell images apart"


def test_the_filters_by_level_score_and_patient_join(open_page: Callable[..., Any]) -> None:
    page, of_images = open_page(), entries("student")
    page.select_option("#gallery-level", label="C5/6")
    page.select_option("#gallery-kind", "class_flip")
    page.fill("#gallery-low", "0.45")
    wanted = [
        image
        for image, rows in of_images.items()
        if any(kind == "class_flip" and level == "C5/6" and score >= 0.45 for kind, level, score in rows)
    ]
    assert 0 < len(wanted) < IMAGES
    assert shown_images(page) == wanted
    page.select_option("#gallery-kind", "missed")
    assert shown_images(page) == [], "a missed disc has no score"
    assert page.locator("#gallery .none").is_visible()
    assert counts_on(page)["student"]["sensitivity"] == "undefined (n=0)"
    page.click("#gallery [data-do=clear]")
    page.select_option("#gallery-patient", MODELS["student"].patients[4])
    assert shown_images(page) == [5, 6]
    page.click("#gallery [data-do=clear]")
    assert shown_images(page) == list(range(1, IMAGES + 1))


def test_keys_walk_images_and_patients_and_are_told_on_screen(open_page: Callable[..., Any]) -> None:
    page = open_page()
    stage, keys = page.locator("#gallery .stage"), page.locator("#gallery .help")
    stage.focus()
    walk = [
        ("j", 2),
        ("ArrowRight", 3),
        ("J", 5),
        ("ArrowDown", 7),
        ("k", 6),
        ("ArrowUp", 3),
        ("K", 1),
        ("ArrowLeft", 1),
    ]
    for key, image in walk:
        page.keyboard.press(key)
        assert stage.get_attribute("data-image") == str(image), key
    assert keys.is_hidden()
    page.keyboard.press("?")
    assert keys.is_visible() and "next patient" in keys.inner_text()
    page.keyboard.press("Escape")
    assert keys.is_hidden()
    view = page.locator("#gallery [data-model=student] .boxes")
    region = view.get_attribute("viewBox")
    page.keyboard.press("w")
    assert view.get_attribute("viewBox") == "0 0 200 320" != region
    page.keyboard.press("b")
    assert view.is_hidden()
    page.locator("#gallery-t0").focus()
    page.keyboard.press("ArrowRight")
    assert stage.get_attribute("data-image") == "1", "in a slider the arrows move the slider"
    assert page.locator("#gallery .point").inner_text() == "Moved: every model."
    page.keyboard.press("r")
    assert page.locator("#gallery .point").inner_text().startswith("Each model")


def test_the_worst_jump_into_the_viewer(open_page: Callable[..., Any]) -> None:
    page = open_page()
    worst = [each.image_id for each in worst_images(error_verdicts(MODELS["student"]))]
    buttons = page.locator("#gallery .worst button")
    assert buttons.evaluate_all("all => all.map(e => Number(e.dataset.image))") == worst
    page.select_option("#gallery-patient", MODELS["student"].patients[0])
    buttons.nth(1).click()
    assert page.locator("#gallery .stage").get_attribute("data-image") == str(worst[1])
    assert page.evaluate("document.activeElement.className") == "stage"


def test_tab_passes_through_in_the_order_of_the_page(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.locator("#before").focus()
    ranks = []
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "after":
            break
        ranks.append(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        look = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert look != "none", "the focus can be seen"
    else:
        pytest.fail("the focus never left the gallery")
    assert len(ranks) > 25
    assert ranks == sorted(ranks)
    unnamed = page.locator("#gallery :is(button, input, select)").evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.textContent.trim() || (e.labels && e.labels.length))).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_one_panel_is_seen_and_nothing_scrolls_sideways(open_page: Callable[..., Any], width: int) -> None:
    page = open_page(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    stage = page.locator("#gallery .stage")
    page.click("#gallery [data-panel=baseline]")
    page.wait_for_function("document.querySelector('#gallery [data-panel=baseline]').ariaPressed === 'true'")
    left = page.locator("#gallery [data-model=baseline].panel").bounding_box()["x"]
    assert left == pytest.approx(stage.bounding_box()["x"], abs=1)
    assert page.locator("#gallery [data-panel][aria-pressed=true]").count() == 1


def test_print_holds_the_state_the_worst_and_figure_six(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.click("#gallery [data-panel=resnet50]")
    page.emulate_media(media="print")
    for name in ("[data-model=student].panel", ".worst", ".six", ".counts table"):
        assert page.locator(f"#gallery {name}").is_visible(), name
    for name in ("[data-model=resnet50].panel", ".chips", "[data-do=image-on]", "#gallery-kind", "#gallery-t0"):
        assert page.locator(f"#gallery {name}").is_hidden(), name
    assert page.pdf(format="A4").startswith(b"%PDF-")
