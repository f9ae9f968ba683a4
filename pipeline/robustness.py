"""Show student, plain student and teachers spoilt test images: what is left of their skill."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from meddet.config import Params
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.bundle import Bundle
    from meddet.data.batches import ImageSet
    from meddet.data.coco import Sample
    from meddet.evaluate.robustness import Cell, Detect, Look, Withstood

FOLDER = REPORTS / "robustness"
SHOWN = "ap50.any"
CAUTION = "Research use only; phantom scores are not clinical."


def main(params: Params) -> None:
    """Write reports/robustness.json and reports/robustness/."""
    from tqdm import tqdm

    from meddet.data.coco import load_part, read_coco
    from meddet.evaluate.corruptions import CORRUPTIONS
    from meddet.evaluate.robustness import cells_of, withstood
    from meddet.evaluate.robustness_report import NOTES, located_report, robustness_report
    from meddet.files import write_json
    from meddet.rounding import rounded
    from pipeline import _training as paths
    from pipeline._pool import shared

    settings = params.robustness
    whole, test = load_part(paths.COCO, paths.SPLIT, "test"), shown_images(params)
    cells = cells_of(settings.severities)
    looks = shared(partial(look_at, params.model_dump_json()), cells, stage="robustness")
    seen, located = withstood(
        tqdm(looks, total=len(cells), desc="robustness", unit="fault", mininterval=1, dynamic_ncols=True)
    )
    counted = counts(test)
    words = stated(counted, len(whole), settings.severities)
    report = robustness_report(seen, n=counted, smallest=params.teachers[0]) | {
        "sample": {
            "image_ids": sorted(sample.image_id for sample in test.samples),
            "n": counted,
            "severities": sorted(settings.severities),
            "corruptions": list(CORRUPTIONS),
            "stated": words,
        },
        "located": located_report(located),
        "notes": NOTES,
        "test_md5": test_md5(whole),
        "data_md5": read_coco(paths.COCO).data_md5,
    }
    write_json(REPORTS / "robustness.json", rounded(report, digits=6))
    write_curves(seen, words)
    write_examples(test, settings.severities, settings.seed)


def look_at(params: str, cell: "Cell") -> "Look":
    """Show every model the images under one fault; `params` are JSON."""
    from meddet.evaluate.robustness import faulty, look

    read = Params.model_validate_json(params)
    images, bundle, models = opened(params)
    spoilt = faulty(images, cell, locate=bundle.locate, seed=read.robustness.seed)
    return look(spoilt, cell, models, score_threshold=read.detect.score_threshold, nms_iou=read.detect.nms_iou)


@cache
def opened(params: str) -> "tuple[ImageSet, Bundle, dict[str, Detect]]":
    """Read images and models, once in a process."""
    from meddet.bundle import load_bundle

    read, bundle = Params.model_validate_json(params), load_bundle(ARTIFACTS / "bundle")
    return shown_images(read), bundle, {"student": bundled(bundle)} | trained(read)


def shown_images(params: Params) -> "ImageSet":
    """Load the chosen test images."""
    from meddet.evaluate.robustness import choose_images
    from pipeline._training import load_part_images

    whole = load_part_images("test")
    chosen = {whole.samples[index].image_id for index in choose_images(whole.samples, params.robustness.images)}
    return whole.where(lambda sample: sample.image_id in chosen)


def bundled(bundle: "Bundle") -> "Detect":
    """Detect as the bundle's users do (`Bundle.predict`), one image at a time."""
    return lambda images: [bundle.detect(images.pixels(i), images.regions[i]) for i in range(len(images))]


def trained(params: Params) -> "dict[str, Detect]":
    """Give the plain student and the teachers as training wrote them."""
    import torch

    from meddet.inference import detect_all
    from meddet.models.detector import load_detector

    device = "cuda" if torch.cuda.is_available() else "cpu"
    folders = {"baseline": ARTIFACTS / "baseline"} | {name: ARTIFACTS / "pretrain" / name for name in params.teachers}
    result: dict[str, Detect] = {}
    for name, folder in folders.items():
        detector, size = load_detector(folder)
        result[name] = partial(detect_all, detector.to(device), size=size, **params.detect.model_dump())
    return result


def counts(images: "ImageSet") -> dict[str, int]:
    """Count what the numbers rest on."""
    labels = [label for sample in images.samples for label in sample.target.labels.tolist()]
    patients = {sample.patient_id for sample in images.samples}
    return {
        "patients": len(patients),
        "images": len(images),
        "discs": len(labels),
        "protrusions": labels.count(0),
    }


def stated(counted: Mapping[str, int], num_images: int, severities: Sequence[int]) -> str:
    """Say what was looked at."""
    which = ", ".join(str(severity) for severity in sorted(severities))
    patients = "1 patient" if counted["patients"] == 1 else f"{counted['patients']} patients"
    return f"{counted['images']} of {num_images} test images, of {patients}; severities {which}"


def test_md5(samples: "Sequence[Sample]") -> str:
    """Return what stands for the whole test part, as the detections that evaluate lists have it."""
    from meddet.evaluate.scored import write_scored
    from meddet.files import read_json
    from pipeline._training import IMAGES

    groups: dict[str, dict[str, str]] = {sample.patient_id: {} for sample in samples}
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "detections.json"
        write_scored(listing, {}, samples, images=IMAGES, groups=groups, data_md5="")
        return str(read_json(listing)["test_md5"])


def write_curves(seen: "Mapping[str, Withstood]", words: str) -> None:
    """Write the numbers of every model, corruption and severity, and draw one of them."""
    import pandas as pd

    from meddet.evaluate.robustness_picture import curves_png
    from meddet.evaluate.robustness_report import curve_rows
    from meddet.files import write_atomic

    table = pd.DataFrame(curve_rows(seen)).round(6)
    write_atomic(FOLDER / "curves.csv", table.to_csv(index=False, lineterminator="\n").encode())
    title = f"AP50 without classes, {words}. {CAUTION}"
    write_atomic(FOLDER / "robustness.png", curves_png(seen, metric=SHOWN, title=title))


def write_examples(test: "ImageSet", severities: Sequence[int], seed: int) -> None:
    """Draw the first image under every corruption: the least, the middle and the greatest severity."""
    from meddet.evaluate.corruptions import CORRUPTIONS, corrupt
    from meddet.evaluate.robustness_picture import examples_png
    from meddet.files import write_atomic

    rising = sorted(severities)
    shown = sorted({rising[0], rising[len(rising) // 2], rising[-1]})
    clean, image_id = test.pixels(0)[0].numpy(), test.samples[0].image_id
    spoilt = {
        name: [(each, corrupt(clean, name=name, severity=each, image_id=image_id, seed=seed)) for each in shown]
        for name in CORRUPTIONS
    }
    title = f"Test image {image_id} under the corruptions, in the clean image's window. {CAUTION}"
    write_atomic(FOLDER / "examples.png", examples_png(clean, spoilt, test.regions[0], title=title))


if __name__ == "__main__":
    run(main)
