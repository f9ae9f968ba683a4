"""Compare student, plain student and teachers on the same test patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddet.config import Params
from pipeline._report import rounded
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.data.batches import ImageSet
    from meddet.structures import Detections

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
    "use": "research use only; scores on a phantom are not clinical scores",
}
SHOWN = {"baseline": "plain student"}


@dataclass(frozen=True)
class Result:
    """What one model found on the test images, and its thresholds from validation."""

    detections: "list[Detections]"
    thresholds: dict[str, float]


def main(params: Params) -> None:
    """Write reports/evaluate.json, reports/evaluate/*.png and artifacts/evaluate."""
    from meddet.data.coco import load_part, read_coco
    from meddet.evaluate.discs import disc_levels, level_rates
    from meddet.files import write_atomic, write_json
    from pipeline import _training as shared

    test, validation = shared.load_part_images("test"), shared.load_part_images("validation")
    results = {"student": bundled_student(test)}
    folders = {"baseline": ARTIFACTS / "baseline"}
    folders |= {name: ARTIFACTS / "pretrain" / name for name in params.teachers}
    for name, folder in folders.items():
        results[name] = trained(name, folder, params, test=test, validation=validation)
    train = load_part(shared.COCO, shared.SPLIT, "train")
    labels = [bool(label == 0) for sample in train for label in sample.target.labels.tolist()]
    rates = level_rates([level for s in train for level in disc_levels(s.target, s.levels)], labels)
    report: dict[str, Any] = {name: numbers(result, test, params, rates) for name, result in results.items()}
    report["test"] = counts(test)
    report["notes"] = NOTES
    report["remarks"] = remarks(report, params.teachers)
    report["data_md5"] = read_coco(shared.COCO).data_md5
    write_json(REPORTS / "evaluate.json", rounded(report, digits=6))
    write_json(ARTIFACTS / "evaluate" / "detections.json", listing(results, test))
    write_atomic(REPORTS / "evaluate" / "pr.png", pr_picture(results, test))
    gallery = gallery_picture(results["student"], test, params)
    write_atomic(REPORTS / "evaluate" / "gallery.png", gallery)


def bundled_student(test: "ImageSet") -> Result:
    """Detect with the bundle as its users do: one image at a time, its own locator and thresholds."""
    from tqdm import tqdm

    from meddet.bundle import load_bundle

    bundle = load_bundle(ARTIFACTS / "bundle")
    indices = tqdm(range(len(test)), desc="evaluate student", unit="image", mininterval=1, dynamic_ncols=True)
    return Result([bundle.predict(test.pixels(index)[0].numpy())[0] for index in indices], bundle.operating_point)


def trained(name: str, folder: Path, params: Params, *, test: "ImageSet", validation: "ImageSet") -> Result:
    """Detect with what a training stage wrote; choose its thresholds on validation, as package does."""
    import torch
    from tqdm import tqdm

    from meddet.evaluate.operating import choose_operating_points
    from meddet.inference import batch_indices, detect_all
    from meddet.models.detector import load_detector

    detector, size = load_detector(folder)
    detector = detector.to("cuda" if torch.cuda.is_available() else "cpu")
    limits = params.detect.model_dump()

    def found(images: "ImageSet", part: str) -> "list[Detections]":
        batches = tqdm(batch_indices(len(images), 16), desc=f"evaluate {name} on {part}", unit="batch", mininterval=1)
        return detect_all(detector, images, size=size, batches=batches, **limits)

    targets = [sample.target for sample in validation.samples]
    points = choose_operating_points(found(validation, "validation"), targets, least_score=limits["score_threshold"])
    return Result(found(test, "test"), {label: point.threshold for label, point in points.items()})


def numbers(result: Result, test: "ImageSet", params: Params, rates: dict[str, float]) -> dict[str, Any]:
    """Compute every number of one model."""
    from meddet.classes import CLASSES
    from meddet.evaluate.coco import detection_numbers
    from meddet.evaluate.discs import disc_levels, disc_numbers, match_discs
    from meddet.evaluate.operating import at_threshold

    limits = params.detect
    targets = [sample.target for sample in test.samples]
    discs = match_discs(
        result.detections,
        targets,
        patients=[sample.patient_id for sample in test.samples],
        levels=[disc_levels(sample.target, sample.levels) for sample in test.samples],
        least_score=limits.score_threshold,
    )
    report = detection_numbers(
        result.detections,
        targets,
        classes=CLASSES,
        score_threshold=limits.score_threshold,
        nms_iou=limits.nms_iou,
    )
    report["discs"] = disc_numbers(discs, rates=rates, threshold=result.thresholds[CLASSES[0]])
    report["at_operating_point"] = {
        name: at_threshold(result.detections, targets, label=label, threshold=result.thresholds[name])
        for label, name in enumerate(CLASSES)
    }
    return report


def counts(test: "ImageSet") -> dict[str, int]:
    """Count what the numbers rest on."""
    labels = [label for sample in test.samples for label in sample.target.labels.tolist()]
    return {
        "patients": len({sample.patient_id for sample in test.samples}),
        "images": len(test),
        "discs": len(labels),
        "protrusions": labels.count(0),
    }


def remarks(report: dict[str, Any], teachers: Sequence[str]) -> list[str]:
    """Say in words what a reader of the table must not overlook."""
    student = report["student"]["ap50_coco"]
    lines = []
    for name in teachers:
        teacher = report[name]["ap50_coco"]
        if isinstance(teacher, float) and isinstance(student, float) and teacher < student:
            lines.append(
                f"teacher {name} is weaker than the student here (AP50 COCO {teacher:.3f} against {student:.3f}): "
                "so short a training from scratch leaves the larger network behind"
            )
    gain = report["student"]["discs"]["auc_gain"]
    if isinstance(gain, float) and gain <= 0:
        lines.append("the student tells discs apart no better than their level alone does")
    return lines


def listing(results: dict[str, Result], test: "ImageSet") -> dict[str, Any]:
    """List ground truth and every model's detections; boxes xyxy in the image's pixels, patient ids hashed."""
    from meddet.classes import CLASSES
    from meddet.evaluate.discs import disc_levels

    def rows(boxes: Any, labels: Any, **more: Sequence[Any]) -> list[dict[str, Any]]:
        entries = zip(boxes.tolist(), labels.tolist(), *more.values(), strict=True)
        return [
            {
                "box_xyxy_px": [round(side, 3) for side in box],
                "label": CLASSES[label],
                **dict(zip(more, rest, strict=True)),
            }
            for box, label, *rest in entries
        ]

    def image(index: int) -> dict[str, Any]:
        sample = test.samples[index]
        return {"image_id": sample.image_id, "patient_id": sample.patient_id}

    truth = [
        {**image(index), "discs": rows(s.target.boxes, s.target.labels, level=disc_levels(s.target, s.levels))}
        for index, s in enumerate(test.samples)
    ]
    found = {
        name: [
            {
                **image(index),
                "detections": rows(each.boxes, each.labels, score=[round(s, 6) for s in each.scores.tolist()]),
            }
            for index, each in enumerate(result.detections)
        ]
        for name, result in results.items()
    }
    return {"ground_truth": truth, "models": found}


def pr_picture(results: dict[str, Result], test: "ImageSet") -> bytes:
    """Draw precision and recall of each class and model."""
    from meddet.classes import CLASSES
    from meddet.evaluate.pr import pr_curve
    from meddet.render_charts import pr_png

    targets = [sample.target for sample in test.samples]
    curves = {
        heading: {
            SHOWN.get(name, name): pr_curve(result.detections, targets, label=label) for name, result in results.items()
        }
        for label, heading in enumerate(CLASSES)
    }
    return pr_png(
        curves, title=f"IoU 0.5, {len(test)} test images. Research use only; phantom scores are not clinical."
    )


def gallery_picture(student: Result, test: "ImageSet", params: Params) -> bytes:
    """Draw the student's best and worst test images at its operating point, by the number of wrong discs.

    Of images with equally many errors the best are those with most protrusions, then the lowest image id.
    """
    from meddet.evaluate.operating import call_discs, count_errors
    from meddet.render import Panel, gallery_png

    called = [call_discs(each, student.thresholds, nms_iou=params.detect.nms_iou) for each in student.detections]
    errors = [count_errors(found, sample.target) for found, sample in zip(called, test.samples, strict=True)]
    protrusions = [int((sample.target.labels == 0).sum()) for sample in test.samples]
    number = min(params.evaluate.gallery_images, len(test))
    best = sorted(range(len(test)), key=lambda index: (errors[index], -protrusions[index], index))[:number]
    worst = sorted(range(len(test)), key=lambda index: (-errors[index], index))[:number]

    def panel(index: int) -> Panel:
        caption = f"image {test.samples[index].image_id}: {errors[index]} errors"
        pixels = test.pixels(index)[0].numpy()
        return Panel(pixels, test.regions[index], test.samples[index].target, called[index], caption)

    title = (
        "Student on test images, at the thresholds chosen on validation. Research use only; phantom scores are not "
        "clinical.\nAn error is an annotated box that was not found, or a call too many."
    )
    rows = [("best", [panel(index) for index in best]), ("worst", [panel(index) for index in worst])]
    return gallery_png(rows, title=title)


if __name__ == "__main__":
    run(main)
