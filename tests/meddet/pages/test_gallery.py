import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from meddet.evaluate.errors import ERRORS, ImageErrors, error_verdicts
from meddet.evaluate.scored import Scored
from meddet.pages.gallery import gallery_fragment
from meddet.pages.gallery_data import crop, shown
from meddet.pages.gallery_figures import SHOWN_KINDS, chosen_images, count_wrong, tell_wrong, worst_images
from meddet.structures import Detections, Region, Target
from tests.meddet.pages.gallery_models import IMAGES, NASTY, gallery_models, pixels_of, regions

MEGABYTE = 1_000_000


class Reader(HTMLParser):
    """Collects what a browser would take for scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.is_script = self.is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.is_script:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)


def fragment(models: dict[str, Scored] | None = None, budget: int = 4 * MEGABYTE) -> str:
    return str(gallery_fragment(models or gallery_models(), pixels_of, regions(), budget_bytes=budget))


def scripts_of(text: str) -> list[tuple[dict[str, str | None], str]]:
    reader = Reader()
    reader.feed(text)
    return reader.scripts


def content_of(text: str) -> dict[str, Any]:
    return json.loads(next(body for attributes, body in scripts_of(text) if attributes.get("id") == "gallery-data"))


def pictures_of(text: str) -> dict[int, str]:
    found = {each.get("data-jpeg"): body for each, body in scripts_of(text)}
    return {int(key): body for key, body in found.items() if key}


def some(scored: Scored, images: list[int]) -> Scored:
    names = ("image_ids", "patients", "groups", "targets", "levels", "detections", "named")
    return replace(scored, **{name: tuple(getattr(scored, name)[image] for image in images) for name in names})


def verdict(image_id: int, kinds: tuple[str, ...] = (), missed: int = 0, discs: int = 6) -> ImageErrors:
    none = Detections(torch.zeros(len(kinds), 4), torch.zeros(len(kinds)), torch.zeros(len(kinds), dtype=torch.int64))
    boxes = ("missed",) * missed + ("found",) * (discs - missed)
    return ImageErrors(image_id, "p", none, kinds, (-1,) * len(kinds), boxes)


def test_no_text_of_the_data_becomes_markup() -> None:
    text = fragment()
    assert NASTY not in text
    assert "alert(" in text, "it is there, as text"
    kinds = [attributes.get("type") for attributes, _ in scripts_of(text)]
    assert kinds.count("application/json") == 1
    assert kinds.count(None) == 1
    assert kinds.count("text/plain") == IMAGES
    assert content_of(text)["images"][-1]["patient"] == NASTY


def test_the_same_inputs_are_the_same_bytes_in_any_order_of_models() -> None:
    models = gallery_models()
    assert fragment(models) == fragment(dict(reversed(models.items())))


def test_every_float_reads_back_as_the_same_float32() -> None:
    models = gallery_models()
    content = content_of(fragment(models))
    assert [each["name"] for each in content["models"]] == ["student", "baseline", "resnet50"]
    assert content["models"][0]["thresholds"] == [0.4123, 0.3601]
    for index, row in enumerate(content["images"]):
        truth = np.asarray(row["truth"]["boxes"], dtype=np.float32).reshape(-1, 4)
        assert np.array_equal(truth, models["student"].targets[index].boxes.numpy())
        for scored, found in zip(models.values(), row["found"], strict=True):
            wanted = scored.detections[index]
            assert np.array_equal(np.asarray(found["scores"], dtype=np.float32), wanted.scores.numpy())
            assert np.array_equal(np.asarray(found["boxes"], dtype=np.float32), wanted.boxes.numpy().ravel())
            assert found["labels"] == "".join(map(str, wanted.labels.tolist()))


def test_pictures_are_the_images_and_their_99_5th_percentile_is_white() -> None:
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(pictures_of(fragment())[3])))
    assert picture.size == (200, 320)
    assert picture.mode == "L"
    assert np.abs(np.asarray(picture).astype(float) - shown(pixels_of(3))).mean() < 4
    assert shown(np.full((4, 4), 0.25, dtype=np.float32)).min() == 255
    assert shown(np.zeros((4, 4), dtype=np.float32)).max() == 0


@pytest.mark.parametrize("budget", [4 * MEGABYTE, 300_000, 200_000, 160_000, 140_000])
def test_the_section_stays_within_its_budget_and_says_what_it_left_out(budget: int) -> None:
    text = fragment(budget=budget)
    assert len(text.encode()) <= budget
    content, pictures = content_of(text), pictures_of(text)
    left_out = IMAGES - len(content["images"])
    assert [row["id"] for row in content["images"]] == list(pictures)
    assert ("left out</strong>" in text) == (left_out > 0)
    if left_out:
        assert f"{left_out} of {IMAGES}" in text
        worst = [each.image_id for each in worst_images(error_verdicts(gallery_models()["student"]))]
        assert set(worst[: len(pictures)]) <= set(pictures) or len(pictures) > len(worst)
    lowest = min(score for row in content["images"] for found in row["found"] for score in found["scores"])
    assert content["floor"] < lowest
    assert content["floor"] <= 0.3601, "all that an operating point calls is here"


def test_budgets_from_large_to_small_meet_every_measure() -> None:
    told = [content_of(fragment(budget=budget)) for budget in (4 * MEGABYTE, 250_000, 150_000)]
    assert told[0]["floor"] == 0.05 < told[-1]["floor"]
    assert len(told[0]["images"]) == IMAGES > len(told[-1]["images"]) > 0


@pytest.mark.parametrize(
    ("models", "budget", "said"),
    [
        ({"baseline": gallery_models()["baseline"]}, MEGABYTE, "expected a model 'student', got baseline"),
        (
            {"student": gallery_models()["student"], "x": some(gallery_models()["student"], [0, 1])},
            MEGABYTE,
            "expected x on the images of student",
        ),
        (gallery_models(), 10_000, "expected room for one image at least"),
    ],
)
def test_faults_are_told_in_one_line(models: dict[str, Scored], budget: int, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        fragment(models, budget)
    assert "\n" not in str(caught.value)


def test_fault_35_a_test_part_without_images_discs_or_calls() -> None:
    student = gallery_models()["student"]
    for images in ([], [5], [7]):
        part = some(student, images)
        text = fragment({"student": part})
        assert [row["id"] for row in content_of(text)["images"]] == list(part.image_ids)
        assert not re.search(r"\bnan\b", text)


def test_the_worst_have_most_errors_and_say_why() -> None:
    rows = [
        verdict(4, ("right", "class_flip"), missed=1),
        verdict(2, ("right",) * 6),
        verdict(9, ("class_flip", "class_flip", "background.thoracic")),
        verdict(3, ("duplicate", "localisation")),
    ]
    assert [each.image_id for each in worst_images(rows)] == [9, 3, 4]
    assert [each.image_id for each in worst_images(rows, most=1)] == [9]
    assert tell_wrong(rows[2]) == "2 wrong class, 1 thoracic disc"
    assert tell_wrong(rows[0]) == "1 missed, 1 wrong class"
    assert tell_wrong(rows[1]) == "no error"
    assert set(SHOWN_KINDS) == set(ERRORS)
    judged = error_verdicts(gallery_models()["student"])
    assert sum(map(count_wrong, judged)) == sum(
        sum(kind != "right" for kind in each.call_kinds) + each.box_kinds.count("missed") for each in judged
    )


def test_figure_six_follows_its_rule() -> None:
    student = [verdict(image, missed=missed) for image, missed in enumerate([3, 0, 6, 1, 2, 0])]
    student[1] = verdict(1, discs=2)
    plain = [verdict(image, missed=missed) for image, missed in enumerate([3, 6, 0, 5, 2, 0])]
    assert chosen_images(student, None) == [(5, "best"), (3, "median"), (2, "worst")]
    assert chosen_images(student, plain)[3:] == [(1, "student and plain student differ most")]
    assert chosen_images(student, student)[3:] == [], "no other image tells them apart"
    assert chosen_images(student[:1], plain[:1]) == [(0, "best")]
    assert [reason for _, reason in chosen_images(student[:2], None)] == ["best", "worst"]
    assert chosen_images([], []) == []


def test_figure_six_stands_without_script_and_shows_every_model() -> None:
    text = fragment()
    figure = text[text.index('class="six"') :]
    panels = re.findall(r'<svg viewBox="[^"]+" role="img" aria-label="([^:]+):', figure)
    assert panels == ["Ground truth", "student", "plain student", "ResNet-50"] * (len(panels) // 4)
    assert len(panels) in (12, 16)
    targets = set(re.findall(r'<use href="#([^"]+)"', figure))
    assert targets == set(re.findall(r'<image id="([^"]+)"', figure))


def test_a_crop_holds_the_region_and_every_disc_in_three_to_four() -> None:
    target = Target(torch.tensor([[5.0, 40, 60, 60]]), torch.tensor([1]))
    x, y, width, height = crop(Region(40.0, 30.0, 90.0, 200.0), target)
    assert width / height == pytest.approx(0.75, abs=0.01)
    assert x < 5 and y < 30 and x + width > 90 and y + height > 200
    assert height < 1.25 * 170
