"""A model's matches, counted by patient, so that any weighting of the patients has its numbers at once.

Every image is matched once. Weights of 1 give the numbers of the whole test part, 1 for some patients and 0 for the
others those of a group, and how often a patient was drawn those of a bootstrap resample: exactly what the same
patients, written down as often, would give.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.classes import CLASSES
from meddet.evaluate.bootstrap import ratio, resampled_auc
from meddet.evaluate.coco import Matches, coco_matches
from meddet.evaluate.discs import match_discs
from meddet.evaluate.matching import pooled_matches, without_class
from meddet.evaluate.operating import call_discs
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Target

ANY = "any"
"""Name of the numbers without classes: every label counts as the same."""
_LEAST_IOU = 0.5
_RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Ranked:
    """One class's true positives by falling score (K of them), with what was detected down to each, by patient."""

    found: Float[np.ndarray, "P K"]
    """True positives down to and with this one."""
    detected: Float[np.ndarray, "P K"]
    """Detections down to and with this one."""
    boxes: Float[np.ndarray, " P"]
    """Annotated boxes."""


@dataclass(frozen=True)
class Called:
    """What the calls of one class at the operating point found and cost, by patient."""

    right: Float[np.ndarray, " P"]
    wrong: Float[np.ndarray, " P"]
    boxes: Float[np.ndarray, " P"]


@dataclass(frozen=True)
class Tally:
    """All that is counted of one model; the names are the classes and `any`."""

    patients: tuple[str, ...]
    images: Float[np.ndarray, " P"]
    ranked: dict[str, Ranked]
    called: dict[str, Called]
    share: Float[np.ndarray, " D"]
    """Share of the protrusion score at each located disc."""
    protruded: Bool[np.ndarray, " D"]
    owner: Int[np.ndarray, " D"]
    """Row of each located disc's patient."""

    def numbers(self, weights: Float[np.ndarray, "B P"]) -> dict[str, Float[np.ndarray, " B"]]:
        """Compute every number for each weighting of the patients; NaN where nothing is there to be counted.

        - `ap50.<name>`: COCO's AP at IoU .5; `ap50`: mean over the classes.
        - `sensitivity.<class>`: share of the class's boxes that a call of this class found; `sensitivity`: of all
          boxes; `sensitivity.any`: share of all boxes that a call of any class found.
        - `false_positives_per_image.<class>`: calls of the class that found no box of it; without a class: of both
          together; `.any`: calls at a place where no box is.
        - `disc_auc`: of the protrusion share, over located discs (`disc_numbers`).
        """
        images = weights @ self.images
        precisions = {name: average_precision(ranked, weights) for name, ranked in self.ranked.items()}
        result = {"ap50": _mean_of_defined(np.stack([precisions[name] for name in CLASSES]))}
        result |= {f"ap50.{name}": value for name, value in precisions.items()}
        sums = {name: [weights @ part for part in (c.right, c.wrong, c.boxes)] for name, c in self.called.items()}
        both = [sums[CLASSES[0]][index] + sums[CLASSES[1]][index] for index in range(3)]
        for name, (right, wrong, boxes) in {"": both, **sums}.items():
            suffix = f".{name}" if name else ""
            result[f"sensitivity{suffix}"] = ratio(right, boxes)
            result[f"false_positives_per_image{suffix}"] = ratio(wrong, images)
        result["disc_auc"] = resampled_auc(self.share, self.protruded, self.owner, weights)
        return result


def tally(scored: Scored) -> Tally:
    """Match a model's detections and calls, image by image."""
    patients, owner = np.unique(np.asarray(scored.patients, dtype=str), return_inverse=True)
    num_patients = len(patients)
    targets, blind = scored.targets, [Target(each.boxes, each.labels * 0) for each in scored.targets]
    merged = [without_class(found, nms_iou=scored.nms_iou) for found in scored.detections]
    matches = dict(zip(CLASSES, coco_matches(scored.detections, targets, num_classes=len(CLASSES)), strict=True))
    (matches[ANY],) = coco_matches(merged, blind, num_classes=1)
    called = [call_discs(found, scored.thresholds, nms_iou=scored.nms_iou) for found in scored.detections]
    nameless = [Detections(each.boxes, each.scores, each.labels * 0) for each in called]
    counts = {name: _count(called, targets, label, owner) for label, name in enumerate(CLASSES)}
    counts[ANY] = _count(nameless, blind, 0, owner)
    discs = match_discs(
        scored.detections,
        targets,
        patients=scored.patients,
        levels=scored.levels,
        least_score=scored.score_threshold,
    )
    return Tally(
        patients=tuple(patients.tolist()),
        images=np.bincount(owner, minlength=num_patients).astype(float),
        ranked={name: _ranked(each, owner, num_patients) for name, each in matches.items()},
        called=counts,
        share=discs.probability[discs.located],
        protruded=discs.protruded[discs.located],
        owner=np.searchsorted(patients, discs.patient[discs.located]),
    )


def average_precision(ranked: Ranked, weights: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
    """Compute COCO's AP (101 recalls) of each weighting; NaN where no box has weight.

    Precision peaks at true positives, so these alone are looked at. One of weight 0 changes nothing: its recall was
    reached before, at no lower precision.
    """
    at_once = max(_CELLS_AT_ONCE // max(ranked.found.shape[1], 1), 1)
    parts = [_average_precision(ranked, weights[first : first + at_once]) for first in range(0, len(weights), at_once)]
    return np.concatenate([np.empty(0), *parts])


def _average_precision(ranked: Ranked, weights: np.ndarray) -> np.ndarray:
    found, boxes = weights @ ranked.found, weights @ ranked.boxes
    precision = found / (weights @ ranked.detected + np.spacing(1))
    envelope = np.zeros((len(weights), found.shape[1] + 1))
    envelope[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    values = np.full(len(weights), np.nan)
    for row in np.flatnonzero(boxes > 0):
        values[row] = envelope[row, np.searchsorted(found[row] / boxes[row], _RECALLS, side="left")].mean()
    return values


def _ranked(matches: Matches, owner: np.ndarray, num_patients: int) -> Ranked:
    hits = np.flatnonzero(matches.hit)
    patient = owner[matches.image]
    found, detected = np.zeros((2, num_patients, len(hits) + 1))
    # Each detection counts from the next true positive on; those after the last in a column of their own.
    np.add.at(detected, (patient, np.searchsorted(hits, np.arange(len(patient)))), 1)
    found[patient[hits], np.arange(len(hits))] = 1
    return Ranked(
        found=found.cumsum(axis=1)[:, :-1],
        detected=detected.cumsum(axis=1)[:, :-1],
        boxes=np.bincount(owner, weights=matches.num_boxes, minlength=num_patients),
    )


def _count(
    called: list[Detections], targets: tuple[Target, ...] | list[Target], label: int, owner: np.ndarray
) -> Called:
    counts = np.zeros((3, int(owner.max(initial=-1)) + 1))
    for row, found, target in zip(owner, called, targets, strict=True):
        _, hits, num_boxes = pooled_matches([found], [target], label=label, least_iou=_LEAST_IOU)
        counts[:, row] += hits.sum(), (~hits).sum(), num_boxes
    return Called(*counts)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))
