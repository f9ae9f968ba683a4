"""Models on images that go wrong: which images, which faults, what is found, counted by patient."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from meddet.classes import CLASSES
from meddet.data.batches import ImageSet
from meddet.data.coco import Sample
from meddet.evaluate.bootstrap import resampled_auc
from meddet.evaluate.coco import AT_50, coco_ranked, mean_of_defined
from meddet.evaluate.corruptions import CORRUPTIONS, corrupt
from meddet.evaluate.discs import disc_levels, match_discs
from meddet.evaluate.matching import Number, number, without_class
from meddet.evaluate.operation import resample
from meddet.evaluate.precision import average_precision
from meddet.evaluate.ranking import regrouped
from meddet.structures import Detections, Region, Target

METRICS = ("ap50", "ap50.any", "disc_auc")
RESAMPLES = 2000
_GREYS = 65535

Cell = tuple[str, int]
"""Corruption and severity."""
CLEAN: Cell = ("", 0)
Values = dict[str, Float[np.ndarray, " B"]]
"""By metric: on the patients as they are, then on each resample; NaN is undefined."""
Locate = Callable[[Float[Tensor, "1 h w"]], Region]
Detect = Callable[[ImageSet], Sequence[Detections]]


@dataclass(frozen=True)
class Look:
    """What models make of the images under one fault."""

    cell: Cell
    located: Number
    """Share of the annotated discs within the located regions."""
    values: dict[str, Values]
    """By model."""


@dataclass(frozen=True)
class Withstood:
    """What one model makes of clean and of spoilt images."""

    clean: Values
    cells: dict[Cell, Values]


def faulty(images: ImageSet, cell: Cell, *, locate: Locate, seed: int) -> ImageSet:
    """Spoil the images (CLEAN leaves them as they are) and find the column on each.

    Args:
        images: clean; their regions aren't used.
        cell: which fault.
        locate: finds the column, on spoilt images too: if it is misled, every model looks in the wrong place.
        seed: of the corruptions.
    """
    spoilt = spoil(images, cell, seed=seed)
    with torch.inference_mode():
        return spoilt.with_regions([locate(spoilt.pixels(index)) for index in range(len(spoilt))])


def look(
    images: ImageSet,
    cell: Cell,
    models: Mapping[str, Detect],
    *,
    score_threshold: float,
    nms_iou: float,
    resamples: int = RESAMPLES,
) -> Look:
    """Show every model the images and count.

    Args:
        images: of `faulty`.
        cell: the fault they have.
        models: by name.
        score_threshold: score below which the models drop detections.
        nms_iou: IoU above which two boxes are at one place.
        resamples: of the patients.
    """
    weights = weigh([sample.patient_id for sample in images.samples], resamples=resamples)
    values = {}
    for name, detect in models.items():
        with torch.inference_mode():
            found = detect(images)
        values[name] = values_of(found, images.samples, weights, score_threshold=score_threshold, nms_iou=nms_iou)
    return Look(cell, share_located(images), values)


def withstood(looks: Iterable[Look]) -> tuple[dict[str, Withstood], dict[Cell, Number]]:
    """Sort looks, CLEAN among them, by model.

    Returns:
        the models by name, and the share of annotated discs within the located regions by cell, CLEAN included.
    """
    values: dict[str, dict[Cell, Values]] = {}
    located: dict[Cell, Number] = {}
    for each in looks:
        located[each.cell] = each.located
        for name, numbers in each.values.items():
            values.setdefault(name, {})[each.cell] = numbers
    return {name: Withstood(cells.pop(CLEAN), cells) for name, cells in values.items()}, located


def cells_of(severities: Iterable[int]) -> list[Cell]:
    """List CLEAN, then every corruption with every severity."""
    return [CLEAN, *((name, severity) for name in CORRUPTIONS for severity in sorted(severities))]


def choose_images(samples: Sequence[Sample], images: int | Literal["all"]) -> list[int]:
    """Choose test images by a fixed rule: the first image of every k-th patient; further images of all after that.

    Returns:
        indices, rising; all where there aren't more.
    """
    order = sorted(range(len(samples)), key=lambda index: (samples[index].patient_id, samples[index].image_id))
    firsts = [index for place, index in enumerate(order) if not place or _other_patient(samples, order, place)]
    if images == "all" or images >= len(samples):
        return sorted(order)
    if images <= len(firsts):
        return sorted(firsts[place * len(firsts) // images] for place in range(images))
    others = [index for index in order if index not in set(firsts)]
    return sorted([*firsts, *others[: images - len(firsts)]])


def weigh(patients: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> Float[np.ndarray, "B P"]:
    """Weigh the patients, in the order of their names, once each and then as each resample has drawn them."""
    names = sorted(set(patients))
    draws = resample(names, names, resamples=resamples, seed=seed)
    return np.concatenate([np.ones((1, len(names))), draws])


def spoil(images: ImageSet, cell: Cell, *, seed: int) -> ImageSet:
    """Corrupt every image, all for CLEAN as they are."""
    name, severity = cell
    if cell == CLEAN:
        return images
    pixels = [images.pixels(index)[0].numpy() for index in range(len(images))]
    spoilt = [
        corrupt(each, name=name, severity=severity, image_id=sample.image_id, seed=seed)
        for each, sample in zip(pixels, images.samples, strict=True)
    ]
    return replace(images, images=tuple(np.rint(each * _GREYS).astype(np.uint16) for each in spoilt))


def share_located(images: ImageSet) -> Number:
    """Compute the share of annotated discs whose centre lies in their image's region."""
    inside = [
        region.x1 <= (x1 + x2) / 2 <= region.x2 and region.y1 <= (y1 + y2) / 2 <= region.y2
        for sample, region in zip(images.samples, images.regions, strict=True)
        for x1, y1, x2, y2 in sample.target.boxes.tolist()
    ]
    return number(sum(inside) / len(inside) if inside else float("nan"))


def values_of(
    detections: Sequence[Detections],
    samples: Sequence[Sample],
    weights: Float[np.ndarray, "B P"],
    *,
    score_threshold: float,
    nms_iou: float,
) -> Values:
    """Compute METRICS as `Tally.numbers` does, for each weighting of the patients in the order of their names."""
    patients, owner = np.unique([sample.patient_id for sample in samples], return_inverse=True)
    targets = [sample.target for sample in samples]

    def precision(found: Sequence[Detections], annotated: Sequence[Target], label: int) -> np.ndarray:
        ranked = regrouped(coco_ranked(found, annotated, label=label), owner, len(patients))
        return average_precision(ranked, weights, overlaps=[AT_50])[:, 0]

    merged = [without_class(found, nms_iou=nms_iou) for found in detections]
    blind = [Target(target.boxes, target.labels * 0) for target in targets]
    discs = match_discs(
        detections,
        targets,
        patients=[sample.patient_id for sample in samples],
        levels=[disc_levels(sample.target, sample.levels) for sample in samples],
        least_score=score_threshold,
    )
    share, protruded = discs.probability[discs.located], discs.protruded[discs.located]
    whose = np.searchsorted(patients, discs.patient[discs.located])
    return {
        "ap50": mean_of_defined([precision(detections, targets, label) for label in range(len(CLASSES))]),
        "ap50.any": precision(merged, blind, 0),
        "disc_auc": resampled_auc(share, protruded, whose, weights),
    }


def _other_patient(samples: Sequence[Sample], order: Sequence[int], place: int) -> bool:
    return samples[order[place]].patient_id != samples[order[place - 1]].patient_id
