"""Read annotations.json and the raters' files: images are typed, boxes stay as they stand, to be repaired."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, ValidationError

from meddet.data.patients import check_unique, first_fault
from meddet.data.raw import Entry, RawImage, Repair
from meddet.files import read_json


class _Category(Entry):
    id: int
    name: str


class _Content(Entry):
    images: list[RawImage]
    annotations: list[Any]
    categories: Annotated[list[_Category], Field(min_length=1)]


@dataclass(frozen=True)
class AnnotationFile:
    """A COCO file: `rows` are its annotations as they stand, `classes` its category names by its own ids."""

    path: Path
    images: tuple[RawImage, ...]
    rows: tuple[Any, ...]
    classes: Mapping[int, str]


def read_annotations(path: Path) -> AnnotationFile:
    """Read a COCO file.

    Errors:
        ValueError: one line: not JSON, a list is missing, an image entry is wrong, or categories aren't unique.
    """
    content: Any = read_json(path)
    try:
        read = _Content.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_owner(content, error)}{first_fault(error)}") from None
    check_unique(f"{path}: category id", [category.id for category in read.categories])
    check_unique(f"{path}: category name", [category.name for category in read.categories])
    classes = {category.id: category.name for category in read.categories}
    return AnnotationFile(path=path, images=tuple(read.images), rows=tuple(read.annotations), classes=classes)


def same_classes(first: AnnotationFile, other: AnnotationFile) -> str | None:
    """Compare the names of two files' categories: None if they are the same, whatever ids and order, or the fault."""
    names, others = (sorted(file.classes.values()) for file in (first, other))
    if names == others:
        return None
    return f"{other.path}: expected the classes of {first.path.name} ({', '.join(names)}), got {', '.join(others)}"


def repair_images(
    file: AnnotationFile, known: Mapping[str, int] | None, patients: frozenset[str]
) -> tuple[tuple[RawImage, ...], dict[int, int], list[Repair]]:
    """Drop doubled entries and reject those of unknown patients; where `known` gives ids by file name, those go on.

    Gives the images, the id that each of the file's image ids goes on as, and what was done.

    Errors:
        ValueError: one id for several files, or one file with entries that contradict each other.
    """
    by_name: dict[str, RawImage] = {}
    ids: dict[int, int] = {}
    names: dict[int, str] = {}
    repairs = []
    for row, image in enumerate(file.images, start=1):
        name = str(PurePosixPath(image.file_name))
        if names.setdefault(image.id, name) != name:
            raise ValueError(f"{file.path}: image id: expected unique values, got {image.id} for several files")
        first = by_name.get(name)
        if first is not None and first.model_copy(update={"id": image.id, "file_name": image.file_name}) != image:
            raise ValueError(f"{file.path}: image {image.id}: expected what image {first.id} of the same file says")
        if first is not None:
            ids[image.id] = ids.get(first.id, image.id)
            repairs.append(_repair(file, row, image, "image listed twice", "dropped", str(image.id), str(first.id)))
        elif image.patient_id not in patients:
            repairs.append(_repair(file, row, image, "image of an unknown patient", "rejected", "", ""))
        elif known is not None and name not in known:
            repairs.append(_repair(file, row, image, "image that annotations.json doesn't list", "rejected", "", ""))
        else:
            by_name[name] = image
            ids[image.id] = image.id if known is None else known[name]
    return tuple(by_name.values()), ids, repairs


def _repair(
    file: AnnotationFile, row: int, image: RawImage, fault: str, action: Any, before: str, after: str
) -> Repair:
    return Repair(file.path.name, "image", row, "", image.id, fault, action, before, after)


def _owner(content: Any, error: ValidationError) -> str:
    """Name the entry by its id, where it has one."""
    loc = error.errors()[0]["loc"]
    if len(loc) < 2 or not isinstance(loc[1], int):
        return ""
    entry = content[loc[0]][loc[1]]
    identifier = entry.get("id") if isinstance(entry, dict) else None
    return f"{loc[0]} entry with id {identifier!r}: "
