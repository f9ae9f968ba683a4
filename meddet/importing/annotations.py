"""Boxes on images, whatever program drew them: what the readers of the formats give, and which reader a path needs."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

FORMATS = ("coco", "yolo", "voc", "cvat", "labelme", "slicer")
Format = Literal["coco", "yolo", "voc", "cvat", "labelme", "slicer"]
_YOLO_LINE = re.compile(r"\d+(\s+[-+.\deE]+){4,5}")
_MOST_BYTES = 256 * 2**20
_SUFFIXES = {".json", ".xml", ".txt", ".yaml", ".yml"}


@dataclass(frozen=True)
class Mark:
    """A box as drawn: xyxy in pixels of the image's own file, 0 at its outer edge, or in fractions of its size."""

    box: tuple[float, float, float, float]
    label: str
    level: str | None = None
    fractions: bool = False


@dataclass(frozen=True)
class Region:
    """A box of 3D Slicer: its eight corners in mm, x to the patient's left, y to the back, z up.

    `labels` are the texts that may hold its class.
    """

    corners: tuple[tuple[float, float, float], ...]
    labels: tuple[str, ...]
    level: str | None = None


@dataclass(frozen=True)
class Marked:
    """The marks of one image. `image` is the name that the annotations give it; `where` names the entry without it.

    `size` is (width, height) where the annotations tell it. Regions lie in a whole study, and `image` names that.
    """

    image: str
    where: str
    marks: tuple[Mark | Region, ...]
    size: tuple[int, int] | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Annotations:
    """What was read, and one line for each entry that could not be."""

    images: tuple[Marked, ...]
    defects: tuple[str, ...]


def annotation_files(path: Path) -> list[Path]:
    """List the files that may hold annotations, by name. A folder is searched, links are not followed.

    Errors:
        ValueError: nothing there, a link, or not one file of a fitting kind.
    """
    if path.is_symlink() or not path.exists():
        raise ValueError(f"--annotations: expected a file or folder, got {'a link' if path.is_symlink() else 'none'}")
    if path.is_file():
        return [path]
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".") and not Path(folder, name).is_symlink()
    ]
    if not found:
        raise ValueError(f"--annotations: expected files ending in {', '.join(sorted(_SUFFIXES))}, found none")
    return sorted(found)


def recognise(files: list[Path]) -> Format:
    """Tell the format by the first file that shows one.

    Errors:
        ValueError: none of them does, or files of two formats.
    """
    found = sorted({name for name in map(_recognise_file, files) if name is not None})
    if len(found) != 1:
        got = " and ".join(found) or "none of them"
        raise ValueError(f"--annotations: expected one format of {', '.join(FORMATS)}, found {got}; name it (--format)")
    return found[0]


def _recognise_file(file: Path) -> Format | None:
    suffix = file.suffix.lower()
    try:
        if suffix == ".xml":
            root = parse_xml(file)
            if root.tag == "annotation":
                return "voc"
            return "cvat" if root.tag == "annotations" else None
        if suffix == ".json":
            return _recognise_json(parse_json(file))
        if suffix == ".txt":
            lines = [line for line in read_text(file).splitlines() if line.strip()]
            return "yolo" if lines and _YOLO_LINE.fullmatch(lines[0].strip()) else None
    except ValueError:
        return None
    return None


def _recognise_json(content: Any) -> Format | None:
    if not isinstance(content, dict):
        return None
    if "markups" in content:
        return "slicer"
    if "shapes" in content:
        return "labelme"
    return "coco" if {"images", "annotations"} <= content.keys() else None


def parse_xml(file: Path) -> Element:
    """Parse XML from a stranger: no entities, no document type from outside.

    Errors:
        ValueError: one line without the file's name.
    """
    try:
        root = defusedxml.ElementTree.parse(_checked(file), forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise ValueError("expected XML without a document type or entities, got some") from None
    except (ParseError, UnicodeDecodeError, LookupError):
        raise ValueError("expected XML, got something else or a part of it") from None
    if root is None:
        raise ValueError("expected XML, got nothing")
    return root


def parse_json(file: Path) -> Any:
    """Parse JSON from a stranger.

    Errors:
        ValueError: one line without the file's name.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError:
        raise ValueError("expected JSON, got something else or a part of it") from None
    except RecursionError:
        raise ValueError("expected JSON of a few levels, got a very deep one") from None


def read_text(file: Path) -> str:
    """Read text from a stranger.

    Errors:
        ValueError: one line without the file's name.
    """
    try:
        return _checked(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("expected text in UTF-8, got something else") from None


def numbered(files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Name the files by their order: their own names may hold a patient's."""
    for number, file in enumerate(files, start=1):
        yield f"annotation file {number}", file


def _checked(file: Path) -> Path:
    size = file.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"expected annotations of at most {_MOST_BYTES // 2**20} MB, got {size // 2**20} MB")
    return file
