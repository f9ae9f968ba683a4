import numpy as np
import pytest
import torch

from meddet.evaluate.pr import choose_threshold, curve_of, voc_area
from meddet.structures import Detections, Target

BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]])


def pair(boxes: torch.Tensor, scores: list[float], truth: torch.Tensor) -> tuple[list[Detections], list[Target]]:
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    detections = Detections(boxes, torch.tensor(scores), labels)
    return [detections], [Target(truth, torch.zeros(len(truth), dtype=torch.int64))]


def test_voc_area_of_a_hand_made_curve() -> None:
    # hit, miss, hit of 4 boxes: recall .25, .25, .5; precision 1, .5, 2/3 -> .25 * 1 + .25 * 2/3
    curve = curve_of(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4)
    assert voc_area(curve) == pytest.approx(0.25 + 0.25 * 2 / 3)


def test_voc_area_uses_the_envelope() -> None:
    # miss, hit, hit of 2 boxes: precision 0, .5, 2/3 -> the envelope is 2/3 over the whole recall
    assert voc_area(curve_of(np.array([0.9, 0.8, 0.7]), np.array([False, True, True]), 2)) == pytest.approx(2 / 3)


def test_voc_area_without_boxes_is_nan_and_without_detections_zero() -> None:
    assert np.isnan(voc_area(curve_of(np.array([0.9]), np.array([False]), 0)))
    assert voc_area(curve_of(np.empty(0), np.empty(0, dtype=bool), 3)) == 0


def test_the_threshold_lies_between_the_last_right_and_the_first_wrong() -> None:
    far = BOXES + 200
    detections, targets = pair(torch.cat([BOXES, far]), [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1], BOXES)
    point = choose_threshold(detections, targets, label=0, fallback=0.05)
    assert point.threshold == pytest.approx(0.5)
    assert (point.f1, point.precision, point.recall) == (1.0, 1.0, 1.0)


def test_the_threshold_gives_up_a_box_that_costs_too_many_false_positives() -> None:
    far = BOXES + 200
    boxes = torch.cat([BOXES[:3], far, BOXES[3:]])
    detections, targets = pair(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], BOXES)
    point = choose_threshold(detections, targets, label=0, fallback=0.05)
    assert point.threshold == pytest.approx(0.65)
    assert point.f1 == pytest.approx(6 / 7)


def test_equal_scores_are_kept_or_dropped_together() -> None:
    detections, targets = pair(torch.cat([BOXES[:1], BOXES[:1] + 200]), [0.5, 0.5], BOXES[:1])
    point = choose_threshold(detections, targets, label=0, fallback=0.05)
    assert point.f1 == pytest.approx(2 / 3)
    assert point.threshold == pytest.approx(0.275)


def test_a_duplicate_is_a_false_positive() -> None:
    detections, targets = pair(torch.cat([BOXES[:1], BOXES[:1]]), [0.9, 0.8], BOXES[:1])
    assert choose_threshold(detections, targets, label=0, fallback=0.05).threshold == pytest.approx(0.85)


def test_without_boxes_the_threshold_is_the_fallback_and_the_rest_undefined() -> None:
    detections, targets = pair(BOXES, [0.9, 0.8, 0.7, 0.6], BOXES[:0])
    point = choose_threshold(detections, targets, label=0, fallback=0.05)
    assert point.threshold == 0.05
    assert {point.f1, point.precision, point.recall} == {"undefined (n=0)"}
