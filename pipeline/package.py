"""Make the bundle: choose the operating point, sum up how the studies look, export, compare the engines, write it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from meddet.config import Params
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.data.batches import ImageSet
    from meddet.drift.reference import Reference
    from meddet.structures import Detections

PARITY_IMAGES = 8


def main(params: Params) -> None:
    """Write artifacts/bundle and reports/package.json."""
    import meddet
    from meddet import bundle
    from meddet.card import model_card
    from meddet.claims import claim_checklist
    from meddet.cost import cost
    from meddet.data.coco import load_part, read_coco
    from meddet.evaluate.conformal import HOLDS_IF
    from meddet.evaluate.operating import call_discs
    from meddet.evaluate.reading import fit_reading, level_prior
    from meddet.files import read_json, write_json
    from meddet.inference import detect_all
    from meddet.models.detector import load_detector
    from meddet.models.locator import load_locator
    from pipeline import _training as shared
    from pipeline._facts import facts_of

    detector, size = load_detector(ARTIFACTS / "distill")
    locator, settings = load_locator(ARTIFACTS / "locate")
    images = shared.load_part_images("validation")
    limits = params.detect.model_dump()
    detections = detect_all(detector, images, size=size, **limits)
    train, regions = load_part(shared.COCO, shared.SPLIT, "train"), shared.load_regions()
    reading = fit_reading(
        detections,
        images.samples,
        levels=level_prior(train, [regions[sample.image_id] for sample in train]),
        least_score=params.detect.score_threshold,
        alpha=params.package.conformal_alpha,
    )
    called = [call_discs(each, reading.thresholds, nms_iou=params.detect.nms_iou) for each in detections]
    config = bundle.Config(
        arguments=read_json(ARTIFACTS / "distill" / "model.json")["arguments"],
        input_size=size,
        locator=settings,
        percentiles=params.ingest.percentiles,
        max_pixels=params.ingest.max_pixels,
        operating_point=reading.thresholds,
        calibration=reading.calibration,
        levels=reading.levels,
        conformal=reading.conformal,
        **limits,
    )
    data_md5 = read_coco(shared.COCO).data_md5
    code = bundle.code_fingerprint(Path(meddet.__file__).parent, Path(__file__).parent)
    reference = reference_of(params, validation=images, detections=detections, called=called)
    facts = facts_of(
        params,
        data_md5=data_md5,
        code_sha256=code,
        cost=cost(detector, size),
        input_size=size,
        operating=reading.operating,
        conformal=reading.conformal,
    )
    chosen = range(min(PARITY_IMAGES, len(images)))
    tolerance = bundle.Tolerance(box_px=params.package.box_tolerance_px, score=params.package.score_tolerance)
    parity = bundle.write_bundle(
        ARTIFACTS / "bundle",
        detector=detector,
        locator=locator,
        config=config,
        reference=reference,
        card=model_card(facts),
        claims=claim_checklist(facts),
        data_md5=data_md5,
        code=code,
        images=[images.pixels(index) for index in chosen],
        regions=[images.regions[index] for index in chosen],
        tolerance=tolerance,
    )
    report = {
        "operating_point": {name: asdict(point) for name, point in reading.operating.items()},
        "operating_point_rule": "greatest F1 at IoU 0.5 on the validation part, class by class",
        "conformal": asdict(reading.conformal) | {"holds_if": HOLDS_IF, "reason": reading.conformal.reason},
        "levels": {"training_images": reading.levels.images if reading.levels else 0},
        "onnx_against_torch": {"images": parity.images, "largest_box_px": parity.box_px, "largest_score": parity.score},
        "bytes": {name: (ARTIFACTS / "bundle" / name).stat().st_size for name in bundle.FILES},
        "data_md5": data_md5,
        "code_sha256": code,
    }
    write_json(REPORTS / "package.json", report)


def reference_of(
    params: Params, *, validation: "ImageSet", detections: "Sequence[Detections]", called: "Sequence[Detections]"
) -> "Reference":
    """Sum up how the training patients' images look, and what the model says of the validation patients'."""
    from meddet.drift.features import Values, image_features, score_features, study_features
    from meddet.drift.reference import Rule, build_reference
    from pipeline import _training as shared

    def by_patient(images: "ImageSet", values: Callable[[int], Values]) -> list[Values]:
        rows: dict[str, list[Values]] = {}
        for index, sample in enumerate(images.samples):
            rows.setdefault(sample.patient_id, []).append(values(index))
        return [study_features(each) for each in rows.values()]

    train, brightness = shared.load_part_images("train"), read_brightness(ARTIFACTS / "tables" / "images.csv")

    def of_image(index: int) -> Values:
        sample, pixels = train.samples[index], train.pixels(index)[0].numpy()
        known = brightness[sample.image_id]
        return image_features(pixels, train.regions[index], spacing_mm=sample.spacing_mm, brightness=known)

    def of_scores(index: int) -> Values:
        return score_features(detections[index], called[index])

    rows = {"train": by_patient(train, of_image), "validation": by_patient(validation, of_scores)}
    return build_reference(rows, rule=Rule(**params.package.drift.model_dump()))


def read_brightness(path: Path) -> dict[int, float | None]:
    """Read the brightness of the files from ingest's table of images, by image id."""
    import pandas as pd

    table = pd.read_csv(path, usecols=["image_id", "brightness"])
    return {int(key): None if pd.isna(value) else float(value) for key, value in table.itertuples(index=False)}


if __name__ == "__main__":
    run(main)
