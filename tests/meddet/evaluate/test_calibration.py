import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddet.evaluate.calibration import IDENTITY, fit_calibration, fit_knots, matched_iou, protrusion_shares
from meddet.evaluate.discs import match_discs
from meddet.structures import Detections, Target

DISC = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]
FAR = [50.0, 50.0, 60.0, 60.0]


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = ([row[place] for row in rows] for place in range(3))
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels).long())


def discs(*rows: tuple[list[float], int]) -> Target:
    boxes, labels = ([row[place] for row in rows] for place in range(2))
    return Target(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels).long())


def test_knots_are_the_isotonic_fit_with_one_more_failure_at_the_top_and_success_at_the_bottom() -> None:
    scores, values = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    knots = fit_knots(scores, values)
    # Pools: {1, 0 at .1} = 1/2; {1 at .2, 0 at .3} = 1/2; {1 at .4} and {1, 0 at .5}: 2/3.
    assert knots(np.array([0.0, 0.1, 0.3, 0.4, 0.45, 0.9])) == pytest.approx(
        [0.5, 0.5, 0.5, 2 / 3, 2 / 3, 2 / 3], abs=1e-6
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_knots_rise_and_are_never_certain(rows: list[tuple[float, bool]]) -> None:
    scores, values = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
    read = fit_knots(scores, values)(np.linspace(0, 1, 101))
    assert (np.diff(read) >= 0).all()
    least = 1 / (len(rows) + 2) - 1e-6
    assert read.min() >= least
    assert read.max() <= 1 - least


def test_many_observations_are_read_as_they_came() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(size=20_000)
    knots = fit_knots(scores, (random.uniform(size=20_000) < scores**2).astype(float))
    at = np.linspace(0.1, 0.9, 9)
    assert knots(at) == pytest.approx(at**2, abs=0.06)


def test_without_observations_a_score_is_read_as_itself() -> None:
    assert fit_knots(np.empty(0), np.empty(0)) == IDENTITY
    assert IDENTITY(np.array([0.2, 0.7])) == pytest.approx([0.2, 0.7])


def test_each_detection_takes_the_disc_of_its_class_that_is_left() -> None:
    target = discs((DISC, 0), (FAR, 1))
    detections = found((HALF, 0.5, 0), (DISC, 0.9, 0), (FAR, 0.8, 0), (FAR, 0.7, 1))
    image, scores, iou = matched_iou([found(), detections], [target, target], label=0)
    assert image.tolist() == [1, 1, 1]
    assert scores == pytest.approx([0.5, 0.9, 0.8])
    assert iou == pytest.approx([0.0, 1.0, 0.0])
    assert matched_iou([detections], [target], label=1)[2] == pytest.approx([1.0])


def test_a_box_is_read_as_the_share_of_the_protrusion_score_at_its_place() -> None:
    detections = found((DISC, 0.6, 0), (DISC, 0.2, 1), (HALF, 0.3, 1), (FAR, 0.4, 1))
    shares = protrusion_shares(detections, least_score=0.05)
    assert shares == pytest.approx([0.6 / 0.9, 0.6 / 0.9, 0.6 / 0.9, 0.025 / 0.425])
    at_discs = match_discs([detections], [discs((DISC, 0))], patients=["p"], levels=[[""]], least_score=0.05)
    assert shares[0] == pytest.approx(at_discs.probability[0])


def test_a_calibration_is_fitted_on_iou_places_and_located_discs() -> None:
    targets = [discs((DISC, 0)), discs((DISC, 1)), discs()]
    detections = [found((DISC, 0.9, 0)), found((DISC, 0.8, 1)), found((FAR, 0.3, 0))]
    table = match_discs(detections, targets, patients=["p", "q", "r"], levels=[[""], [""], []], least_score=0.05)
    made = fit_calibration(detections, targets, table)
    assert made.detection["protrusion"](np.array([0.3, 0.9])) == pytest.approx([0.5, 0.5])
    assert made.place(np.array([0.3, 0.8, 0.9])) == pytest.approx([0.5, 2 / 3, 2 / 3], abs=1e-6)
    assert made.disc(np.array([0.1, 0.95])) == pytest.approx([0.5, 0.5])
    empty = match_discs([], [], patients=[], levels=[], least_score=0.05)
    assert fit_calibration([], [], empty).disc == IDENTITY
