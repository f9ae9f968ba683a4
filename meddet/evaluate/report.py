"""The report of an evaluation: every number of every model, what it rests on, and what a reader must not overlook.

The stage `evaluate` and the command `meddet evaluate` write it alike, from the detections as they were written down.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from meddet.bundle import Bundle
from meddet.classes import CLASSES
from meddet.data.coco import Sample
from meddet.evaluate.blocks import detection_block, error_block, froc_block, pr_rows
from meddet.evaluate.by_disc import Read, disc_blocks, read_discs, roc_rows
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.comparisons import comparisons
from meddet.evaluate.discs import PROTRUSION, disc_levels, disc_numbers, level_rates
from meddet.evaluate.errors import error_verdicts
from meddet.evaluate.froc import froc_rows
from meddet.evaluate.groups import subgroups
from meddet.evaluate.operating import at_threshold
from meddet.evaluate.operation import operating_numbers
from meddet.evaluate.reliability import calibration_block, conformal_block, reliability_rows
from meddet.evaluate.scored import Found, Scored
from meddet.evaluate.tally import Tally, tally
from meddet.rounding import rounded

STUDENT = "student"
_DIGITS = 6

NOTES = {
    "study": "all images of one patient",
    "suffixes": ".protrusion and .non-protrusion: of one class; .any: labels dropped, of boxes at one place the "
    "best-scoring stays; none: the mean of the classes",
    "ap50_coco": "AP at IoU 0.5, COCO's 101 recall points, at most 100 detections",
    "ap10_coco": "the same at IoU 0.1, as small boxes deserve",
    "ap75_coco": "the same at IoU 0.75",
    "ap50_95_coco": "the mean of it over IoU 0.50, 0.55, ..., 0.95",
    "ar100": "COCO's average recall over these IoUs, at most 100 detections",
    "ap50_voc": "AP at IoU 0.5 as the area under all points (VOC 2010 and later)",
    "recall50": "share of annotated boxes found at IoU 0.5 above the detection threshold of params.yaml",
    "class_agnostic": "labels dropped; of boxes at one place the best-scoring stays",
    "discs": "class of located discs: AUC of protrusion / (protrusion + non-protrusion score) beside that of the "
    "disc's level alone (protruded share of the level in the training part); sensitivity, specificity and their mean "
    "at the protrusion threshold chosen on validation",
    "ci95": "percentile interval over 2000 resamples of the test patients",
    "at_operating_point": "F1, precision and recall at IoU 0.5 at thresholds that were chosen on validation",
    "operation": "after one call is left per place, at thresholds that were chosen on validation, IoU 0.5: sensitivity "
    "is the share of boxes that a call of their class found (.any: of whatever class); false positives per image are "
    "the calls that found no box of their class (.any: no box at all); n says what each group rests on",
    "froc": "sensitivity at so many false positives per study, IoU 0.5; nothing is interpolated",
    "errors": "per image at the operating point; every call and every disc has one verdict (meddet/evaluate/errors.py)",
    "levels": "given_location: of discs that a detection of any class overlaps (IoU 0.5), the class alone; named: end "
    "to end, a disc counts as called where the model calls a protrusion and gives it this level's name; naming: how "
    "located discs are named",
    "patients": "disc: a disc of a patient over all slices, end to end; patient: any protrusion; the highest counts",
    "prevalence": "predictive values of located discs if so many of them were protruded, by Bayes",
    "calibration": "laece0: Kuzucu et al. 2024, 25 bins, score against IoU, above the operating point; brier: of "
    "located discs; calibrated: by isotonic regression fitted on validation; drawing patients twice raises a binned "
    "error, so that the interval of laece0 may lie above its value",
    "conformal": "conformal risk control on validation patients; miss_rate is to be compared with alpha",
    "subgroups": "of the student; withheld below 20 patients; listed beforehand",
    "comparisons": "student minus the other model on the same resamples; p two-sided, Holm within a metric",
    "use": "research use only; scores on a phantom are not clinical scores",
}


def detect_bundled(bundle: Bundle, images: Iterable[Float[np.ndarray, "_ _"]]) -> Found:
    """Detect with a bundle as its users do: one image in [0, 1] at a time, its own locator and thresholds."""
    config = bundle.config
    seen = [bundle.predict(pixels) for pixels in images]
    return Found(
        detections=[detections for detections, _ in seen],
        named=[bundle.name(detections, region) for detections, region in seen],
        thresholds=bundle.operating_point,
        score_threshold=config.score_threshold,
        nms_iou=config.nms_iou,
        calibration=config.calibration,
        conformal=config.conformal,
    )


@dataclass(frozen=True)
class Counted:
    """A model's matches, by boxes and by discs: whatever is told of it comes from these."""

    scored: Scored
    tally: Tally
    read: Read


def count_models(models: Mapping[str, Scored]) -> dict[str, Counted]:
    """Match every model with the annotations, once."""
    return {name: Counted(scored, tally(scored), read_discs(scored)) for name, scored in models.items()}


def evaluation_report(
    models: Mapping[str, Counted], *, train: Sequence[Sample], code_sha256: str, teachers: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute the report; groups of patients are told for the student alone.

    Args:
        models: by name, all on one test part; one is the student.
        train: training samples, for how often each level is protruded there.
        code_sha256: fingerprint of the sources that made the student.
        teachers: names among the models.
    """
    labels = [bool(label == PROTRUSION) for sample in train for label in sample.target.labels.tolist()]
    rates = level_rates([level for sample in train for level in disc_levels(sample.target, sample.levels)], labels)
    report: dict[str, Any] = {name: _numbers(counted, rates) for name, counted in models.items()}
    student = report[STUDENT]
    groups = {name: each["operation"].pop("groups") for name, each in report.items()}
    report |= {
        "subgroups": subgroups(groups[STUDENT], student["levels"]["given_location"]),
        "comparisons": comparisons({name: each.tally for name, each in models.items()}, model=STUDENT),
        "test": student["operation"]["n"],
        "notes": NOTES,
        "remarks": _remarks(report, teachers),
        "data_md5": models[STUDENT].scored.data_md5,
        "test_md5": models[STUDENT].scored.test_md5,
        "code_sha256": code_sha256,
    }
    result: dict[str, Any] = rounded(report, digits=_DIGITS)
    return result


def curve_tables(models: Mapping[str, Counted]) -> dict[str, pd.DataFrame]:
    """Write the curves of all models down: `pr`, `froc`, `roc` and `reliability`."""
    tallies = {name: each.tally for name, each in models.items()}
    roc = [row for name, each in models.items() for row in roc_rows(name, each.read)]
    reliability = [row for name, each in models.items() for row in reliability_rows(name, each.scored, each.read)]
    tables = {
        "pr": pr_rows(tallies),
        "froc": froc_rows(tallies),
        "roc": pd.DataFrame(roc, columns=["model", "unit", "fpr", "tpr"]),
        "reliability": pd.DataFrame(
            reliability, columns=["model", "kind", "low", "high", "n", "predicted", "observed"]
        ),
    }
    return {name: table.round(_DIGITS) for name, table in tables.items()}


def _numbers(counted: Counted, rates: dict[str, float]) -> dict[str, Any]:
    scored, read = counted.scored, counted.read
    report = detection_numbers(
        scored.detections,
        scored.targets,
        classes=CLASSES,
        score_threshold=scored.score_threshold,
        nms_iou=scored.nms_iou,
    )
    return report | {
        "discs": disc_numbers(read.discs, rates=rates, threshold=scored.thresholds[CLASSES[PROTRUSION]]),
        "at_operating_point": {
            name: at_threshold(scored.detections, scored.targets, label=label, threshold=scored.thresholds[name])
            for label, name in enumerate(CLASSES)
        },
        "operation": operating_numbers(scored),
        "detection": detection_block(counted.tally),
        "froc": froc_block(counted.tally),
        "errors": error_block(counted.tally, error_verdicts(scored)),
        **disc_blocks(read),
        "calibration": calibration_block(scored, read),
        "conformal": conformal_block(scored, read),
    }


def _remarks(report: Mapping[str, Any], teachers: Sequence[str]) -> list[str]:
    student = report[STUDENT]["ap50_coco"]
    lines = []
    for name in teachers:
        teacher = report[name]["ap50_coco"]
        if isinstance(teacher, float) and isinstance(student, float) and teacher < student:
            lines.append(
                f"teacher {name} is weaker than the student here (AP50 COCO {teacher:.3f} against {student:.3f}): "
                "so short a training from scratch leaves the larger network behind"
            )
    gain = report[STUDENT]["discs"]["auc_gain"]
    if isinstance(gain, float) and gain <= 0:
        lines.append("the student tells discs apart no better than their level alone does")
    return lines
