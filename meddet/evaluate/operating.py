"""The operating point: one threshold per class, chosen on validation, and what it makes of detections."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torchvision.ops import box_iou

from meddet.classes import CLASSES
from meddet.evaluate.discs import PROTRUSION
from meddet.evaluate.matching import Number, above, number, pooled_matches
from meddet.evaluate.pr import OperatingPoint, choose_threshold
from meddet.structures import Detections, Target


def choose_operating_points(
    detections: Sequence[Detections], targets: Sequence[Target], *, least_score: float
) -> dict[str, OperatingPoint]:
    """Choose each class's threshold by greatest F1 at IoU .5, on validation images."""
    return {
        name: choose_threshold(detections, targets, label=label, fallback=least_score)
        for label, name in enumerate(CLASSES)
    }


def call_discs(detections: Detections, thresholds: Mapping[str, float], *, nms_iou: float) -> Detections:
    """Reduce detections to one call per place.

    A box counts if it scores more than its class's threshold; where boxes of both classes do, it is a protrusion: that
    threshold is the one which was chosen to tell them apart.

    Args:
        detections: of one image, classes suppressed separately.
        thresholds: by class name.
        nms_iou: IoU above which two boxes are at one place.
    """
    keep = is_called(detections, thresholds, nms_iou=nms_iou)
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def is_called(detections: Detections, thresholds: Mapping[str, float], *, nms_iou: float) -> Bool[torch.Tensor, " N"]:
    """Mark the detections that `call_discs` keeps."""
    least = torch.tensor([thresholds[name] for name in CLASSES], dtype=torch.float64)
    counts = detections.scores > least[detections.labels]
    protrusions = counts & (detections.labels == PROTRUSION)
    overlap = box_iou(detections.boxes, detections.boxes[protrusions])
    covered = (overlap > nms_iou).any(dim=1) & ~protrusions
    return counts & ~covered


def at_threshold(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int, threshold: float
) -> dict[str, Number]:
    """Count what a threshold that was chosen elsewhere does here: F1, precision and recall of one class at IoU .5."""
    confident = [above(found, threshold) for found in detections]
    _, hits, num_boxes = pooled_matches(confident, targets, label=label, least_iou=0.5)
    right, called = int(hits.sum()), len(hits)
    return {
        "threshold": threshold,
        "f1": number(2 * right / (called + num_boxes) if num_boxes else float("nan")),
        "precision": number(right / called if called else float("nan")),
        "recall": number(right / num_boxes if num_boxes else float("nan")),
    }


def count_errors(called: Detections, target: Target) -> int:
    """Count the annotated boxes that no call of their class found (IoU >= .5) and the calls that found none."""
    errors = len(target.boxes) + len(called.boxes)
    for label in range(len(CLASSES)):
        _, hits, _ = pooled_matches([called], [target], label=label, least_iou=0.5)
        errors -= 2 * int(hits.sum())
    return errors
