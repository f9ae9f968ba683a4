"""The COCO file and the tables that describe the canonical images. Patients go by their hash."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from meddet.classes import CLASS_IDS
from meddet.data.canonical import CanonicalImage
from meddet.data.intensity import INTENSITIES
from meddet.data.raw import Patient, RawBox, hash_patient

_DECIMALS_PX = 4


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
            "study": image.study,
            "instance": image.instance,
            "brightness": image.brightness,
            **image.statistics,
        }
        for image in images
    ]
    assert all(tuple(image.statistics) == INTENSITIES for image in images), "statistics out of order"
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
