"""Show student, plain student and teachers spoilt test images: what is left of their skill."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from meddet.config import Params
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.data.batches import ImageSet
    from meddet.data.coco import Sample
    from meddet.evaluate.robustness import Detect, Withstood

FOLDER = REPORTS / "robustness"
SHOWN = "ap50.any"
CAUTION = "Research use only; phantom scores are not clinical."


def main(params: Params) -> None:
    """Write reports/robustness.json and reports/robustness/."""
    from tqdm import tqdm

    from meddet.bundle import load_bundle
    from meddet.data.coco import load_part, read_coco
    from meddet.evaluate.corruptions import CORRUPTIONS
    from meddet.evaluate.robustness import cells_of, faulty, look, withstood
    from meddet.evaluate.robustness_report import NOTES, located_report, robustness_report
    from meddet.files import write_json
    from meddet.rounding import rounded
    from pipeline import _training as paths

    settings = params.robustness
    whole = load_part(paths.COCO, paths.SPLIT, "test")
    test = shown_images(whole, params)
    locate, models = load_bundle(ARTIFACTS / "bundle").locate, detectors(params)
    floor, overlap = params.detect.score_threshold, params.detect.nms_iou
    cells = tqdm(cells_of(settings.severities), desc="robustness", unit="fault", mininterval=1, dynamic_ncols=True)
    sets = ((cell, faulty(test, cell, locate=locate, seed=settings.seed)) for cell in cells)
    seen, located = withstood(
        look(images, cell, models, score_threshold=floor, nms_iou=overlap) for cell, images in sets
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


def shown_images(whole: "Sequence[Sample]", params: Params) -> "ImageSet":
    """Load the chosen ones of the test images."""
    from meddet.data.batches import load_images
    from meddet.evaluate.robustness import choose_images
    from pipeline import _training as paths

    chosen = [whole[index] for index in choose_images(whole, params.robustness.images)]
    return load_images(paths.IMAGES, chosen, paths.load_regions())


def detectors(params: Params) -> "dict[str, Detect]":
    """Give the bundle's student, and the plain student and the teachers as training wrote them."""
    import torch

    from meddet.bundle import load_bundled_detector
    from meddet.inference import detect_all
    from meddet.models.detector import load_detector

    student, config = load_bundled_detector(ARTIFACTS / "bundle")
    models = {"student": (student, config.input_size), "baseline": load_detector(ARTIFACTS / "baseline")}
    models |= {name: load_detector(ARTIFACTS / "pretrain" / name) for name in params.teachers}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        name: partial(
            detect_all,
            detector.to(device).to(memory_format=torch.channels_last),
            size=size,
            **params.detect.model_dump(),
        )
        for name, (detector, size) in models.items()
    }


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
