"""Compare student, plain student and teachers on the same test patients."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from meddet.config import Params
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.bundle import Bundle
    from meddet.data.batches import ImageSet
    from meddet.evaluate.levels import LevelPrior
    from meddet.evaluate.scored import Found, Scored
    from meddet.structures import Detections

SHOWN = {"baseline": "plain student"}


def main(params: Params) -> None:
    """Write reports/evaluate.json, reports/evaluate/ and artifacts/evaluate."""
    from meddet.bundle import load_bundle
    from meddet.data.coco import load_part, read_coco
    from meddet.data.table import read_table
    from meddet.evaluate.groups import patient_groups
    from meddet.evaluate.report import STUDENT, count_models, curve_tables, evaluation_report
    from meddet.evaluate.scored import read_models, write_scored
    from meddet.files import read_json, write_atomic, write_json
    from pipeline import _training as shared

    test, validation = shared.load_part_images("test"), shared.load_part_images("validation")
    bundle = load_bundle(ARTIFACTS / "bundle")
    found = {STUDENT: bundled_student(bundle, test)}
    folders = {"baseline": ARTIFACTS / "baseline"}
    folders |= {name: ARTIFACTS / "pretrain" / name for name in params.teachers}
    for name, folder in folders.items():
        found[name] = trained(name, folder, params, test=test, validation=validation, levels=bundle.config.levels)
    listing = ARTIFACTS / "evaluate" / "detections.json"
    groups = patient_groups(read_table(ARTIFACTS / "tables", "patients"))
    data_md5 = read_coco(shared.COCO).data_md5
    write_scored(listing, found, test.samples, images=shared.IMAGES, groups=groups, data_md5=data_md5)
    models = read_models(listing)
    counted = count_models(models)
    train = load_part(shared.COCO, shared.SPLIT, "train")
    code = read_json(ARTIFACTS / "bundle" / "manifest.json")["code_sha256"]
    report = evaluation_report(counted, train=train, code_sha256=code, teachers=params.teachers)
    write_json(REPORTS / "evaluate.json", report)
    for name, table in curve_tables(counted).items():
        write_atomic(REPORTS / "evaluate" / f"{name}.csv", table.to_csv(index=False).encode())
    write_atomic(REPORTS / "evaluate" / "pr.png", pr_picture(models))
    write_atomic(REPORTS / "evaluate" / "gallery.png", gallery_picture(models[STUDENT], test, params))


def bundled_student(bundle: "Bundle", test: "ImageSet") -> "Found":
    """Detect with the bundle as its users do."""
    from tqdm import tqdm

    from meddet.evaluate.report import detect_bundled

    indices = tqdm(range(len(test)), desc="evaluate student", unit="image", mininterval=1, dynamic_ncols=True)
    return detect_bundled(bundle, (test.pixels(index)[0].numpy() for index in indices))


def trained(
    name: str, folder: Path, params: Params, *, test: "ImageSet", validation: "ImageSet", levels: "LevelPrior | None"
) -> "Found":
    """Detect with what a training stage wrote; fit how it is read on validation, as package does."""
    import torch
    from tqdm import tqdm

    from meddet.evaluate.reading import fit_reading
    from meddet.evaluate.scored import Found
    from meddet.inference import batch_indices, detect_all
    from meddet.models.detector import load_detector

    detector, size = load_detector(folder)
    detector = detector.to("cuda" if torch.cuda.is_available() else "cpu")
    limits = params.detect.model_dump()

    def found(images: "ImageSet", part: str) -> "list[Detections]":
        batches = tqdm(batch_indices(len(images), 16), desc=f"evaluate {name} on {part}", unit="batch", mininterval=1)
        return detect_all(detector, images, size=size, batches=batches, **limits)

    reading = fit_reading(
        found(validation, "validation"),
        validation.samples,
        levels=levels,
        least_score=limits["score_threshold"],
        alpha=params.package.conformal_alpha,
    )
    detections = found(test, "test")
    return Found(
        detections=detections,
        named=reading.name(detections, test.regions),
        thresholds=reading.thresholds,
        score_threshold=limits["score_threshold"],
        nms_iou=limits["nms_iou"],
        calibration=reading.calibration,
        conformal=reading.conformal,
    )


def pr_picture(models: "Mapping[str, Scored]") -> bytes:
    """Draw precision and recall of each class and model."""
    from meddet.classes import CLASSES
    from meddet.evaluate.pr import pr_curve
    from meddet.render_charts import pr_png

    curves = {
        heading: {
            SHOWN.get(name, name): pr_curve(scored.detections, scored.targets, label=label)
            for name, scored in models.items()
        }
        for label, heading in enumerate(CLASSES)
    }
    images = max(len(scored.image_ids) for scored in models.values())
    return pr_png(curves, title=f"IoU 0.5, {images} test images. Research use only; phantom scores are not clinical.")


def gallery_picture(student: "Scored", test: "ImageSet", params: Params) -> bytes:
    """Draw the student's best and worst test images at its operating point, by the number of wrong discs.

    Of images with equally many errors the best are those with most protrusions, then the lowest image id.
    """
    from meddet.evaluate.operating import call_discs, count_errors
    from meddet.render import Panel, gallery_png

    called = [call_discs(each, student.thresholds, nms_iou=student.nms_iou) for each in student.detections]
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
