"""Precision and recall of one class, the area under them, and the threshold that balances them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from meddet.evaluate.matching import Number, number, pooled_matches
from meddet.structures import Detections, Target


@dataclass(frozen=True)
class Curve:
    """Precision and recall after each detection, by falling score. Recall is NaN where no box is annotated."""

    scores: Float[np.ndarray, " N"]
    precision: Float[np.ndarray, " N"]
    recall: Float[np.ndarray, " N"]
    num_boxes: int


@dataclass(frozen=True)
class OperatingPoint:
    """The score above which a detection of one class counts, and what that costs and finds on the chosen images."""

    threshold: float
    f1: Number
    precision: Number
    recall: Number


def pr_curve(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int, least_iou: float = 0.5
) -> Curve:
    """Trace precision and recall of one class over all images together."""
    scores, hits, num_boxes = pooled_matches(detections, targets, label=label, least_iou=least_iou)
    return curve_of(scores, hits, num_boxes)


def curve_of(scores: Float[np.ndarray, " N"], hits: Bool[np.ndarray, " N"], num_boxes: int) -> Curve:
    """Trace precision and recall of detections by falling score, given which are true positives."""
    found = np.cumsum(hits)
    recall = found / num_boxes if num_boxes else np.full(len(hits), np.nan)
    return Curve(scores, found / np.arange(1, len(hits) + 1), recall, num_boxes)


def voc_area(curve: Curve) -> float:
    """Compute the area under the falling envelope of the curve (VOC 2010 and later: all points, not eleven).

    Returns:
        average precision in [0, 1], NaN where no box is annotated.
    """
    if curve.num_boxes == 0:
        return float("nan")
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * envelope))


def choose_threshold(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int, fallback: float, least_iou: float = 0.5
) -> OperatingPoint:
    """Choose the score threshold with the greatest F1 of one class (2 TP / (detections + boxes), IoU >= least_iou).

    The threshold lies half-way between the last detection that counts and the first that doesn't, so that a difference
    in the last digits (another engine) changes nothing. Among equal F1 the highest threshold is taken.

    Args:
        detections: of the validation images; the test images have no part in this.
        targets: what is annotated on them.
        label: the class.
        fallback: the threshold where no detection is right or nothing is annotated; also the lowest possible one.
        least_iou: overlap from which a detection is right.
    """
    curve = pr_curve(detections, targets, label=label, least_iou=least_iou)
    if curve.num_boxes == 0 or not np.any(curve.recall > 0):
        recall = 0.0 if curve.num_boxes else float("nan")
        return OperatingPoint(fallback, number(recall), number(float("nan")), number(recall))
    last_of_score = np.append(np.diff(curve.scores) < 0, True)
    count = np.arange(1, len(curve.scores) + 1)
    f1 = np.where(last_of_score, 2 * curve.recall * curve.num_boxes / (count + curve.num_boxes), -1.0)
    best = int(np.argmax(f1))
    below = curve.scores[best + 1] if best + 1 < len(curve.scores) else fallback
    threshold = float(curve.scores[best] + below) / 2
    return OperatingPoint(threshold, float(f1[best]), float(curve.precision[best]), float(curve.recall[best]))
