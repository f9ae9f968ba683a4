import numpy as np
import pytest
import torch

from meddet.classes import LEVELS
from meddet.evaluate.bootstrap import draw_patients, resampled_auc
from meddet.evaluate.discs import Discs, auc, disc_levels, disc_numbers, level_rates, match_discs
from meddet.structures import Detections, Target

UNDEFINED = "undefined (n=0)"
BOXES = torch.tensor([[0.0, 0, 20, 10], [0, 20, 20, 30], [0, 40, 20, 50]])


def discs(protruded: list[bool], probability: list[float], patient: list[str] | None = None) -> Discs:
    return Discs(
        patient=np.array(patient or [f"p{row}" for row in range(len(protruded))], dtype=str),
        level=np.array(["C5/6"] * len(protruded), dtype=str),
        protruded=np.array(protruded, dtype=bool),
        located=~np.isnan(np.array(probability, dtype=float)),
        score=np.nan_to_num(np.array(probability, dtype=float)),
        probability=np.array(probability, dtype=float),
        named=np.full(len(protruded), ""),
    )


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75),
        ([0.5, 0.5, 0.5], [True, False, False], 0.5),
        ([0.9, 0.5, 0.5, 0.1], [True, True, False, False], 0.875),
        ([0.1, 0.9], [True, False], 0.0),
    ],
)
def test_auc_of_hand_counted_pairs(scores: list[float], positive: list[bool], expected: float) -> None:
    assert auc(np.array(scores), np.array(positive)) == pytest.approx(expected)


def test_auc_of_one_class_is_undefined() -> None:
    assert np.isnan(auc(np.array([0.1, 0.2]), np.array([True, True])))
    got = disc_numbers(discs([True, True], [0.2, 0.3]), rates={"": 0.3}, threshold=0.5, resamples=50)
    assert got["auc"] == got["auc_level_prior"] == got["balanced_accuracy"] == UNDEFINED
    assert got["auc_ci95"] == [UNDEFINED, UNDEFINED]
    assert got["sensitivity"] == 0


def test_no_disc_at_all_is_undefined() -> None:
    got = disc_numbers(discs([], []), rates=level_rates([], []), threshold=0.5, resamples=50)
    assert got["n"] == 0
    assert got["located"] == got["auc"] == UNDEFINED


def test_match_takes_the_best_of_each_class_at_the_disc() -> None:
    detections = Detections(
        torch.cat([BOXES[:1], BOXES[:1], BOXES[:1], BOXES[1:2]]),
        torch.tensor([0.6, 0.2, 0.1, 0.3]),
        torch.tensor([0, 1, 0, 1]),
    )
    got = match_discs(
        [detections],
        [Target(BOXES, torch.tensor([0, 1, 1]))],
        patients=["a"],
        levels=[["C4/5", "C5/6", ""]],
        least_score=0.05,
    )
    assert got.located.tolist() == [True, True, False]
    assert got.score.tolist() == pytest.approx([0.6, 0.0, 0.0])
    assert got.probability[0] == pytest.approx(0.75)
    assert got.probability[1] == pytest.approx(0.025 / 0.325)
    assert np.isnan(got.probability[2])
    assert got.patient.tolist() == ["a"] * 3


def test_numbers_of_a_hand_made_set() -> None:
    got = disc_numbers(
        discs([True, True, False, False, True], [0.9, 0.4, 0.3, 0.6, np.nan]), rates={"": 0.3}, threshold=0.5
    )
    assert (got["n"], got["n_located"], got["n_located_protrusion"]) == (5, 4, 2)
    assert got["located"] == pytest.approx(0.8)
    assert got["auc"] == pytest.approx(0.75)
    assert got["auc_level_prior"] == pytest.approx(0.5)
    assert got["balanced_accuracy"] == pytest.approx(0.5)
    low, high = got["located_ci95"]
    assert 0.2 <= low < 0.8 < high <= 1


def test_resampled_auc_equals_the_auc_of_the_repeated_rows() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 5, 60) / 5, random.uniform(size=60) < 0.4
    patient = random.integers(0, 12, 60)
    draws = draw_patients(12, resamples=20, seed=3)
    got = resampled_auc(scores, positive, patient, draws)
    for draw, value in zip(draws, got, strict=True):
        rows = np.concatenate([np.flatnonzero(patient == row) for row in np.repeat(np.arange(12), draw.astype(int))])
        assert value == pytest.approx(auc(scores[rows], positive[rows]), nan_ok=True)


def test_the_interval_of_one_patient_is_its_value() -> None:
    got = disc_numbers(discs([True, False], [0.9, 0.1], ["a", "a"]), rates={"": 0.3}, threshold=0.5, resamples=50)
    assert got["auc_ci95"] == [1.0, 1.0]


def test_levels_by_order_from_the_top_only_for_six_discs() -> None:
    y = torch.tensor([50.0, 10, 30, 20, 60, 40])
    boxes = torch.stack([torch.zeros(6), y, torch.full((6,), 20.0), y + 8], dim=1)
    six = Target(boxes, torch.ones(6, dtype=torch.int64))
    assert disc_levels(six, [None] * 6) == ["C6/7", "C2/3", "C4/5", "C3/4", "C7/T1", "C5/6"]
    five = Target(boxes[:5], six.labels[:5])
    assert disc_levels(five, [None] * 5) == [""] * 5
    assert disc_levels(five, ["C2/3", None, None, None, None]) == ["C2/3", "", "", "", ""]


def test_level_rates_and_their_mean() -> None:
    rates = level_rates(["C5/6", "C5/6", "C2/3", ""], [True, False, False, True])
    assert rates == {"C2/3": 0.0, "C5/6": 0.5, "": 0.5}
    assert set(rates) - {""} <= set(LEVELS)
