"""Precision and recall of weighted patients, without matching or sorting again.

A weight says how often a patient counts, a whole number: 1 for each gives the numbers of the whole test part, 1 for
some those of a group, and how often a patient was drawn those of a bootstrap resample.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from meddet.evaluate.bootstrap import in_chunks, ratio
from meddet.evaluate.ranking import Ranked

RECALLS = np.linspace(0.0, 1.0, 101)
"""At which COCO reads precision."""


def average_precision(
    ranked: Ranked, weights: Float[np.ndarray, "B P"], *, overlaps: Sequence[int]
) -> Float[np.ndarray, "B T"]:
    """Compute COCO's AP (mean of the precision at 101 recalls) of each weighting; NaN where no box has weight.

    Args:
        ranked: by patient, matched by COCO's rule.
        weights: of the patients.
        overlaps: rows of `ranked.hits`.
    """
    return precision_at_recalls(ranked, weights, overlaps=overlaps).mean(axis=2)


def precision_at_recalls(
    ranked: Ranked, weights: Float[np.ndarray, "B P"], *, overlaps: Sequence[int]
) -> Float[np.ndarray, "B T 101"]:
    """Read the falling envelope of the precision at `RECALLS`: the best precision at this recall or a higher one.

    Precision peaks at true positives, so these alone are looked at. One of weight 0 changes nothing: its recall was
    reached before, at no lower precision.
    """
    ranked = _of_drawn(ranked, weights)
    hits = [np.flatnonzero(ranked.hits[row]) for row in overlaps]
    owners = [ranked.owner[hit] for hit in hits]

    def compute(drawn: np.ndarray) -> np.ndarray:
        detected = np.maximum(drawn.take(ranked.owner, axis=1).cumsum(axis=1), 1.0)
        boxes = drawn @ ranked.num_boxes
        needed = _least_found(boxes)
        result = np.empty((len(drawn), len(hits), len(RECALLS)))
        for row, (hit, owner) in enumerate(zip(hits, owners, strict=True)):
            found = drawn.take(owner, axis=1).cumsum(axis=1)
            result[:, row] = _envelope(found, detected.take(hit, axis=1), needed)
        result[boxes == 0] = np.nan
        return result

    return in_chunks(compute, weights, cells=len(ranked.owner))


def voc_precision(ranked: Ranked, weights: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
    """Compute the area under the falling envelope of the precision at all points (VOC 2010), at the first overlap."""
    ranked = _of_drawn(ranked, weights)
    hit = np.flatnonzero(ranked.hits[0])

    def compute(drawn: np.ndarray) -> np.ndarray:
        gained = drawn.take(ranked.owner[hit], axis=1)
        detected = drawn.take(ranked.owner, axis=1).cumsum(axis=1).take(hit, axis=1)
        precision = gained.cumsum(axis=1) / np.maximum(detected, 1.0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return ratio((gained * envelope).sum(axis=1), drawn @ ranked.num_boxes)

    return in_chunks(compute, weights, cells=len(ranked.owner))


def recalls(ranked: Ranked, weights: Float[np.ndarray, "B P"], *, above: float = -np.inf) -> Float[np.ndarray, "B T"]:
    """Compute the share of boxes that were found, at each overlap, by detections scoring more than `above`."""
    counts = [hits_by_owner(ranked, row, above=above) for row in range(len(ranked.hits))]
    found, boxes = weights @ np.stack(counts, axis=1), weights @ ranked.num_boxes
    return np.stack([ratio(column, boxes) for column in found.T], axis=1)


def hits_by_owner(ranked: Ranked, row: int, *, above: float = -np.inf) -> Float[np.ndarray, " P"]:
    """Count each owner's hits at one overlap; scores are float32, and so is what they are compared with."""
    counted = ranked.hits[row] & (ranked.scores > np.float32(above))
    return np.bincount(ranked.owner[counted], minlength=len(ranked.num_boxes)).astype(float)


def first_reached(
    rising: Float[np.ndarray, "B K"], needed: Float[np.ndarray, "B R"], *, beyond: bool = False
) -> Int[np.ndarray, "B R"]:
    """Find in each row where values that never fall first reach what is needed (or, `beyond`, exceed it); K if never.

    All rows are searched at once, shifted so far apart that they follow each other.
    """
    step = max(float(rising.max(initial=0.0)), float(needed.max(initial=0.0))) + 2.0
    shift = step * np.arange(len(rising))[:, None]
    places = np.searchsorted((rising + shift).ravel(), (needed + shift).ravel(), side="right" if beyond else "left")
    return places.reshape(needed.shape) - rising.shape[1] * np.arange(len(rising))[:, None]


def _of_drawn(ranked: Ranked, weights: np.ndarray) -> Ranked:
    """Leave out the detections of patients without weight."""
    kept = np.asarray((weights > 0).any(axis=0))[ranked.owner]
    if kept.all():
        return ranked
    return Ranked(ranked.scores[kept], ranked.owner[kept], ranked.hits[:, kept], ranked.num_boxes)


def _least_found(boxes: np.ndarray) -> np.ndarray:
    """Count the boxes that must be found to reach each recall; as COCO does, found / boxes is compared as a float."""
    boxes = np.maximum(boxes, 1.0)[:, None]
    least = np.ceil(RECALLS * boxes)
    least -= (least - 1) / boxes >= RECALLS
    return least + (least / boxes < RECALLS)


def _envelope(found: np.ndarray, detected: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Take the best precision from where so many are found on; 0 where they never are."""
    num_rows, num_hits = found.shape
    precision = np.zeros((num_rows, num_hits + 1))
    np.divide(found, detected, out=precision[:, :-1])
    starts = first_reached(found, needed) + (num_hits + 1) * np.arange(num_rows)[:, None]
    best = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(needed.shape)
    return np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
