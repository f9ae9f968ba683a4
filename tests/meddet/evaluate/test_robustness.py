"""Which images are shown, what is counted on them, and what mPC and rPC make of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from meddet.classes import LEVELS
from meddet.data.batches import ImageSet
from meddet.data.coco import Sample
from meddet.evaluate.robustness import (
    CLEAN,
    METRICS,
    Values,
    Withstood,
    cells_of,
    choose_images,
    faulty,
    look,
    share_located,
    spoil,
    values_of,
    weigh,
    withstood,
)
from meddet.evaluate.robustness_picture import curves_png, examples_png
from meddet.evaluate.robustness_report import curve_rows, located_report, mpc, robustness_report, rpc
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally
from meddet.structures import Detections, Region, Target

LIMITS = {"score_threshold": 0.05, "nms_iou": 0.6}
NOWHERE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def sample(
    image_id: int, patient: str, boxes: list[list[float]] | None = None, labels: list[int] | None = None
) -> Sample:
    corners = torch.tensor(boxes or [], dtype=torch.float32).reshape(-1, 4)
    target = Target(corners, torch.tensor(labels or [], dtype=torch.int64))
    return Sample(image_id, f"{image_id}.png", patient, 40, 50, target, (None,) * len(corners), None)


def samples_of(scored: Scored) -> list[Sample]:
    rows = zip(scored.image_ids, scored.patients, scored.targets, strict=True)
    return [Sample(image_id, "", patient, 100, 300, target, LEVELS, None) for image_id, patient, target in rows]


def image_set(samples: list[Sample]) -> ImageSet:
    random = np.random.default_rng(0)
    images = tuple(random.integers(1000, 60000, (each.height, each.width)).astype(np.uint16) for each in samples)
    return ImageSet(tuple(samples), images, (Region(0.0, 0.0, 40.0, 50.0),) * len(samples))


def model(clean: float, *cells: float, draws: float = 0.0) -> Withstood:
    """A model with one value for every metric, whose two resamples lie `draws` below and above it."""

    def values(value: float) -> Values:
        return {metric: np.array([value, value - draws, value + draws]) for metric in METRICS}

    return Withstood(values(clean), {("spike", place + 1): values(value) for place, value in enumerate(cells)})


@pytest.mark.parametrize("skill, noise", [(0.8, 2.0), (0.5, 8.0)])
def test_the_numbers_are_those_of_the_tally(make_scored: Callable[..., Scored], skill: float, noise: float) -> None:
    scored = make_scored(patients=7, skill=skill, noise=noise)
    weights = weigh(scored.patients, resamples=20)
    found = values_of(scored.detections, samples_of(scored), weights, **LIMITS)
    expected = tally(scored).numbers(weights)
    for metric in METRICS:
        np.testing.assert_allclose(found[metric], expected[metric], atol=1e-12)


def test_the_first_weighting_counts_every_patient_once() -> None:
    weights = weigh(["b", "a", "b", "c"], resamples=5)
    assert weights.shape == (6, 3)
    assert weights[0].tolist() == [1, 1, 1]
    assert weights.sum(axis=1).tolist() == [3] * 6


def test_images_are_chosen_by_patient_and_by_rule() -> None:
    samples = [sample(number, patient) for number, patient in enumerate("aabbbccdd", start=1)]
    assert choose_images(samples, "all") == choose_images(samples, 9) == choose_images(samples, 99) == [*range(9)]
    assert choose_images(samples, 2) == [0, 5]
    assert choose_images(samples, 4) == [0, 2, 5, 7]
    assert choose_images(samples, 6) == [0, 1, 2, 3, 5, 7]
    for number in range(1, 9):
        chosen = choose_images(samples, number)
        assert len(set(chosen)) == number
        assert len({samples[index].patient_id for index in chosen}) == min(number, 4)
    backwards = [samples[index] for index in reversed(range(9))]
    picked = [backwards[index].image_id for index in choose_images(backwards, 4)]
    assert sorted(picked) == [1, 3, 6, 8]


def test_clean_images_pass_through_and_spoilt_ones_go_with_their_image() -> None:
    images = image_set([sample(3, "a"), sample(4, "b")])
    assert spoil(images, CLEAN, seed=0) is images
    both = spoil(images, ("rician_noise", 5), seed=0)
    alone = spoil(images.where(lambda each: each.image_id == 4), ("rician_noise", 5), seed=0)
    assert np.array_equal(both.images[1], alone.images[0])
    assert not np.array_equal(both.images[0], images.images[0])


def test_every_model_looks_where_the_locator_looks() -> None:
    images = image_set([sample(1, "a", [[10, 10, 20, 16]], [0]), sample(2, "b", [[10, 20, 20, 26]], [1])])
    asked: list[float] = []

    def locate(pixels: torch.Tensor) -> Region:
        asked.append(float(pixels.mean()))
        return Region(0.0, 0.0, 30.0, 18.0)

    def detect(shown: ImageSet) -> list[Detections]:
        assert set(shown.regions) == {Region(0.0, 0.0, 30.0, 18.0)}
        return [Detections(each.target.boxes, torch.tensor([0.9]), each.target.labels) for each in shown.samples]

    cells = cells_of([5, 1])
    assert cells[:3] == [CLEAN, ("rician_noise", 1), ("rician_noise", 5)]
    models = {"one": detect, "none": lambda shown: [NOWHERE] * len(shown)}
    sets = ((cell, faulty(images, cell, locate=locate, seed=0)) for cell in cells)
    seen, located = withstood(look(spoilt, cell, models, **LIMITS) for cell, spoilt in sets)
    assert len(asked) == 2 * 17
    assert located == dict.fromkeys(cells, 0.5)
    assert list(seen["one"].cells) == cells[1:]
    assert seen["one"].clean["ap50"][0] == pytest.approx(1.0)
    assert mpc(seen["one"])["ap50.any"][0] == pytest.approx(1.0)
    assert seen["none"].clean["ap50.any"][0] == 0
    assert located_report(located)["spike"] == {"1": 0.5, "5": 0.5}


def test_fault_35_what_nothing_was_found_of_is_undefined_and_left_out_of_means() -> None:
    nothing = model(float("nan"), float("nan"))
    told = robustness_report(
        {"student": nothing, "baseline": model(0.8, 0.4), "resnet50": model(0.0, 0.0)},
        n={"patients": 1},
        smallest="resnet50",
    )
    undefined = "undefined (n=0)"
    student = told["models"]["student"]
    for block in ("clean", "mpc", "rpc"):
        assert student[block]["metrics"] == dict.fromkeys(METRICS, undefined)
        assert student[block]["ci95"]["ap50"] == [undefined] * 2
    assert student["corruptions"]["spike"]["1"]["disc_auc"] == undefined
    assert told["comparison"]["student - baseline"]["mpc.ap50"] == {
        "difference": undefined,
        "low": undefined,
        "high": undefined,
    }
    assert told["models"]["resnet50"]["mpc"]["metrics"]["ap50"] == 0
    assert told["models"]["resnet50"]["rpc"]["metrics"]["ap50"] == undefined
    half = model(0.8, 0.4, float("nan"))
    assert mpc(half)["disc_auc"][0] == pytest.approx(0.4)
    cells = robustness_report({"student": half, "baseline": half}, n={}, smallest="baseline")["models"]["student"]
    assert cells["mpc"]["cells"] == dict.fromkeys(METRICS, 1)
    assert share_located(image_set([sample(1, "a")])) == undefined


def test_mpc_is_the_mean_and_rpc_its_share_of_clean() -> None:
    one = model(0.8, 0.6, 0.2)
    assert mpc(one)["ap50"].tolist() == pytest.approx([0.4] * 3)
    assert rpc(one)["ap50"].tolist() == pytest.approx([0.5] * 3)
    report = robustness_report(
        {"student": one, "baseline": model(0.8, 0.4, 0.2), "teacher": model(0.5, 0.5, 0.5)}, n={}, smallest="teacher"
    )
    plain, teacher = (report["comparison"][f"student - {name}"] for name in ("baseline", "teacher"))
    assert plain["mpc.ap50.any"] == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1})
    assert teacher["rpc.disc_auc"]["difference"] == pytest.approx(-0.5)
    assert report["models"]["student"]["corruptions"]["spike"]["2"]["ap50"] == pytest.approx(0.2)


def test_models_are_compared_draw_by_draw() -> None:
    ours, theirs = model(0.8, 0.6, draws=0.1), model(0.8, 0.5, draws=0.1)
    told = robustness_report({"student": ours, "baseline": theirs}, n={}, smallest="baseline")
    difference = told["comparison"]["student - baseline"]["mpc.ap50"]
    assert difference == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1}), "paired, so without spread"
    assert told["models"]["student"]["mpc"]["ci95"]["ap50"] == pytest.approx([0.505, 0.695])


def test_the_curves_begin_at_the_clean_value() -> None:
    rows = list(curve_rows({"student": model(0.9, 0.7, 0.5)}))
    assert [(row["severity"], row["ap50_any"]) for row in rows] == [(0, 0.9), (1, 0.7), (2, 0.5)]
    assert set(rows[0]) == {"model", "corruption", "severity", "ap50", "ap50_any", "disc_auc"}


def test_pictures_are_the_same_bytes_and_show_what_changes() -> None:
    models = {"student": model(0.9, 0.7), "baseline": model(0.8, float("nan"))}
    first = curves_png(models, metric="ap50.any", title="here")
    assert first.startswith(b"\x89PNG")
    assert first == curves_png(models, metric="ap50.any", title="here")
    assert first != curves_png({"student": model(0.9, 0.1)}, metric="ap50.any", title="here")
    clean = np.random.default_rng(0).random((60, 50), dtype=np.float32)
    region = Region(-5.0, 10.0, 30.0, 70.0)
    examples = examples_png(clean, {"spike": [(5, 1 - clean)], "motion": [(5, clean)]}, region, title="there")
    assert examples.startswith(b"\x89PNG")
    assert examples != examples_png(clean, {"spike": [(5, clean)], "motion": [(5, clean)]}, region, title="there")
