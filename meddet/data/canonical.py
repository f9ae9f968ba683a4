"""Raw images into canonical ones, and the rows and the COCO file that describe them. Patients go by their hash."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from meddet.classes import CLASS_IDS
from meddet.data.images import read_image, write_canonical
from meddet.data.raw import Patient, RawBox, RawImage, hash_patient

_WHITE = 65535
_DECIMALS_PX = 4
_DECIMALS = 6


@dataclass(frozen=True)
class CanonicalImage:
    """A canonical image as it was written; the statistics are of its pixels in [0, 1]."""

    image_id: int
    file_name: str
    patient_id: str
    width: int
    height: int
    spacing_mm: tuple[float, float] | None
    mean: float
    std: float
    min: float
    max: float
    saturated_fraction: float


def canonicalise(
    source: Path, image: RawImage, folder: Path, *, percentiles: tuple[float, float], max_pixels: int
) -> CanonicalImage:
    """Read a raw image and write it as `folder`/<image id>.png.

    Errors:
        ValueError: unreadable, or of another size than annotations.json says.
    """
    read = read_image(source, percentiles=percentiles, max_pixels=max_pixels)
    height, width = read.pixels.shape
    if (width, height) != (image.width, image.height):
        raise ValueError(
            f"{source}: expected {image.width} x {image.height} (width x height), as image {image.id} of "
            f"annotations.json says, got {width} x {height}"
        )
    name = f"{image.id:06d}.png"
    write_canonical(folder / name, read.pixels)
    spacing = read.spacing_mm
    return CanonicalImage(
        image_id=image.id,
        file_name=name,
        patient_id=hash_patient(image.patient_id),
        width=width,
        height=height,
        spacing_mm=None if spacing is None else (round(spacing[0], _DECIMALS), round(spacing[1], _DECIMALS)),
        **_statistics(read.pixels),
    )


def coco_json(images: Sequence[CanonicalImage], boxes: Sequence[RawBox], *, data_md5: str) -> dict[str, Any]:
    """Give the COCO file of the canonical images; only boxes on them remain."""
    kept = {image.image_id for image in images}
    return {
        "info": {"data_md5": data_md5},
        "categories": [{"id": category, "name": name} for name, category in CLASS_IDS.items()],
        "images": [
            {
                "id": image.image_id,
                "file_name": image.file_name,
                "width": image.width,
                "height": image.height,
                "patient_id": image.patient_id,
                "spacing_mm": None if image.spacing_mm is None else list(image.spacing_mm),
            }
            for image in sorted(images, key=lambda image: image.image_id)
        ],
        "annotations": [
            {
                "id": box.id,
                "image_id": box.image_id,
                "category_id": box.category_id,
                "bbox": [round(value, _DECIMALS_PX) for value in box.bbox],
                "area": round(box.bbox[2] * box.bbox[3], _DECIMALS_PX),
                "iscrowd": 0,
                **({} if box.level is None else {"level": box.level}),
            }
            for box in sorted(boxes, key=lambda box: box.id)
            if box.image_id in kept
        ],
    }


def patients_table(patients: Sequence[Patient], images: Sequence[CanonicalImage]) -> pd.DataFrame:
    """Give one row per patient, by hashed id, so that the order says nothing about the original one."""
    counts = Counter(image.patient_id for image in images)
    rows = [
        {
            "patient_id": hash_patient(patient.patient_id),
            "age": patient.age,
            "sex": patient.sex,
            "scanner": patient.scanner,
            "field_strength_t": patient.field_strength_t,
            "num_images": counts[hash_patient(patient.patient_id)],
        }
        for patient in patients
    ]
    return pd.DataFrame(rows).sort_values("patient_id", ignore_index=True)


def images_table(images: Sequence[CanonicalImage]) -> pd.DataFrame:
    """Give one row per image, by id."""
    rows = [
        {
            "image_id": image.image_id,
            "file_name": image.file_name,
            "patient_id": image.patient_id,
            "width": image.width,
            "height": image.height,
            "spacing_row_mm": image.spacing_mm[0] if image.spacing_mm else None,
            "spacing_column_mm": image.spacing_mm[1] if image.spacing_mm else None,
            "mean": image.mean,
            "std": image.std,
            "min": image.min,
            "max": image.max,
            "saturated_fraction": image.saturated_fraction,
        }
        for image in images
    ]
    return pd.DataFrame(rows).sort_values("image_id", ignore_index=True)


def boxes_table(images: Sequence[CanonicalImage], boxes: Sequence[RawBox]) -> pd.DataFrame:
    """Give one row per box on these images, by annotation id. An empty table still has its columns."""
    owners = {image.image_id: image for image in images}
    names = {category: name for name, category in CLASS_IDS.items()}
    columns = "annotation_id image_id patient_id x1 y1 x2 y2 width height class_name level image_width image_height"
    rows = []
    for box in sorted(boxes, key=lambda box: box.id):
        if box.image_id in owners:
            owner = owners[box.image_id]
            x, y, width, height = box.bbox
            corners = (round(value, _DECIMALS_PX) for value in (x, y, x + width, y + height, width, height))
            size = (owner.width, owner.height)
            rows.append((box.id, box.image_id, owner.patient_id, *corners, names[box.category_id], box.level, *size))
    return pd.DataFrame(rows, columns=columns.split())


def _statistics(pixels: Float[np.ndarray, "h w"]) -> dict[str, float]:
    """Compute from integers, so that no processor's order of summation shows."""
    stored = np.rint(pixels.astype(np.float64) * _WHITE).astype(np.int64)
    total, squares = int(stored.sum()), int((stored * stored).sum())
    return {
        "mean": round(total / stored.size / _WHITE, _DECIMALS),
        "std": round((stored.size * squares - total * total) ** 0.5 / stored.size / _WHITE, _DECIMALS),
        "min": round(int(stored.min()) / _WHITE, _DECIMALS),
        "max": round(int(stored.max()) / _WHITE, _DECIMALS),
        "saturated_fraction": round(int((stored == _WHITE).sum()) / stored.size, _DECIMALS),
    }
