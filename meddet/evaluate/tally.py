"""A model's matches, by patient, so that any weighting of the patients has its numbers at once.

Every image is matched once, at all overlaps. Weights of 1 give the numbers of the whole test part, 1 for some patients
and 0 for the others those of a group, and how often a patient was drawn those of a bootstrap resample: exactly what the
same patients, written down as often, would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.classes import CLASSES
from meddet.evaluate.bootstrap import ratio, resampled_auc
from meddet.evaluate.coco import AT_50, box_numbers, coco_ranked, mean_of_defined, voc_ranked
from meddet.evaluate.discs import match_discs
from meddet.evaluate.matching import without_class
from meddet.evaluate.operating import call_discs
from meddet.evaluate.precision import average_precision, hits_by_owner
from meddet.evaluate.ranking import Ranked, regrouped
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Target

ANY = "any"
"""Name of the numbers without classes: every label counts as the same."""


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
    coco: dict[str, Ranked]
    """By patient, at `coco.IOUS`."""
    voc: dict[str, Ranked]
    """By patient, at IoU .5."""
    score_threshold: float
    called: dict[str, Called]
    share: Float[np.ndarray, " D"]
    """Share of the protrusion score at each located disc."""
    protruded: Bool[np.ndarray, " D"]
    owner: Int[np.ndarray, " D"]
    """Row of each located disc's patient."""

    def numbers(self, weights: Float[np.ndarray, "B P"]) -> dict[str, Float[np.ndarray, " B"]]:
        """Compute what is decided by, for each weighting of the patients; NaN where nothing is there to be counted.

        - `ap50.<name>`: COCO's AP at IoU .5; `ap50`: mean over the classes.
        - `sensitivity.<class>`: share of the class's boxes that a call of this class found; `sensitivity`: of all
          boxes; `sensitivity.any`: share of all boxes that a call of any class found.
        - `false_positives_per_image.<class>`: calls of the class that found no box of it; without a class: of both
          together; `.any`: calls at a place where no box is.
        - `disc_auc`: of the protrusion share, over located discs (`disc_numbers`).
        """
        images = weights @ self.images
        precisions = {
            name: average_precision(ranked, weights, overlaps=[AT_50])[:, 0] for name, ranked in self.coco.items()
        }
        result = {"ap50": mean_of_defined([precisions[name] for name in CLASSES])}
        result |= {f"ap50.{name}": value for name, value in precisions.items()}
        sums = {name: [weights @ part for part in (c.right, c.wrong, c.boxes)] for name, c in self.called.items()}
        both = [sums[CLASSES[0]][index] + sums[CLASSES[1]][index] for index in range(3)]
        for name, (right, wrong, boxes) in {"": both, **sums}.items():
            suffix = f".{name}" if name else ""
            result[f"sensitivity{suffix}"] = ratio(right, boxes)
            result[f"false_positives_per_image{suffix}"] = ratio(wrong, images)
        result["disc_auc"] = resampled_auc(self.share, self.protruded, self.owner, weights)
        return result

    def detection(self, weights: Float[np.ndarray, "B P"]) -> dict[str, Float[np.ndarray, " B"]]:
        """Compute `ap10`, `ap50`, `ap75`, `ap50_95`, `ar100`, `ap50_voc` and `recall50` (meddet/evaluate/coco.py).

        Without a suffix the mean of the classes, `.<class>` of one, `.any` without classes.
        """
        of_name = {
            name: box_numbers(self.coco[name], self.voc[name], weights, score_threshold=self.score_threshold)
            for name in self.coco
        }
        result = {}
        for metric in of_name[ANY]:
            result[metric] = mean_of_defined([of_name[name][metric] for name in CLASSES])
            result |= {f"{metric}.{name}": numbers[metric] for name, numbers in of_name.items()}
        return result


def tally(scored: Scored) -> Tally:
    """Match a model's detections and calls, image by image."""
    patients, owner = np.unique(np.asarray(scored.patients, dtype=str), return_inverse=True)
    targets, blind = scored.targets, [Target(each.boxes, each.labels * 0) for each in scored.targets]
    merged = [without_class(found, nms_iou=scored.nms_iou) for found in scored.detections]
    called = [call_discs(found, scored.thresholds, nms_iou=scored.nms_iou) for found in scored.detections]
    nameless = [Detections(each.boxes, each.scores, each.labels * 0) for each in called]

    def by_patient(matched: Any, named: Sequence[Detections], unnamed: Sequence[Detections]) -> dict[str, Ranked]:
        by_image = {name: matched(named, targets, label=label) for label, name in enumerate(CLASSES)}
        by_image[ANY] = matched(unnamed, blind, label=0)
        return {name: regrouped(ranked, owner, len(patients)) for name, ranked in by_image.items()}

    discs = match_discs(
        scored.detections,
        targets,
        patients=scored.patients,
        levels=scored.levels,
        least_score=scored.score_threshold,
    )
    return Tally(
        patients=tuple(patients.tolist()),
        images=np.bincount(owner, minlength=len(patients)).astype(float),
        coco=by_patient(coco_ranked, scored.detections, merged),
        voc=by_patient(voc_ranked, scored.detections, merged),
        score_threshold=scored.score_threshold,
        called={name: _count(ranked) for name, ranked in by_patient(voc_ranked, called, nameless).items()},
        share=discs.probability[discs.located],
        protruded=discs.protruded[discs.located],
        owner=np.searchsorted(patients, discs.patient[discs.located]),
    )


def _count(called: Ranked) -> Called:
    right = hits_by_owner(called, 0)
    all_calls = np.bincount(called.owner, minlength=len(right)).astype(float)
    return Called(right, all_calls - right, called.num_boxes)
