"""Why a call is wrong and why a disc is not found, at the operating point: one verdict for each of both.

After TIDE (arXiv:2008.08115), with what a reader of spines asks for. Calls (`call_discs`) are taken by falling score:

- `right`: of the calls of its class the first one whose most overlapped disc of this class (IoU >= .5) is still free,
  as `sensitivity` counts it. Of the others, by the disc that each overlaps most, whatever its class:
- `class_flip`: IoU >= .5, and no other call has this disc yet; the disc's class is the other one.
- `duplicate`: IoU >= .5, and another call has this disc already.
- `localisation`: .1 <= IoU < .5.
- `background`: IoU < .1 with every disc, and by its place (`place_in_background`) `.c2_synchondrosis`, `.thoracic` or
  `.other`.

Discs are `found` (by a right call), else `class_flip`, else `localisation` (some call of this kind is nearest to them),
else `missed`. So there are as many found discs as right calls, and as many flipped discs as flipping calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from meddet.classes import LEVELS
from meddet.evaluate.matching import iou_matrix
from meddet.evaluate.operating import call_discs
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Target

RIGHT, FOUND, MISSED = "right", "found", "missed"
CLASS_FLIP, DUPLICATE, LOCALISATION = "class_flip", "duplicate", "localisation"
SYNCHONDROSIS, THORACIC, OTHER = "background.c2_synchondrosis", "background.thoracic", "background.other"
CALL_KINDS = (RIGHT, CLASS_FLIP, DUPLICATE, LOCALISATION, SYNCHONDROSIS, THORACIC, OTHER)
BOX_KINDS = (FOUND, CLASS_FLIP, LOCALISATION, MISSED)
ERRORS = (MISSED, *CALL_KINDS[1:])
"""What is counted: missed discs, and wrong calls."""
_LEAST_IOU, _NEAR_IOU = 0.5, 0.1
_LEAST_DISCS = 3


@dataclass(frozen=True)
class ImageErrors:
    """The verdicts on one image."""

    image_id: int
    patient: str
    calls: Detections
    """By falling score."""
    call_kinds: tuple[str, ...]
    """One of `CALL_KINDS` for each call."""
    call_boxes: tuple[int, ...]
    """Row of the annotated disc that each call was judged by, -1 on the background."""
    box_kinds: tuple[str, ...]
    """One of `BOX_KINDS` for each annotated disc."""


def error_verdicts(scored: Scored) -> list[ImageErrors]:
    """Judge every call and every annotated disc of a model; one entry per image, in the order of the images."""
    rows = zip(scored.image_ids, scored.patients, scored.detections, scored.targets, scored.levels, strict=True)
    return [
        judge(
            call_discs(found, scored.thresholds, nms_iou=scored.nms_iou),
            target,
            levels=levels,
            image_id=image_id,
            patient=patient,
        )
        for image_id, patient, found, target, levels in rows
    ]


def judge(
    calls: Detections, target: Target, *, levels: Sequence[str], image_id: int = 0, patient: str = ""
) -> ImageErrors:
    """Judge the calls and the discs of one image.

    Args:
        calls: one per place (`call_discs`).
        target: what is annotated.
        levels: of each annotated disc, "" if unknown.
        image_id: of the image.
        patient: whose it is.
    """
    order = np.argsort(-calls.scores.double().numpy(), kind="stable")
    calls = Detections(calls.boxes[order], calls.scores[order], calls.labels[order])
    iou, labels, truth = iou_matrix(calls, target), calls.labels.numpy(), target.labels.numpy()
    right = _right_calls(iou, labels, truth)
    kinds, owner = [RIGHT] * len(labels), dict.fromkeys(right.values(), FOUND)
    boxes = [right.get(row, -1) for row in range(len(labels))]
    for row in (row for row in range(len(labels)) if row not in right):
        best = int(iou[row].argmax()) if len(truth) else -1
        overlap = iou[row, best] if len(truth) else 0.0
        if overlap < _NEAR_IOU:
            kinds[row] = place_in_background(calls.boxes[row].double().numpy(), target, levels=levels)
            continue
        boxes[row] = best
        if overlap < _LEAST_IOU:
            kinds[row] = LOCALISATION
        elif best in owner:
            kinds[row] = DUPLICATE
        else:
            kinds[row] = owner[best] = CLASS_FLIP
    near = {box for box, kind in zip(boxes, kinds, strict=True) if kind == LOCALISATION}
    box_kinds = [owner.get(box, LOCALISATION if box in near else MISSED) for box in range(len(truth))]
    return ImageErrors(image_id, patient, calls, tuple(kinds), tuple(boxes), tuple(box_kinds))


def place_in_background(box: Float[np.ndarray, " 4"], target: Target, *, levels: Sequence[str]) -> str:
    """Say what lies where a call found no disc, by the image's own annotated discs, of which three are needed.

    Their centres, from the top, give the column: its pitch is the median distance of neighbours; it goes on upwards as
    from the second disc to the first, downwards as from the last but one to the last.

    - `background.c2_synchondrosis`: the call's centre is within half a pitch of the point one pitch above the topmost
      disc, where the remnant of a disc lies within C2.
    - `background.thoracic`: it is half a pitch or more below the lowest disc, and at most one pitch aside of the
      column's line; thoracic discs look like cervical ones and aren't annotated.
    - `background.other`: anywhere else, or fewer than three discs. Where a disc is known by level, the first rule asks
      for C2/3 to be the topmost, the second for C7/T1 to be the lowest: beyond any other may lie a disc that wasn't
      annotated.

    Args:
        box: of the call, xyxy in px.
        target: of the image.
        levels: of each annotated disc, "" if unknown.
    """
    if len(target.labels) < _LEAST_DISCS:
        return OTHER
    boxes = target.boxes.double().numpy()
    order = np.argsort(boxes[:, 1] + boxes[:, 3], kind="stable")
    discs, centre = (boxes[order, :2] + boxes[order, 2:]) / 2, (box[:2] + box[2:]) / 2
    steps = np.diff(discs, axis=0)
    lengths = np.hypot(*steps.T)
    pitch = float(np.median(lengths))
    if pitch == 0 or not (lengths[0] and lengths[-1]):
        return OTHER
    first, last = levels[order[0]], levels[order[-1]]
    above = discs[0] - pitch * steps[0] / lengths[0]
    if first in ("", LEVELS[0]) and np.hypot(*(centre - above)) <= pitch / 2:
        return SYNCHONDROSIS
    (across, along), (x, y) = steps[-1] / lengths[-1], centre - discs[-1]
    is_below = x * across + y * along >= pitch / 2 and abs(x * along - y * across) <= pitch
    return THORACIC if last in ("", LEVELS[-1]) and is_below else OTHER


def count_kinds(verdicts: Sequence[ImageErrors], patients: Sequence[str]) -> dict[str, Float[np.ndarray, " P"]]:
    """Count every verdict by patient: by `CALL_KINDS` calls, `missed` discs, and all `calls` and `boxes`.

    Args:
        verdicts: by image.
        patients: in the order of the result's rows, sorted.
    """
    owner = np.searchsorted(np.asarray(patients, dtype=str), np.asarray([each.patient for each in verdicts], dtype=str))

    def count(numbers: Sequence[int]) -> Shaped[np.ndarray, " P"]:
        return np.bincount(owner, weights=np.asarray(numbers, dtype=float), minlength=len(patients)).astype(float)

    counts = {kind: count([each.call_kinds.count(kind) for each in verdicts]) for kind in CALL_KINDS}
    counts[MISSED] = count([each.box_kinds.count(MISSED) for each in verdicts])
    counts["calls"] = count([len(each.call_kinds) for each in verdicts])
    counts["boxes"] = count([len(each.box_kinds) for each in verdicts])
    return counts


def _right_calls(iou: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Match the calls of each class, by falling score, with the discs of it (VOC's rule): call to disc, by rows."""
    own = np.where(labels[:, None] == truth, iou, -1.0)
    right: dict[int, int] = {}
    for row, overlaps in enumerate(own):
        best = int(overlaps.argmax()) if len(truth) else -1
        if len(truth) and overlaps[best] >= _LEAST_IOU and best not in right.values():
            right[row] = best
    return right
