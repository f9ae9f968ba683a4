from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from meddet.classes import CLASSES
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.discs import auc, match_discs
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally
from meddet.structures import Detections, Target

Make = Callable[..., Scored]
Pick = Callable[[Scored, list[int]], Scored]


def whole(scored: Scored) -> dict[str, float]:
    counted = tally(scored)
    return {name: float(value[0]) for name, value in counted.numbers(np.ones((1, len(counted.patients)))).items()}


def coco(scored: Scored) -> dict:
    limits = {"score_threshold": scored.score_threshold, "nms_iou": scored.nms_iou}
    return detection_numbers(scored.detections, scored.targets, classes=CLASSES, **limits)


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_give_the_ap50_of_all_images(make_scored: Make, seed: int) -> None:
    scored = make_scored(seed=seed, noise=6.0)
    numbers, expected = whole(scored), coco(scored)
    assert numbers["ap50"] == pytest.approx(expected["ap50_coco"], abs=1e-12)
    assert numbers["ap50.any"] == pytest.approx(expected["class_agnostic"]["ap50_coco"], abs=1e-12)
    for name in CLASSES:
        assert numbers[f"ap50.{name}"] == pytest.approx(expected[name]["ap50_coco"], abs=1e-12)
        assert 0.2 < numbers[f"ap50.{name}"] < 0.99


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_what_its_patients_written_down_as_often_give(make_scored: Make, pick: Pick, seed: int) -> None:
    scored = make_scored(patients=7, seed=seed, noise=6.0)
    counted = tally(scored)
    times = np.random.default_rng(seed).multinomial(7, np.full(7, 1 / 7))
    times[seed] = 0
    often = dict(zip(counted.patients, times.tolist(), strict=True))
    copies = [index for index, name in enumerate(scored.patients) for _ in range(often[name])]
    again = pick(scored, copies)
    values = {name: value[0] for name, value in counted.numbers(times[None].astype(float)).items()}
    assert values["ap50"] == pytest.approx(coco(again)["ap50_coco"], abs=1e-12)
    discs = match_discs(
        again.detections, again.targets, patients=again.patients, levels=again.levels, least_score=again.score_threshold
    )
    expected = auc(discs.probability[discs.located], discs.protruded[discs.located])
    assert values["disc_auc"] == pytest.approx(expected, abs=1e-12)
    distinct = replace(again, patients=tuple(f"{index}" for index in range(len(copies))))
    for name, value in whole(distinct).items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


def hand_made(labels: list[int], found: list[tuple[int, int, float]], **changes: object) -> Scored:
    """One image with discs below each other; detections exactly on disc `row` (6 and more: nowhere) with a label."""
    boxes = [[10.0, 20.0 * row, 40.0, 20.0 * row + 10] for row in range(12)]
    rows = [boxes[row] for row, _, _ in found]
    fields = {
        "test_md5": "0" * 32,
        "data_md5": "d.dir",
        "image_ids": (1,),
        "patients": ("p",),
        "groups": ({"sex": "F"},),
        "targets": (Target(torch.tensor(boxes[: len(labels)]).reshape(-1, 4), torch.tensor(labels).long()),),
        "levels": (("",) * len(labels),),
        "detections": (
            Detections(
                torch.tensor(rows).reshape(-1, 4),
                torch.tensor([score for _, _, score in found]),
                torch.tensor([label for _, label, _ in found]).long(),
            ),
        ),
        "thresholds": {"protrusion": 0.5, "non-protrusion": 0.4},
        "score_threshold": 0.05,
        "nms_iou": 0.6,
        "named": (("",) * len(found),),
        "calibration": UNCALIBRATED,
        "conformal": Conformal(0.1, None, 0),
    }
    return Scored(**{**fields, **changes})  # type: ignore[arg-type]


def test_known_answers_at_the_operating_point() -> None:
    found = [(0, 0, 0.9), (1, 1, 0.8), (2, 0, 0.7), (7, 1, 0.6), (3, 0, 0.45), (3, 1, 0.42), (8, 0, 0.2)]
    numbers = whole(hand_made([0, 0, 1, 1], found))
    # Calls: disc 0 right; disc 1 (protrusion) called non-protrusion; disc 2 (not) called protrusion; 7 nowhere;
    # disc 3: protrusion stays below .5, non-protrusion above .4: right.
    assert numbers["sensitivity.protrusion"] == 0.5
    assert numbers["sensitivity.non-protrusion"] == 0.5
    assert numbers["sensitivity"] == 0.5
    assert numbers["sensitivity.any"] == 1.0
    assert numbers["false_positives_per_image.protrusion"] == 1.0
    assert numbers["false_positives_per_image.non-protrusion"] == 2.0
    assert numbers["false_positives_per_image"] == 3.0
    assert numbers["false_positives_per_image.any"] == 1.0


def test_where_both_classes_are_called_it_is_one_protrusion() -> None:
    numbers = whole(hand_made([0], [(0, 1, 0.9), (0, 0, 0.6)]))
    assert numbers["sensitivity.protrusion"] == 1.0
    assert numbers["false_positives_per_image"] == 0.0


def test_nothing_to_be_counted_is_not_a_number() -> None:
    numbers = whole(hand_made([1, 1], [(0, 1, 0.9)]))
    absent = {name for name, value in numbers.items() if np.isnan(value)}
    assert absent == {"ap50.protrusion", "sensitivity.protrusion", "disc_auc"}
    assert numbers["ap50"] == numbers["ap50.non-protrusion"] == pytest.approx(51 / 101)


def test_a_model_that_finds_nothing_has_zeros() -> None:
    numbers = whole(hand_made([0, 1], []))
    values = Counter(value for name, value in numbers.items() if name != "disc_auc")
    assert set(values) == {0.0}
    assert np.isnan(numbers["disc_auc"])


def test_no_patients_give_no_numbers(make_scored: Make) -> None:
    counted = tally(make_scored(patients=3))
    assert all(np.isnan(value).all() for value in counted.numbers(np.zeros((2, 3))).values())
