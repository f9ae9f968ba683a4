"""The raw data set as typed rows: annotations.json and patients.csv, read and checked against each other. No pixels."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meddet.classes import CLASS_IDS, Level
from meddet.files import read_json

_EDGE_TOLERANCE_PX = 1e-6

Identifier = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


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


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class RawImage(_Entry):
    """An image of annotations.json; `file_name` is relative to data/images."""

    id: Identifier
    file_name: Text
    width: Identifier
    height: Identifier
    patient_id: Text


class RawBox(_Entry):
    """An annotation: `bbox` is x, y, width, height in pixels of the image."""

    id: Identifier
    image_id: int
    category_id: int
    bbox: Annotated[list[Finite], Field(min_length=4, max_length=4)]
    iscrowd: Literal[0] = 0
    level: Level | None = None


class _Category(_Entry):
    id: int
    name: str


class _Annotations(_Entry):
    images: list[RawImage]
    annotations: list[RawBox]
    categories: Annotated[list[_Category], Field(min_length=1)]


@dataclass(frozen=True)
class RawData:
    """What data/ says, before any pixel is read. The boxes' category ids are ours (`CLASS_IDS`)."""

    patients: tuple[Patient, ...]
    images: tuple[RawImage, ...]
    boxes: tuple[RawBox, ...]


def read_raw(folder: Path) -> RawData:
    """Read and check data/.

    Errors:
        ValueError: one line with the file, the row or id, what was expected and what came.
    """
    patients_path, annotations_path = folder / "patients.csv", folder / "annotations.json"
    patients = _read_patients(patients_path)
    content = _read_annotations(annotations_path)
    boxes = _by_class_name(annotations_path, content)
    for image in content.images:
        locate_image(folder, image)
    _check_references(annotations_path, patients, content.images, boxes)
    _check_patients_have_images(patients_path, patients, content.images)
    return RawData(patients=patients, images=tuple(content.images), boxes=boxes)


def enrolled(patient: Patient) -> bool:
    """Say whether the flags let a patient in."""
    return patient.quality_ok and patient.complete and not patient.operated


def hash_patient(patient_id: str) -> str:
    """Give the name under which a patient goes on: 12 hexadecimal digits."""
    return hashlib.sha256(f"meddet{patient_id}".encode()).hexdigest()[:12]


def locate_image(folder: Path, image: RawImage) -> Path:
    """Give the path of an image's file.

    Errors:
        ValueError: no such file, or a name that leads out of data/images, by itself or through a link.
    """
    root = folder / "images"
    where = f"{folder / 'annotations.json'}: image {image.id}: file_name {image.file_name!r}"
    name = PurePosixPath(image.file_name)
    if name.is_absolute() or ".." in name.parts or "\\" in image.file_name or "\0" in image.file_name:
        raise ValueError(f"{where}: expected a name below {root}, got a path that leads out of it")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{where}: expected a file below {root}, got a link that leads out of it")
    if not path.is_file():
        raise ValueError(f"{where}: expected the file {path}, found none")
    return path


def _read_patients(path: Path) -> tuple[Patient, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a table of patients, found none") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected comma-separated text in UTF-8, got: {error}") from None
    missing = sorted(set(Patient.model_fields) - set(columns))
    if missing:
        raise ValueError(
            f"{path}: expected the columns {', '.join(Patient.model_fields)}, {', '.join(missing)} missing"
        )
    if not rows:
        raise ValueError(f"{path}: expected at least one patient, found none")
    patients = []
    for line, row in rows:
        try:
            patients.append(Patient.model_validate({key: value for key, value in row.items() if key is not None}))
        except ValidationError as error:
            raise ValueError(f"{path}: line {line} (patient {row['patient_id']!r}): {_first(error)}") from None
    _check_unique(f"{path}: patient_id", [patient.patient_id for patient in patients])
    return tuple(patients)


def _read_annotations(path: Path) -> _Annotations:
    content: Any = read_json(path)
    try:
        annotations = _Annotations.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_owner(content, error)}{_first(error)}") from None
    _check_unique(f"{path}: image id", [image.id for image in annotations.images])
    _check_unique(f"{path}: file_name", [str(PurePosixPath(image.file_name)) for image in annotations.images])
    _check_unique(f"{path}: annotation id", [box.id for box in annotations.annotations])
    _check_unique(f"{path}: category id", [category.id for category in annotations.categories])
    _check_unique(f"{path}: category name", [category.name for category in annotations.categories])
    return annotations


def _by_class_name(path: Path, content: _Annotations) -> tuple[RawBox, ...]:
    """Renumber categories by their names: files differ in ids and order, and only the name means something."""
    names = {category.id: category.name for category in content.categories}
    boxes = []
    for box in content.annotations:
        name = names.get(box.category_id)
        if name not in CLASS_IDS:
            got = f"category_id {box.category_id}" + ("" if name is None else f", which is {name!r}")
            raise ValueError(f"{path}: annotation {box.id}: expected a class of {', '.join(CLASS_IDS)}, got {got}")
        boxes.append(box.model_copy(update={"category_id": CLASS_IDS[name]}))
    return tuple(boxes)


def _check_references(
    path: Path, patients: Iterable[Patient], images: Iterable[RawImage], boxes: Iterable[RawBox]
) -> None:
    known = {patient.patient_id for patient in patients}
    by_id = {image.id: image for image in images}
    for image in by_id.values():
        if image.patient_id not in known:
            raise ValueError(
                f"{path}: image {image.id} ({image.file_name}): expected a patient of patients.csv, "
                f"got patient_id {image.patient_id!r}"
            )
    for box in boxes:
        owner = by_id.get(box.image_id)
        if owner is None:
            raise ValueError(
                f"{path}: annotation {box.id}: expected an image of this file, got image_id {box.image_id}"
            )
        x, y, width, height = box.bbox
        where = f"{path}: annotation {box.id} of image {owner.id} ({owner.file_name})"
        if not (width > 0 and height > 0):
            raise ValueError(f"{where}: expected a box of positive width and height, got bbox {box.bbox}")
        right, bottom = owner.width + _EDGE_TOLERANCE_PX, owner.height + _EDGE_TOLERANCE_PX
        if x < 0 or y < 0 or x + width > right or y + height > bottom:
            size = f"{owner.width} x {owner.height} (width x height)"
            raise ValueError(f"{where}: expected a box inside {size}, got bbox {box.bbox}")


def _check_patients_have_images(path: Path, patients: Iterable[Patient], images: Iterable[RawImage]) -> None:
    """An excluded patient may have none: an incomplete examination often isn't exported."""
    seen = {image.patient_id for image in images}
    for patient in patients:
        if enrolled(patient) and patient.patient_id not in seen:
            raise ValueError(
                f"{path}: patient {patient.patient_id!r}: expected at least one image in annotations.json, found none"
            )


def _check_unique(what: str, values: list[Any]) -> None:
    value, count = Counter(values).most_common(1)[0] if values else (None, 1)
    if count > 1:
        raise ValueError(f"{what}: expected unique values, got {value!r} {count} times")


def _owner(content: Any, error: ValidationError) -> str:
    """Name the entry by its id, where it has one."""
    loc = error.errors()[0]["loc"]
    if len(loc) < 2 or not isinstance(loc[1], int):
        return ""
    entry = content[loc[0]][loc[1]]
    identifier = entry.get("id") if isinstance(entry, dict) else None
    return f"{loc[0]} entry with id {identifier!r}: "


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    got = repr(first["input"])
    return f"{key}: {first['msg']}, got {got if len(got) <= 80 else got[:77] + '...'}{more}"
