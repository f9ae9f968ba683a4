"""What the stage benchmark measures: student and teachers as files, and whether the engines agree on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from meddet.classes import CLASSES
from meddet.config import Params
from meddet.contender import BFLOAT16, Artefact
from meddet.data.batches import ImageSet
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.matching import UNDEFINED, Number
from meddet.export import BoxesAndScores, Parity, export_detector, largest_difference, outputs, require_parity
from meddet.inference import in_image
from meddet.models.detector import load_detector
from meddet.postprocess import select
from meddet.structures import Detections
from pipeline._pool import shared
from pipeline._stage import ARTIFACTS

BUNDLE = ARTIFACTS / "bundle"


def artefacts(params: Params, folder: Path) -> dict[str, Artefact]:
    """List the student as its bundle has it, and the teachers, whose ONNX files are written into `folder`."""
    teachers = {name: Artefact(ARTIFACTS / "pretrain" / name, folder / f"{name}.onnx") for name in params.teachers}
    list(shared(write_teacher, reversed(teachers.values()), stage="benchmark"))
    return {"student": Artefact(BUNDLE, BUNDLE / "detector.onnx")} | teachers


def write_teacher(teacher: Artefact) -> None:
    """Write a teacher's ONNX file by the function that writes the bundle's."""
    detector, size = load_detector(teacher.folder)
    export_detector(detector, size=size, path=teacher.onnx)


@dataclass(frozen=True)
class Agreement:
    """How far an engine is from torch; of AP50 the greater difference of the classes' mean and without classes."""

    parity: Parity
    ap50_difference: Number


def evenly(images: ImageSet, number: int | str) -> ImageSet:
    """Take so many images, spread evenly, or all."""
    count = min(len(images), number) if isinstance(number, int) else len(images)
    chosen = {images.samples[place * len(images) // count].image_id for place in range(count)}
    return images.where(lambda sample: sample.image_id in chosen)


def agreements(
    name: str, networks: Mapping[str, BoxesAndScores], images: ImageSet, size: tuple[int, int], params: Params
) -> dict[str, Agreement]:
    """Hold every engine against the first one: boxes and scores at all points, and AP50 after suppression.

    Errors:
        ValueError: names model, engine, difference and tolerance.
    """
    views = [images.view(index, size) for index in range(len(images))]
    first, *others = networks
    reference = outputs(networks[first], views)
    aps = average_precisions(reference, images, size, params)
    result = {}
    for engine in others:
        given = outputs(networks[engine], views)
        parity = largest_difference(reference, given)
        found = Agreement(parity, difference(aps, average_precisions(given, images, size, params)))
        require_agreement(f"{name} in {engine}", found, params, float32=engine != BFLOAT16)
        result[engine] = found
    return result


def require_agreement(name: str, found: Agreement, params: Params, *, float32: bool) -> None:
    """Refuse an engine that finds something else; of bfloat16 only AP50 is asked.

    Errors:
        ValueError: names it, the difference and the tolerance.
    """
    if float32:
        limits = {
            "box_tolerance_px": params.package.box_tolerance_px,
            "score_tolerance": params.package.score_tolerance,
        }
        require_parity(found.parity, name=name, **limits)
    tolerance = params.benchmark.ap_tolerance if float32 else params.benchmark.bfloat16_ap_tolerance
    if isinstance(found.ap50_difference, float) and not found.ap50_difference <= tolerance:
        raise ValueError(
            f"{name}: expected an AP50 within {tolerance} of torch in float32, got a difference of "
            f"{found.ap50_difference:.3g} over {found.parity.images} images"
        )


def average_precisions(
    given: Sequence[tuple[Tensor, Tensor]], images: ImageSet, size: tuple[int, int], params: Params
) -> tuple[Number, Number]:
    """Compute AP50 as the mean of the classes and without classes, from what a network gave for each image."""
    detections = []
    for index, (boxes, scores) in enumerate(given):
        found: Detections = select(boxes, scores, input_size=size, **params.detect.model_dump())
        shape = images.images[index].shape
        detections.append(in_image(found, images.regions[index], size, image_size=(shape[0], shape[1])))
    numbers = detection_numbers(
        detections,
        [sample.target for sample in images.samples],
        classes=CLASSES,
        score_threshold=params.detect.score_threshold,
        nms_iou=params.detect.nms_iou,
    )
    return numbers["ap50_coco"], numbers["class_agnostic"]["ap50_coco"]


def difference(reference: Sequence[Number], other: Sequence[Number]) -> Number:
    """Give the largest difference of the numbers that are defined."""
    pairs = zip(reference, other, strict=True)
    defined = [abs(a - b) for a, b in pairs if isinstance(a, float) and isinstance(b, float)]
    return max(defined, default=UNDEFINED)
