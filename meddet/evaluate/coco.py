"""Average precision and recall of boxes, by pycocotools and by the VOC rule.

Each number has one meaning:

- `ap50_coco`, `ap75_coco`: COCO's average precision at IoU .5 or .75, interpolated at 101 recalls, at most 100
  detections of an image and class, boxes of all sizes; over several classes their mean.
- `ap50_95_coco`: the mean of that over IoU .5, .55, ..., .95.
- `ar100`: COCO's average recall over the same ten IoUs, 100 detections of an image and class.
- `recall50`: share of annotated boxes matched at IoU .5 by a detection that scores more than the given threshold.
- `ap50_voc`: area under the precision envelope at all points, IoU .5 (VOC 2010 and later).
- `class_agnostic`: the same numbers after labels are dropped and boxes at one place are reduced to the best-scoring.

A class without an annotated box has no precision and no recall: it says `undefined (n=0)` and is left out of means.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from meddet.evaluate.matching import above, number, without_class
from meddet.evaluate.pr import pr_curve, voc_area
from meddet.structures import Detections, Target

_MAX_DETECTIONS = 100


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
    """
    merged = [without_class(found, nms_iou=nms_iou) for found in detections]
    blind = [Target(target.boxes, target.labels * 0) for target in targets]
    by_class = _numbers(detections, targets, num_classes=len(classes), score_threshold=score_threshold)
    agnostic = _numbers(merged, blind, num_classes=1, score_threshold=score_threshold)
    result: dict[str, Any] = {name: number(_mean(values)) for name, values in by_class.items()}
    for index, name in enumerate(classes):
        result[name] = {key: number(values[index]) for key, values in by_class.items()}
    result["class_agnostic"] = {key: number(values[0]) for key, values in agnostic.items()}
    return result


def _numbers(
    detections: Sequence[Detections], targets: Sequence[Target], *, num_classes: int, score_threshold: float
) -> dict[str, list[float]]:
    """Compute one value per class under each name; NaN is undefined."""
    result = coco_result(detections, targets, num_classes=num_classes)
    confident = [above(found, score_threshold) for found in detections]
    at_threshold = coco_result(confident, targets, num_classes=num_classes)
    precision = np.where(result["precision"] < 0, np.nan, result["precision"])[..., 0, 0]
    recall = np.where(result["recall"] < 0, np.nan, result["recall"])[..., 0, 0]
    recall_at_threshold = np.where(at_threshold["recall"] < 0, np.nan, at_threshold["recall"])[..., 0, 0]
    curves = [pr_curve(detections, targets, label=label) for label in range(num_classes)]
    return {
        "ap50_coco": precision[0].mean(axis=0).tolist(),
        "ap75_coco": precision[5].mean(axis=0).tolist(),
        "ap50_95_coco": precision.mean(axis=(0, 1)).tolist(),
        "ap50_voc": [voc_area(curve) for curve in curves],
        "ar100": recall.mean(axis=0).tolist(),
        "recall50": recall_at_threshold[0].tolist(),
    }


def coco_result(
    detections: Sequence[Detections], targets: Sequence[Target], *, num_classes: int
) -> dict[str, np.ndarray]:
    """Run COCOeval quietly over boxes of all sizes.

    Returns:
        `precision` (10 IoUs, 101 recalls, classes, 1, 1) and `recall` (10, classes, 1, 1); -1 is undefined.
    """
    evaluation = _evaluation(detections, targets, num_classes=num_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return {key: evaluation.eval[key] for key in ("precision", "recall")}


@dataclass(frozen=True)
class Matches:
    """The detections of one class by falling score, as COCO matches them at IoU .5, and where they are."""

    hit: Bool[np.ndarray, " N"]
    image: Int[np.ndarray, " N"]
    """Index of each detection's image."""
    num_boxes: Int[np.ndarray, " I"]
    """Annotated boxes of each image."""


def coco_matches(detections: Sequence[Detections], targets: Sequence[Target], *, num_classes: int) -> list[Matches]:
    """Match every image once by COCOeval's own rule (at most 100 detections of an image and class, IoU .5).

    Equal scores stand in the order of the images, as COCOeval sorts them.
    """
    evaluation = _evaluation(detections, targets, num_classes=num_classes)
    evaluation.params.iouThrs = np.asarray([0.5])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return [
        _matches([each for each in evaluation.evalImgs if each and each["category_id"] == label], len(targets))
        for label in range(num_classes)
    ]


def _matches(images: Sequence[dict[str, Any]], num_images: int) -> Matches:
    num_boxes = np.zeros(num_images, dtype=int)
    for each in images:
        num_boxes[each["image_id"]] = len(each["gtIds"])
    scores = np.concatenate([np.empty(0), *(np.asarray(each["dtScores"], dtype=float) for each in images)])
    hit = np.concatenate([np.empty(0, dtype=bool), *(each["dtMatches"][0] > 0 for each in images)])
    ids, counts = [each["image_id"] for each in images], [len(each["dtIds"]) for each in images]
    image = np.repeat(np.asarray(ids, dtype=int), counts)
    order = np.argsort(-scores, kind="stable")
    return Matches(hit[order], image[order], num_boxes)


def _evaluation(detections: Sequence[Detections], targets: Sequence[Target], *, num_classes: int) -> COCOeval:
    boxes = [_annotations(index, target.boxes, target.labels) for index, target in enumerate(targets)]
    found = [_annotations(index, each.boxes, each.labels, each.scores) for index, each in enumerate(detections)]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(boxes, num_classes), _coco(found, num_classes), "bbox")
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [_MAX_DETECTIONS]
    return evaluation


def _coco(annotations: Sequence[list[dict[str, Any]]], num_classes: int) -> COCO:
    """Index annotations; their ids start at 1, as COCOeval takes a match with id 0 for none."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in range(len(annotations))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": [{**each, "id": index} for index, each in enumerate(chain.from_iterable(annotations), start=1)],
    }
    coco.createIndex()
    return coco


def _annotations(image_id: int, boxes: Any, labels: Any, scores: Any = None) -> list[dict[str, Any]]:
    rows = []
    for index, (x1, y1, x2, y2) in enumerate(boxes.double().tolist()):
        row = {
            "image_id": image_id,
            "category_id": int(labels[index]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        rows.append(row if scores is None else {**row, "score": float(scores[index])})
    return rows


def _mean(values: list[float]) -> float:
    """Average the defined values; NaN if there is none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
