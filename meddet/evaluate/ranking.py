"""Which detections found an annotated box, matched once per image and at every overlap that is asked for.

Many images are matched side by side: the best-scoring detection of each, then the second of each, and so on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.structures import Detections, Target

_IMAGES_AT_ONCE = 256
_NEARLY_ONE = 1 - 1e-10


@dataclass(frozen=True)
class Ranked:
    """The detections of one class by falling score; equal scores stand in the order of the images."""

    scores: Float[np.ndarray, " N"]
    owner: Int[np.ndarray, " N"]
    """Row of the image that each belongs to; after `regrouped`, of its patient."""
    hits: Bool[np.ndarray, "T N"]
    """Whether each found a box, at each of T overlaps."""
    num_boxes: Float[np.ndarray, " P"]
    """Annotated boxes of each owner."""


Rule = Callable[[Float[np.ndarray, "I D M"], Float[np.ndarray, " T"]], Bool[np.ndarray, "I T D"]]


def rank(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    label: int,
    ious: Sequence[float],
    rule: Rule,
    most: int | None = None,
) -> Ranked:
    """Match one class on all images.

    Args:
        detections: one per image.
        targets: of the same images in the same order. All boxes are upright (x1 <= x2, y1 <= y2).
        label: the class.
        ious: overlaps from which a detection may be right.
        rule: `by_coco` or `by_voc`.
        most: detections of an image that count, the best-scoring; all where None.
    """
    assert len(detections) == len(targets)
    boxes, image = _of_label(targets, label)
    found, found_image = _of_label(detections, label)
    labels = np.concatenate([np.empty(0, dtype=int), *(each.labels.numpy() for each in detections)])
    scores = np.concatenate([np.empty(0), *(each.scores.double().numpy() for each in detections)])[labels == label]
    order = np.lexsort((-scores, found_image))
    order = order[_place(found_image[order]) < (len(order) if most is None else most)]
    found, found_image, scores = found[order], found_image[order], scores[order]
    hits = np.zeros((len(ious), len(scores)), dtype=bool)
    for first in range(0, len(targets), _IMAGES_AT_ONCE):
        last = min(first + _IMAGES_AT_ONCE, len(targets))
        start, stop = np.searchsorted(found_image, (first, last))
        chosen = slice(*np.searchsorted(image, (first, last)))
        rows = found_image[start:stop] - first
        side_by_side = _side_by_side(found[start:stop], rows, last - first)
        iou = _overlaps(side_by_side, _side_by_side(boxes[chosen], image[chosen] - first, last - first))
        hits[:, start:stop] = rule(iou, np.asarray(ious, dtype=float))[rows, :, _place(rows)].T
    falling = np.argsort(-scores, kind="stable")
    num_boxes = np.bincount(image, minlength=len(targets)).astype(float)
    return Ranked(scores[falling], found_image[falling], hits[:, falling], num_boxes)


def by_coco(iou: Float[np.ndarray, "I D M"], ious: Float[np.ndarray, " T"]) -> Bool[np.ndarray, "I T D"]:
    """Give each detection, by falling score, the box it overlaps most of those still free (COCOeval's rule).

    Of boxes that it overlaps alike it gets the last one, as there.
    """
    num_images, num_detections, num_boxes = iou.shape
    least = np.minimum(ious, _NEARLY_ONE)
    hits = np.zeros((num_images, len(ious), num_detections), dtype=bool)
    taken = np.zeros((num_images, len(ious), num_boxes), dtype=bool)
    for place in range(num_detections if num_boxes else 0):
        free = np.where(taken, -1.0, iou[:, None, place, :])
        best = num_boxes - 1 - free[..., ::-1].argmax(axis=2)
        hits[..., place] = free.max(axis=2) >= least
        images, rows = np.nonzero(hits[..., place])
        taken[images, rows, best[images, rows]] = True
    return hits


def by_voc(iou: Float[np.ndarray, "I D M"], ious: Float[np.ndarray, " T"]) -> Bool[np.ndarray, "I T D"]:
    """Give each detection, by falling score, the box that it overlaps most, if that is still free.

    The rule of the PASCAL VOC development kit: a detection whose best box is taken already is a false positive, even
    where another box overlaps it enough. (COCO's rule would give it that other box.)
    """
    num_images, num_detections, num_boxes = iou.shape
    hits = np.zeros((num_images, len(ious), num_detections), dtype=bool)
    taken = np.zeros((num_images, len(ious), num_boxes), dtype=bool)
    every = np.arange(num_images)
    for place in range(num_detections if num_boxes else 0):
        best = iou[:, place].argmax(axis=1)
        hits[..., place] = (iou[every, place, best][:, None] >= ious) & ~taken[every, :, best]
        images, rows = np.nonzero(hits[..., place])
        taken[images, rows, best[images]] = True
    return hits


def regrouped(ranked: Ranked, owner: Int[np.ndarray, " I"], number: int) -> Ranked:
    """Hand the detections of images over to whom the images belong to, e.g. to their patients.

    Args:
        ranked: by image.
        owner: row of each image's new owner.
        number: of owners.
    """
    num_boxes = np.bincount(owner, weights=ranked.num_boxes, minlength=number).astype(float)
    return Ranked(ranked.scores, owner[ranked.owner], ranked.hits, num_boxes)


def _of_label(parts: Sequence[Target | Detections], label: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one class, and the row of each one's image."""
    chosen = [each.labels.numpy() == label for each in parts]
    boxes = [each.boxes.double().numpy()[keep] for each, keep in zip(parts, chosen, strict=True)]
    sizes = [len(each) for each in boxes]
    return np.concatenate([np.empty((0, 4)), *boxes]), np.repeat(np.arange(len(parts)), sizes)


def _place(image: np.ndarray) -> np.ndarray:
    """Count within each image, from 0; `image` never falls."""
    return np.arange(len(image)) - np.searchsorted(image, image)


def _side_by_side(boxes: np.ndarray, image: np.ndarray, num_images: int) -> np.ndarray:
    """Write the boxes of some images into one array (I, most of an image, 4), filled up with boxes of no extent."""
    place = _place(image)
    result = np.zeros((num_images, int(place.max(initial=-1)) + 1, 4))
    result[image, place] = boxes
    return result


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute every IoU within each image, with pycocotools' order of operations; 0 for boxes without extent."""
    area, other_area = ((each[..., 2:] - each[..., :2]).prod(axis=2) for each in (one, other))
    low = np.maximum(one[:, :, None, :2], other[:, None, :, :2])
    high = np.minimum(one[:, :, None, 2:], other[:, None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=3)
    joined = area[:, :, None] + other_area[:, None] - shared
    return np.divide(shared, joined, out=np.zeros_like(shared), where=shared > 0)
