import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from meddet.classes import LEVELS
from meddet.data.coco import Sample
from meddet.evaluate.by_disc import disc_blocks, read_discs, roc_rows
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.groups import subgroups
from meddet.evaluate.matching import UNDEFINED
from meddet.evaluate.operation import operating_numbers
from meddet.evaluate.reading import fit_reading, level_prior
from meddet.evaluate.reliability import calibration_block, conformal_block, reliability_rows
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Region, Target

BOXES = [[10.0, 20.0 * row, 40.0, 20.0 * row + 10] for row in range(9)]
Found = tuple[int, int, float, str]


def image(labels: list[int], found: list[Found]) -> tuple[Target, Detections, tuple[str, ...]]:
    """Discs below each other from C2/3 on; detections exactly on place `row` (6 and more: nowhere)."""
    target = Target(torch.tensor(BOXES[: len(labels)]).reshape(-1, 4), torch.tensor(labels).long())
    boxes = torch.tensor([BOXES[row] for row, *_ in found]).reshape(-1, 4)
    scores, classes = torch.tensor([each[2] for each in found]), torch.tensor([each[1] for each in found]).long()
    return target, Detections(boxes, scores, classes), tuple(each[3] for each in found)


def scored(*images: tuple[str, list[int], list[Found]], **changes: Any) -> Scored:
    rows = [image(labels, found) for _, labels, found in images]
    fields: dict[str, Any] = {
        "test_md5": "0" * 32,
        "data_md5": "d.dir",
        "image_ids": tuple(range(len(images))),
        "patients": tuple(patient for patient, *_ in images),
        "groups": ({"sex": "F"},) * len(images),
        "targets": tuple(row[0] for row in rows),
        "levels": tuple(LEVELS[: len(row[0].labels)] for row in rows),
        "detections": tuple(row[1] for row in rows),
        "named": tuple(row[2] for row in rows),
        "thresholds": {"protrusion": 0.5, "non-protrusion": 0.4},
        "score_threshold": 0.05,
        "nms_iou": 0.6,
        "calibration": UNCALIBRATED,
        "conformal": Conformal(0.1, 0.3, 20),
    }
    return Scored(**{**fields, **changes})


# Patient p: C2/3 found and named right, C3/4 found and called but named C4/5, C4/5 not found;
# on a second slice C3/4 is called by its name and C2/3 is no longer protruded.
TWO = scored(
    ("p", [0, 0, 1], [(0, 0, 0.9, "C2/3"), (1, 0, 0.8, "C4/5"), (7, 1, 0.6, "")]),
    ("p", [1, 0, 1], [(1, 0, 0.7, "C3/4"), (0, 1, 0.6, ""), (2, 1, 0.45, "C4/5")]),
    ("q", [1, 1, 1], [(8, 0, 0.6, "C7/T1"), (0, 0, 0.3, "C2/3"), (0, 1, 0.45, "C2/3")]),
)


def whole(scored: Scored) -> dict[str, Any]:
    return disc_blocks(read_discs(scored), resamples=50)


def test_known_answers_given_location() -> None:
    blocks = whole(TWO)["levels"]["given_location"]
    assert blocks["all"]["n"] == {"patients": 2, "images": 3, "discs": 6, "protrusions": 3}
    assert blocks["all"]["metrics"]["sensitivity"] == 1.0
    assert blocks["all"]["metrics"]["specificity"] == 1.0
    assert blocks["C2/3"]["n"]["discs"] == 3
    assert blocks["C5/6"]["metrics"]["sensitivity"] == UNDEFINED
    shares = [0.9 / 0.925, 0.8 / 0.825, 0.7 / 0.725, 0.025 / 0.625, 0.025 / 0.475, 0.3 / 0.75]
    truth = np.array([1, 1, 1, 0, 0, 0])
    assert blocks["all"]["metrics"]["brier"] == pytest.approx(((np.array(shares) - truth) ** 2).mean())


def test_known_answers_end_to_end() -> None:
    """A name alone counts: the C3/4 called C4/5 is a missed C3/4 and a false C4/5."""
    blocks = whole(TWO)["levels"]["named"]
    assert blocks["all"]["n"] == {"patients": 2, "images": 3, "discs": 9, "protrusions": 3}
    assert blocks["all"]["metrics"]["sensitivity"] == pytest.approx(2 / 3)
    assert blocks["all"]["metrics"]["specificity"] == pytest.approx(5 / 6)
    assert blocks["C3/4"]["metrics"]["sensitivity"] == 0.5
    assert blocks["C4/5"]["metrics"]["specificity"] == pytest.approx(2 / 3)


def test_known_answers_of_naming() -> None:
    naming = whole(TWO)["levels"]["naming"]
    # Of six located discs: C2/3, C3/4, C4/5 and q's C2/3 right, one C3/4 wrong, one C2/3 unnamed.
    assert naming["metrics"] == pytest.approx({"right": 4 / 6, "wrong": 1 / 6, "abstained": 1 / 6})
    assert naming["n"]["discs"] == 6


def test_known_answers_by_patient() -> None:
    patients = whole(TWO)["patients"]
    # p: C2/3 and C3/4 protruded and called on some slice, C4/5 neither but called; q: nothing, C7/T1 isn't annotated.
    assert patients["disc"]["all"]["n"] == {"patients": 2, "images": 3, "discs": 6, "protrusions": 2}
    assert patients["disc"]["all"]["metrics"]["sensitivity"] == 1.0
    assert patients["disc"]["all"]["metrics"]["specificity"] == 0.75
    # q has no protrusion but a call, wherever it is.
    assert patients["patient"]["metrics"]["sensitivity"] == 1.0
    assert patients["patient"]["metrics"]["specificity"] == 0.0
    assert patients["patient"]["n"]["discs"] == 2


def test_the_roc_of_located_discs_has_the_area_of_the_report(make_scored: Callable[..., Scored]) -> None:
    made = make_scored()
    read = read_discs(made)
    rows = [(row["fpr"], row["tpr"]) for row in roc_rows("student", read) if row["unit"] == "disc"]
    fpr, tpr = np.array(rows).T
    area = disc_blocks(read, resamples=2)["levels"]["given_location"]["all"]["metrics"]["auc"]
    assert np.trapezoid(tpr, fpr) == pytest.approx(area)
    assert area == pytest.approx(roc_auc_score(read.given.truth, read.given.share))
    assert area == pytest.approx(operating_numbers(made, resamples=2)["metrics"]["disc_auc"])


def test_the_order_of_the_images_changes_nothing(
    make_scored: Callable[..., Scored], pick: Callable[[Scored, list[int]], Scored]
) -> None:
    made = make_scored()
    turned = pick(made, list(range(len(made.image_ids)))[::-1])
    for name, first, second in zip(
        *(("blocks", "calibration", "conformal"), everything(made), everything(turned)), strict=True
    ):
        flat = [flatten(part) for part in (first, second)]
        assert flat[0].keys() == flat[1].keys(), name
        for key, value in flat[0].items():
            assert flat[1][key] == (pytest.approx(value) if isinstance(value, float) else value), key


def everything(made: Scored) -> tuple[dict[str, Any], ...]:
    read, options = read_discs(made), {"resamples": 40, "seed": 1}
    return (
        disc_blocks(read, **options),
        calibration_block(made, read, **options),
        conformal_block(made, read, **options),
    )


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {name: value}
    return {key: item for part, each in items for key, item in flatten(each, f"{name}/{part}").items()}


def test_laece_is_the_weighted_gap_of_score_and_iou() -> None:
    # One detection of each class counts: protrusions .9 (IoU 1) and .54 (IoU 0), bins apart; non-protrusion .8 (IoU 1).
    made = scored(("p", [0, 1], [(0, 0, 0.9, ""), (7, 0, 0.54, ""), (1, 1, 0.8, ""), (8, 1, 0.39, "")]))
    block = calibration_block(made, read_discs(made), resamples=10)
    assert block["metrics"]["laece0_raw"] == pytest.approx(((0.1 + 0.54) / 2 + 0.2) / 2)
    shares = np.array([0.9 / 0.925, 0.025 / 0.825])
    assert block["metrics"]["brier_raw"] == pytest.approx(((shares - [1, 0]) ** 2).mean())
    assert block["metrics"]["laece0_calibrated"] == pytest.approx(block["metrics"]["laece0_raw"])


def test_within_a_bin_gaps_cancel_and_the_rows_tell_bins() -> None:
    made = scored(("p", [0], [(0, 0, 0.53, "")]), ("p", [0], [(7, 0, 0.51, ""), (8, 0, 0.55, "")]))
    rows = [row for row in reliability_rows("student", made, read_discs(made)) if row["kind"] == "detection raw"]
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [(0.48, 0.52, 1), (0.52, 0.56, 2)]
    assert (rows[1]["predicted"], rows[1]["observed"]) == pytest.approx((0.54, 0.5))
    block = calibration_block(made, read_discs(made), resamples=10)
    assert block["metrics"]["laece0_raw"] == pytest.approx((0.51 + abs(0.53 + 0.55 - 1)) / 3)


def test_calibration_changes_probabilities_and_no_order(make_scored: Callable[..., Scored]) -> None:
    made = make_scored()
    samples = [
        Sample(number, "a.png", patient, 100, 300, target, levels, None)
        for number, (patient, target, levels) in enumerate(zip(made.patients, made.targets, made.levels, strict=True))
    ]
    region = Region(0.0, 0.0, 100.0, 260.0)
    reading = fit_reading(
        made.detections,
        samples,
        levels=level_prior(samples, [region] * len(samples)),
        least_score=made.score_threshold,
        alpha=0.2,
    )
    named = reading.name(made.detections, [region] * len(samples))
    calibrated = replace(
        made,
        calibration=reading.calibration,
        conformal=reading.conformal,
        thresholds=reading.thresholds,
        named=tuple(named),
    )
    metrics = calibration_block(calibrated, read_discs(calibrated), resamples=10)["metrics"]
    assert metrics["laece0_calibrated"] < metrics["laece0_raw"]
    assert metrics["brier_calibrated"] < metrics["brier_raw"]
    block = conformal_block(calibrated, read_discs(calibrated), resamples=10)
    assert block["alpha"] == 0.2
    assert block["metrics"]["miss_rate"] <= 0.2  # on the very patients that it was chosen on
    naming = disc_blocks(read_discs(calibrated), resamples=10)["levels"]["naming"]["metrics"]
    assert naming["right"] > 0.9


def test_the_promise_is_tested_by_patient_and_its_price_counted() -> None:
    found: list[Found] = [(0, 0, 0.9, ""), (1, 0, 0.2, ""), (7, 0, 0.6, ""), (8, 0, 0.31, "")]
    made = scored(("p", [0, 0], found), ("q", [0], [(0, 0, 0.8, "")]), ("r", [1], [(0, 0, 0.7, "")]))
    block = conformal_block(made, read_discs(made), resamples=10)
    assert (block["threshold"], block["validation_patients"], block["reason"]) == (0.3, 20, "")
    assert block["metrics"]["miss_rate"] == pytest.approx(0.25)
    assert block["metrics"]["false_positives_per_image"] == pytest.approx(1.0)


def test_groups_of_fewer_than_twenty_patients_are_withheld(make_scored: Callable[..., Scored]) -> None:
    made = make_scored(patients=41)
    groups = operating_numbers(made, resamples=10)["groups"]
    by_level = disc_blocks(read_discs(made), resamples=10)["levels"]["given_location"]
    parts = subgroups(groups, by_level)
    assert sorted(parts) == ["level", "scanner", "sex"]
    assert parts["sex"]["M"]["n"]["patients"] == 20
    assert set(parts["sex"]["M"]["metrics"]) == {
        *("ap50", "ap50.any", "disc_auc", "sensitivity.protrusion", "false_positives_per_image")
    }
    assert set(parts["level"]) == set(LEVELS)
    fewer = make_scored(patients=39)
    parts = subgroups(operating_numbers(fewer, resamples=10)["groups"], by_level)
    assert parts["sex"]["M"] == {"n": parts["sex"]["M"]["n"], "withheld": "fewer than 20 patients"}
    assert parts["sex"]["M"]["n"]["patients"] == 19


def told(made: Scored) -> tuple[dict[str, Any], ...]:
    """Every block, after it was seen that JSON can hold it and that the rows can be listed."""
    parts = everything(made)
    json.dumps(parts, allow_nan=False)
    reliability_rows("student", made, read_discs(made))
    return parts


@pytest.mark.parametrize("images", [(), (("p", [], []), ("q", [], []))], ids=["no image", "images without discs"])
def test_fault_35_where_no_disc_is_everything_about_discs_is_undefined(images: tuple[Any, ...]) -> None:
    made = scored(*images)
    blocks, calibration, promise = told(made)
    metrics = {key: value for key, value in flatten(blocks).items() if "/metrics/" in key}
    assert {value for key, value in metrics.items() if not key.startswith("/patients/patient/")} == {UNDEFINED}
    assert set(calibration["metrics"].values()) == {UNDEFINED}
    assert promise["metrics"]["miss_rate"] == UNDEFINED
    assert promise["metrics"]["false_positives_per_image"] == (0.0 if images else UNDEFINED)
    assert blocks["patients"]["patient"]["metrics"]["specificity"] == (1.0 if images else UNDEFINED)
    assert roc_rows("student", read_discs(made)) == []


def test_fault_35_a_model_that_finds_nothing_misses_everything_and_is_no_classifier() -> None:
    blocks, calibration, promise = told(scored(("p", [0, 1], []), ("q", [1, 1], [])))
    assert blocks["levels"]["given_location"]["all"]["metrics"]["auc"] == UNDEFINED
    assert blocks["levels"]["named"]["all"]["metrics"]["sensitivity"] == 0.0
    assert blocks["levels"]["named"]["all"]["metrics"]["ppv"] == UNDEFINED
    assert promise["metrics"]["miss_rate"] == 1.0
    assert set(calibration["metrics"].values()) == {UNDEFINED}


def test_fault_35_one_patient_has_numbers_and_intervals_of_no_width() -> None:
    blocks, _, promise = told(scored(("p", [0, 1], [(0, 0, 0.9, "C2/3"), (1, 1, 0.8, "C3/4")])))
    assert blocks["levels"]["given_location"]["all"]["metrics"]["auc"] == 1.0
    assert blocks["levels"]["given_location"]["all"]["ci95"]["auc"] == [1.0, 1.0]
    assert blocks["levels"]["given_location"]["C2/3"]["metrics"]["specificity"] == UNDEFINED
    assert promise["metrics"]["miss_rate"] == 0.0


def test_fault_35_an_absent_class_is_undefined() -> None:
    healthy = scored(("p", [1, 1], [(0, 1, 0.9, "C2/3")]), ("q", [1], [(0, 0, 0.9, "C2/3")]))
    blocks, calibration, promise = everything(healthy)
    assert blocks["levels"]["named"]["all"]["metrics"]["sensitivity"] == UNDEFINED
    assert blocks["levels"]["named"]["all"]["metrics"]["specificity"] == pytest.approx(2 / 3)
    assert blocks["prevalence"]["0.05"]["metrics"]["ppv"] == UNDEFINED
    assert promise["metrics"]["miss_rate"] == UNDEFINED
    assert calibration["metrics"]["brier_raw"] > 0


def test_fault_35_a_promise_that_no_threshold_holds_is_told_with_its_reason() -> None:
    made = replace(TWO, conformal=Conformal(0.1, None, 4))
    block = conformal_block(made, read_discs(made), resamples=10)
    assert block["threshold"] is None
    assert block["reason"] == "expected at least 9 validation patients with a protrusion, got 4"
    assert set(block["metrics"].values()) == {UNDEFINED}
