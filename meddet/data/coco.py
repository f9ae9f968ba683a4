"""artifacts/coco.json as samples for training and evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from meddet.classes import CLASSES
from meddet.files import read_json
from meddet.structures import Target


@dataclass(frozen=True)
class Sample:
    """One canonical image and what is annotated on it. `levels` go with the target's boxes."""

    image_id: int
    file_name: str
    patient_id: str
    width: int
    height: int
    target: Target
    levels: tuple[str | None, ...]
    spacing_mm: tuple[float, float] | None


@dataclass(frozen=True)
class CocoData:
    """All samples, by image id, and the digest of the raw data that they came from."""

    samples: tuple[Sample, ...]
    data_md5: str


def read_coco(path: Path) -> CocoData:
    """Read what ingest wrote.

    Errors:
        ValueError: no such file, not JSON, a missing key, or an unknown class.
    """
    content = read_json(path)
    try:
        labels = {category["id"]: CLASSES.index(category["name"]) for category in content["categories"]}
        boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in sorted(content["annotations"], key=lambda entry: entry["id"]):
            boxes[annotation["image_id"]].append(annotation)
        images = sorted(content["images"], key=lambda entry: entry["id"])
        samples = tuple(_sample(image, boxes[image["id"]], labels) for image in images)
        return CocoData(samples=samples, data_md5=content["info"]["data_md5"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected what ingest writes, got {error!r}; run ingest again") from None


def load_part(coco_path: Path, split_path: Path, part: str) -> list[Sample]:
    """Give the samples of a part ("train", "validation" or "test"), sorted by image id.

    Errors:
        ValueError: as `read_coco`, or an unknown part, or a part without images.
    """
    split = read_json(split_path)
    if part not in split:
        raise ValueError(f"{split_path}: expected the part {part!r}, got {', '.join(sorted(split))}")
    patients = set(split[part])
    samples = [sample for sample in read_coco(coco_path).samples if sample.patient_id in patients]
    if not samples:
        raise ValueError(f"{split_path}: {part}: expected patients of {coco_path}, got none of them")
    return samples


def _sample(image: dict[str, Any], annotations: list[dict[str, Any]], labels: dict[int, int]) -> Sample:
    xywh = torch.tensor([entry["bbox"] for entry in annotations], dtype=torch.float64).reshape(-1, 4)
    spacing = image["spacing_mm"]
    return Sample(
        image_id=image["id"],
        file_name=image["file_name"],
        patient_id=image["patient_id"],
        width=image["width"],
        height=image["height"],
        target=Target(
            boxes=torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1).float(),
            labels=torch.tensor([labels[entry["category_id"]] for entry in annotations], dtype=torch.int64),
        ),
        levels=tuple(entry.get("level") for entry in annotations),
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
    )
