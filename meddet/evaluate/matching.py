"""Which detection found which annotated box."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from torchvision.ops import box_iou, nms

from meddet.evaluate.ranking import by_voc, rank
from meddet.structures import Detections, Target

UNDEFINED = "undefined (n=0)"
Number = float | str


def number(value: float) -> Number:
    """Return a float as it is and what nothing was counted for (NaN) as the text `undefined (n=0)`."""
    return UNDEFINED if np.isnan(value) else float(value)


def iou_matrix(detections: Detections, target: Target) -> Float[np.ndarray, "N M"]:
    """Compute the IoU of each detection with each annotated box, in float64."""
    return box_iou(detections.boxes.double(), target.boxes.double()).numpy()


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


def pooled_matches(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int, least_iou: float
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"], int]:
    """Match one class over all images (`by_voc`).

    Returns:
        scores by falling value, whether each is a true positive, and the number of annotated boxes.
    """
    ranked = rank(detections, targets, label=label, ious=[least_iou], rule=by_voc)
    return ranked.scores, ranked.hits[0], int(ranked.num_boxes.sum())
