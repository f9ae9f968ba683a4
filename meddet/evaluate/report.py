"""The report of an evaluation: every number of every model, what it rests on, and what a reader must not overlook.

The stage `evaluate` and the command `meddet evaluate` write it alike, from the detections as they were written down.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from meddet.bundle import Bundle
from meddet.classes import CLASSES
from meddet.data.coco import Sample
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.discs import PROTRUSION, disc_levels, disc_numbers, level_rates, match_discs
from meddet.evaluate.operating import at_threshold
from meddet.evaluate.operation import operating_numbers
from meddet.evaluate.scored import Found, Scored
from meddet.rounding import rounded

STUDENT = "student"
_GROUP_METRICS = ("ap50", "disc_auc", "false_positives_per_image", "sensitivity.any", "sensitivity.protrusion")
_DIGITS = 6

NOTES = {
    "ap50_coco": "AP at IoU 0.5, COCO's 101 recall points, at most 100 detections; over classes: their mean",
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


def evaluation_report(
    models: Mapping[str, Scored], *, train: Sequence[Sample], teachers: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute the report; groups of patients are told for the student alone.

    Args:
        models: by name, all on one test part; one is the student.
        train: training samples, for how often each level is protruded there.
        teachers: names among the models.
    """
    labels = [bool(label == PROTRUSION) for sample in train for label in sample.target.labels.tolist()]
    rates = level_rates([level for sample in train for level in disc_levels(sample.target, sample.levels)], labels)
    report: dict[str, Any] = {name: _numbers(scored, rates) for name, scored in models.items()}
    for name, scored in models.items():
        operation = operating_numbers(scored)
        groups = operation.pop("groups")
        report[name]["operation"] = operation | ({"groups": _brief(groups)} if name == STUDENT else {})
    student = models[STUDENT]
    report["test"] = report[STUDENT]["operation"]["n"]
    report["notes"] = NOTES
    report["remarks"] = _remarks(report, teachers)
    report["data_md5"] = student.data_md5
    report["test_md5"] = student.test_md5
    result: dict[str, Any] = rounded(report, digits=_DIGITS)
    return result


def _numbers(scored: Scored, rates: dict[str, float]) -> dict[str, Any]:
    discs = match_discs(
        scored.detections,
        scored.targets,
        patients=scored.patients,
        levels=scored.levels,
        least_score=scored.score_threshold,
    )
    report = detection_numbers(
        scored.detections,
        scored.targets,
        classes=CLASSES,
        score_threshold=scored.score_threshold,
        nms_iou=scored.nms_iou,
    )
    report["discs"] = disc_numbers(discs, rates=rates, threshold=scored.thresholds[CLASSES[PROTRUSION]])
    report["at_operating_point"] = {
        name: at_threshold(scored.detections, scored.targets, label=label, threshold=scored.thresholds[name])
        for label, name in enumerate(CLASSES)
    }
    return report


def _brief(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Keep what a reader compares groups by."""

    def brief(numbers: Mapping[str, Any]) -> dict[str, Any]:
        kept = {part: {name: numbers[part][name] for name in _GROUP_METRICS} for part in ("metrics", "ci95")}
        return {**kept, "n": numbers["n"]}

    return {kind: {name: brief(numbers) for name, numbers in members.items()} for kind, members in groups.items()}


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
