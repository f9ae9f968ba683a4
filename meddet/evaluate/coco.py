"""Average precision and recall of boxes, by COCO's rule and by the VOC rule.

Each number has one meaning:

- `ap50`, `ap75`, `ap10`: COCO's average precision at IoU .5, .75 or .1, interpolated at 101 recalls, at most 100
  detections of an image and class, boxes of all sizes; over several classes their mean. IoU .1 asks for little more
  than the right disc: discs are so flat that a shift of a pixel costs a tenth of the overlap.
- `ap50_95`: the mean of that over IoU .5, .55, ..., .95.
- `ar100`: COCO's average recall over the same ten IoUs, 100 detections of an image and class.
- `recall50`: share of annotated boxes matched at IoU .5 by a detection that scores more than the given threshold.
- `ap50_voc`: area under the precision envelope at all points, IoU .5 (VOC 2010 and later).
- `class_agnostic`: the same numbers after labels are dropped and boxes at one place are reduced to the best-scoring.

A class without an annotated box has no precision and no recall: it says `undefined (n=0)` and is left out of means.
pycocotools' COCOeval is what the tests hold these numbers against; it counts one weighting in the time of hundreds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from meddet.evaluate.bootstrap import ratio
from meddet.evaluate.matching import number, without_class
from meddet.evaluate.precision import average_precision, recalls, voc_precision
from meddet.evaluate.ranking import Ranked, by_coco, by_voc, rank, regrouped
from meddet.structures import Detections, Target

IOUS = (0.1, *np.linspace(0.5, 0.95, 10).tolist())
"""Overlaps at which every image is matched: COCO's ten, and .1."""
AT_50 = 1
"""Row of IoU .5 in `IOUS`."""
_AT_10, _AT_75, _COCOS = 0, 6, slice(1, None)
_MAX_DETECTIONS = 100
_COCO_NAMES = ("ap10", "ap50", "ap75", "ap50_95")


def coco_ranked(detections: Sequence[Detections], targets: Sequence[Target], *, label: int) -> Ranked:
    """Match one class by COCO's rule at `IOUS`, at most 100 detections of an image."""
    return rank(detections, targets, label=label, ious=IOUS, rule=by_coco, most=_MAX_DETECTIONS)


def voc_ranked(detections: Sequence[Detections], targets: Sequence[Target], *, label: int) -> Ranked:
    """Match one class by VOC's rule at IoU .5."""
    return rank(detections, targets, label=label, ious=IOUS[AT_50 : AT_50 + 1], rule=by_voc)


def box_numbers(
    coco: Ranked, voc: Ranked, weights: Float[np.ndarray, "B P"], *, score_threshold: float
) -> dict[str, Float[np.ndarray, " B"]]:
    """Compute every number of this module's head of one class, for each weighting of the owners; NaN is undefined.

    Args:
        coco: `coco_ranked`.
        voc: `voc_ranked` of the same.
        weights: how often each owner (image or patient) counts.
        score_threshold: of `recall50`.
    """
    precision = average_precision(coco, weights, overlaps=range(len(IOUS)))
    return {
        "ap10": precision[:, _AT_10],
        "ap50": precision[:, AT_50],
        "ap75": precision[:, _AT_75],
        "ap50_95": precision[:, _COCOS].mean(axis=1),
        "ar100": recalls(coco, weights)[:, _COCOS].mean(axis=1),
        "ap50_voc": voc_precision(voc, weights),
        "recall50": recalls(coco, weights, above=score_threshold)[:, AT_50],
    }


def detection_numbers(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    classes: Sequence[str],
    score_threshold: float,
    nms_iou: float,
) -> dict[str, Any]:
    """Compute every number of this module's head: over the classes, of each class, and without classes.

    Args:
        detections: one per image.
        targets: of the same images in the same order.
        classes: names of the labels 0, 1, ...
        score_threshold: of `recall50`.
        nms_iou: IoU above which two boxes of different classes are at one place.

    Returns:
        `ap10_coco`, `ap50_coco`, `ap75_coco`, `ap50_95_coco`, `ap50_voc`, `ar100`, `recall50`, and the same of each
        class and of `class_agnostic`.
    """
    limits = {"score_threshold": score_threshold}
    by_class = [_numbers(detections, targets, label, **limits) for label in range(len(classes))]
    merged = [without_class(found, nms_iou=nms_iou) for found in detections]
    blind = [Target(target.boxes, target.labels * 0) for target in targets]
    result: dict[str, Any] = {
        name: number(float(mean_of_defined([each[name] for each in by_class])[0])) for name in by_class[0]
    }
    agnostic = _numbers(merged, blind, 0, **limits)
    for name, values in [*zip(classes, by_class, strict=True), ("class_agnostic", agnostic)]:
        result[name] = {key: number(float(value[0])) for key, value in values.items()}
    return result


def mean_of_defined(values: Sequence[Float[np.ndarray, " B"]]) -> Float[np.ndarray, " B"]:
    """Average over the classes, without those that are undefined; NaN where all are."""
    stacked = np.stack(values)
    defined = ~np.isnan(stacked)
    return ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))


def _numbers(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, *, score_threshold: float
) -> dict[str, np.ndarray]:
    """Compute the numbers of all images together."""
    everyone = np.zeros(len(targets), dtype=int)
    coco, voc = (
        regrouped(matched(detections, targets, label=label), everyone, 1) for matched in (coco_ranked, voc_ranked)
    )
    values = box_numbers(coco, voc, np.ones((1, 1)), score_threshold=score_threshold)
    return {f"{name}_coco" if name in _COCO_NAMES else name: value for name, value in values.items()}
