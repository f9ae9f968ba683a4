from collections.abc import Callable

import numpy as np
import pytest

from meddet.evaluate.coco import IOUS
from meddet.evaluate.froc import RATES, froc, froc_rows, sensitivities
from meddet.evaluate.ranking import Ranked
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally

Make = Callable[..., Scored]


def ranked(scores: list[float], hits: list[bool], boxes: list[float]) -> Ranked:
    """All detections are of the first patient."""
    rows = np.tile(np.asarray(hits, dtype=bool), (len(IOUS), 1))
    return Ranked(np.asarray(scores), np.zeros(len(scores), dtype=int), rows, np.asarray(boxes))


def read(each: Ranked, weights: list[float] | None = None) -> list[float]:
    drawn = np.asarray([weights or [1.0] * len(each.num_boxes)])
    return sensitivities(each, drawn, rates=RATES)[0].tolist()


def test_known_answers_of_two_studies() -> None:
    """After one, two and three false positives two, two and three of four boxes are found."""
    curve = ranked([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [True, False, True, False, False, True], [3.0, 1.0])
    assert read(curve) == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75]


def test_equal_scores_come_together_or_not_at_all() -> None:
    """One study: the first threshold below .9 lets a right and a wrong one through."""
    curve = ranked([0.9, 0.9, 0.4], [True, False, True], [2.0])
    assert read(curve) == [0, 0, 0, 1.0, 1.0, 1.0, 1.0]
    apart = ranked([0.9, 0.8, 0.4], [True, False, True], [2.0])
    assert read(apart)[0] == 0.5


def test_without_a_right_or_without_any_detection_nothing_is_found() -> None:
    assert read(ranked([0.9], [False], [2.0])) == [0.0] * 7
    assert read(ranked([], [], [2.0])) == [0.0] * 7


def test_without_a_box_it_is_undefined() -> None:
    assert np.isnan(read(ranked([0.9], [False], [0.0]))).all()


def test_a_patient_who_counts_twice_has_twice_the_false_positives_and_studies() -> None:
    curve = ranked([0.9, 0.8, 0.7], [False, True, True], [2.0, 2.0])
    assert read(curve, [2.0, 0.0]) == [0, 0, 0, 1.0, 1.0, 1.0, 1.0]
    assert read(curve, [1.0, 3.0]) == [0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]


def test_curves_never_fall_and_hold_the_numbers_of_the_block(make_scored: Make) -> None:
    counted = tally(make_scored(noise=6.0))
    rows = froc_rows({"student": counted})
    block = froc(counted, np.ones((1, len(counted.patients))))
    for name, curve in rows.groupby("class"):
        assert len(curve) == 201
        assert (curve["sensitivity"].diff().dropna() >= 0).all()
        at = dict(zip(curve["fp_per_study"], curve["sensitivity"], strict=True))
        assert [at[rate] for rate in RATES] == [block[f"{name}.{rate:g}"][0] for rate in RATES]
        assert 0 < at[1.0] < 1
    assert list(rows.columns) == ["model", "class", "fp_per_study", "sensitivity"]


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_one_by_one_give_the_same(make_scored: Make, seed: int) -> None:
    """The rule in words: of all thresholds that cost no more, the one that finds most."""
    counted = tally(make_scored(patients=5, noise=6.0, seed=seed))
    curve = counted.coco["protrusion"]
    hits = curve.hits[1]
    for rate, value in zip(RATES, read(curve), strict=True):
        found = [
            hits[curve.scores >= score].sum()
            for score in curve.scores
            if (~hits[curve.scores >= score]).sum() / 5 <= rate
        ]
        assert value == max(found, default=0) / curve.num_boxes.sum()
