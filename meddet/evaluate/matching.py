"""Which detection found which annotated box."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from torchvision.ops import box_iou, nms

from meddet.structures import Detections, Target

UNDEFINED = "undefined (n=0)"
Number = float | str


def number(value: float) -> Number:
    """Return a float as it is and what nothing was counted for (NaN) as the text `undefined (n=0)`."""
    return UNDEFINED if np.isnan(value) else float(value)


def iou_matrix(detections: Detections, target: Target) -> Float[np.ndarray, "N M"]:
    """Compute the IoU of each detection with each annotated box, in float64."""
    return box_iou(detections.boxes.double(), target.boxes.double()).numpy()


def of_label(detections: Detections, label: int) -> Detections:
    """Keep the detections of one class."""
    keep = detections.labels == label
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def target_of_label(target: Target, label: int) -> Target:
    """Keep the annotated boxes of one class."""
    keep = target.labels == label
    return Target(target.boxes[keep], target.labels[keep])


def above(detections: Detections, threshold: float) -> Detections:
    """Keep the detections that score more than `threshold`."""
    keep = detections.scores > threshold
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def without_class(detections: Detections, *, nms_iou: float) -> Detections:
    """Forget the classes: every label becomes 0, and of boxes at one place the best-scoring stays.

    Detection suppresses within a class only, so that one disc may carry a box of either class; without this second,
    class-blind suppression at the same IoU each of them would count as a false positive of the other.
    """
    keep = nms(detections.boxes, detections.scores, nms_iou)
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep] * 0)


def match_greedily(iou: Float[np.ndarray, "N M"], *, least_iou: float) -> Int[np.ndarray, " N"]:
    """Give each detection, in the order of the rows, the box that it overlaps most: its index, or -1.

    The rule of the PASCAL VOC development kit: a detection whose best box is taken already is a false positive, even
    where another box overlaps it enough. (COCO's rule would give it that other box.)
    """
    matched = np.full(len(iou), -1)
    taken: set[int] = set()
    if iou.shape[1] == 0:
        return matched
    best = iou.argmax(axis=1)
    for row, column in enumerate(best.tolist()):
        if iou[row, column] >= least_iou and column not in taken:
            matched[row] = column
            taken.add(column)
    return matched


def pooled_matches(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int, least_iou: float
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"], int]:
    """Match one class over all images (VOC's rule).

    Returns:
        scores by falling value, whether each is a true positive, and the number of annotated boxes.
    """
    scores: list[np.ndarray] = [np.empty(0)]
    hits: list[np.ndarray] = [np.empty(0, dtype=bool)]
    num_boxes = 0
    for found, target in zip(detections, targets, strict=True):
        found = of_label(found, label)
        target = target_of_label(target, label)
        num_boxes += len(target.boxes)
        order = np.argsort(-found.scores.double().numpy(), kind="stable")
        matched = match_greedily(iou_matrix(found, target)[order], least_iou=least_iou)
        scores.append(found.scores.double().numpy()[order])
        hits.append(matched >= 0)
    score, hit = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-score, kind="stable")
    return score[order], hit[order], num_boxes
