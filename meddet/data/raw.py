"""The rows of the raw data set as types: patients, images, boxes, and what raters drew. No file is read here."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from meddet.classes import Level

Identifier = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Hashed = Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
Spacing = Annotated[list[Annotated[Finite, Field(gt=0)]], Field(min_length=2, max_length=2)]


class Patient(BaseModel):
    """A row of patients.csv. The last three are the enrolment flags."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    patient_id: Text
    age: Finite
    sex: Literal["F", "M"]
    scanner: Text
    field_strength_t: Annotated[Finite, Field(gt=0)]
    quality_ok: bool
    complete: bool
    operated: bool


class Entry(BaseModel):
    """A part of a COCO file: read-only, no text for numbers, further keys allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class RawImage(Entry):
    """An image of annotations.json; `file_name` is relative to data/images.

    `spacing_mm` is (row, column), for files that hold none; `study` and `instance` are hashes of DICOM's UIDs.
    `windowed` says that a 16-bit PNG already shows its DICOM file's window, as `meddet import` writes it.
    """

    id: Identifier
    file_name: Text
    width: Identifier
    height: Identifier
    patient_id: Text
    spacing_mm: Spacing | None = None
    study: Hashed | None = None
    instance: Hashed | None = None
    windowed: bool = False


class RawBox(Entry):
    """An annotation: `bbox` is x, y, width, height in pixels of the image; `category_id` is of `CLASS_IDS`."""

    id: Identifier
    image_id: int
    category_id: int
    bbox: Annotated[list[Finite], Field(min_length=4, max_length=4)]
    iscrowd: Literal[0] = 0
    level: Level | None = None


@dataclass(frozen=True)
class Repair:
    """A row of an annotation file that was changed or left out.

    `row` counts from 1 in its list, `annotation_id` is as the file says, `before` and `after` are x, y, width, height,
    ids or class names. File names and patients are not in it: it goes on to artifacts.
    """

    file: str
    kind: Literal["box", "image"]
    row: int
    annotation_id: str
    image_id: int | None
    fault: str
    action: Literal["clipped", "dropped", "rejected", "renumbered", "repaired"]
    before: str
    after: str

    def __str__(self) -> str:
        where = f"{self.kind} {self.row}" + (f" (annotation {self.annotation_id})" if self.annotation_id else "")
        image = (
            ""
            if self.image_id is None
            else f" of image {self.image_id}"
            if self.kind == "box"
            else f" (image {self.image_id})"
        )
        change = self.before + (f" -> {self.after}" if self.after else "")
        return f"{self.file}: {where}{image}: {self.fault}, {self.action}" + (f": {change}" if change else "")


@dataclass(frozen=True)
class Reading:
    """What one rater drew, and the images that he read, boxes or not."""

    rater: str
    images: frozenset[int]
    boxes: tuple[RawBox, ...]


@dataclass(frozen=True)
class RawData:
    """What data/ says after repair, before any pixel is read.

    `listed` counts the rows of each file before repair: (images, boxes).
    """

    patients: tuple[Patient, ...]
    images: tuple[RawImage, ...]
    boxes: tuple[RawBox, ...]
    readings: tuple[Reading, ...]
    repairs: tuple[Repair, ...]
    listed: Mapping[str, tuple[int, int]]


def enrolled(patient: Patient) -> bool:
    """Say whether the flags let a patient in."""
    return patient.quality_ok and patient.complete and not patient.operated


def hash_patient(patient_id: str) -> str:
    """Give the name under which a patient, a study or an instance goes on: 12 hexadecimal digits."""
    return hashlib.sha256(f"meddet{patient_id}".encode()).hexdigest()[:12]


def locate_image(folder: Path, image: RawImage) -> Path:
    """Give the path of an image's file, which may be absent.

    Errors:
        ValueError: a name that leads out of data/images, by itself or through a link.
    """
    root = folder / "images"
    where = f"{folder / 'annotations.json'}: image {image.id}: file_name {image.file_name!r}"
    name = PurePosixPath(image.file_name)
    if name.is_absolute() or ".." in name.parts or "\\" in image.file_name or "\0" in image.file_name:
        raise ValueError(f"{where}: expected a name below {root}, got a path that leads out of it")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{where}: expected a file below {root}, got a link that leads out of it")
    return path
