"""Readers of COCO, YOLO, Pascal VOC, CVAT and labelme. Boxes are read by globox; what it drops is kept here.

globox reads whole files too, but then without levels, patients and the entity-safe parser.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import yaml
from globox import BoundingBox, BoxFormat
from globox.errors import ParsingError

from meddet.importing.annotations import Annotations, Format, Mark, Marked, numbered, parse_json, parse_xml, read_text
from meddet.importing.labels import level_of
from meddet.importing.slicer import read_slicer

_MALFORMED = (ParsingError, AssertionError, AttributeError, KeyError, IndexError, TypeError, ValueError)


def read_annotations(root: Path, files: list[Path], form: Format) -> Annotations:
    """Read all files of a format; an entry that can't be read is a defect and never stops the others."""
    readers: Mapping[Format, Callable[[list[Path]], Annotations]] = {
        "coco": lambda files: _per_file(files, ".json", _read_coco),
        "cvat": lambda files: _per_file(files, ".xml", _read_cvat),
        "voc": lambda files: _per_file(files, ".xml", _read_voc),
        "labelme": lambda files: _per_file(files, ".json", _read_labelme),
        "yolo": _read_yolo,
        "slicer": lambda files: read_slicer(root, files),
    }
    return readers[form](files)


def _per_file(files: list[Path], suffix: str, read: Callable[[Path, str, list[str]], Iterable[Marked]]) -> Annotations:
    images: list[Marked] = []
    defects: list[str] = []
    for where, file in numbered(files):
        if file.suffix.lower() == suffix:
            try:
                images += read(file, where, defects)
            except _MALFORMED as error:
                defects.append(f"{where}: {_said(error)}")
    return Annotations(tuple(images), tuple(defects))


def _read_coco(file: Path, where: str, defects: list[str]) -> list[Marked]:
    content = parse_json(file)
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    marks: dict[Any, list[Mark]] = {entry["id"]: [] for entry in content["images"]}
    if len(marks) != len(content["images"]):
        raise ValueError("expected image ids that differ, got one twice")
    for number, entry in enumerate(content["annotations"], start=1):
        place = f"{where}: annotation {number}"
        try:
            if entry["image_id"] not in marks:
                raise ValueError("expected an image of the file, got an image_id of none")
            if entry["category_id"] not in names:
                raise ValueError("expected a category of the file, got a category_id of none")
            box = BoundingBox.create(
                label=names[entry["category_id"]], coords=tuple(entry["bbox"]), box_format=BoxFormat.LTWH
            )
            attributes = entry.get("attributes") or {}
            marks[entry["image_id"]].append(_mark(box, entry.get("level") or attributes.get("level")))
        except _MALFORMED as error:
            defects.append(f"{place}: {_said(error)}")
    return [
        Marked(
            image=str(entry["file_name"]),
            where=f"{where}: image {number}",
            marks=tuple(marks[entry["id"]]),
            size=(int(entry["width"]), int(entry["height"])) if "width" in entry and "height" in entry else None,
            patient=str(entry["patient_id"]) if entry.get("patient_id") else None,
        )
        for number, entry in enumerate(content["images"], start=1)
    ]


def _read_cvat(file: Path, where: str, defects: list[str]) -> list[Marked]:
    images = []
    for number, node in enumerate(parse_xml(file).iter("image"), start=1):
        place = f"{where}: image {number}"
        boxes = _boxes(node.findall("box"), BoundingBox.from_cvat, _cvat_level, place, defects)
        size = (int(node.attrib["width"]), int(node.attrib["height"]))
        images.append(Marked(image=node.attrib["name"], where=place, marks=boxes, size=size))
    return images


def _cvat_level(node: Element) -> str | None:
    return next((entry.text for entry in node.findall("attribute") if entry.get("name") == "level"), None)


def _read_voc(file: Path, where: str, defects: list[str]) -> list[Marked]:
    """Take the corners as written, 0 at the image's outer edge, as LabelImg and CVAT write them.

    The first VOC challenges counted pixels from 1, which makes a box of theirs half a pixel off on each side.
    """
    root = parse_xml(file)
    name, width, height = (root.findtext(tag) for tag in ("filename", "size/width", "size/height"))
    size = (int(width), int(height)) if width and height and int(width) > 0 else None
    boxes = _boxes(root.findall("object"), BoundingBox.from_xml, _voc_level, where, defects)
    return [Marked(image=name or file.name, where=where, marks=boxes, size=size)]


def _voc_level(node: Element) -> str | None:
    for entry in node.iter("attribute"):
        if entry.findtext("name") == "level":
            return entry.findtext("value")
    return node.findtext("level")


def _read_labelme(file: Path, where: str, defects: list[str]) -> list[Marked]:
    content = parse_json(file)
    rectangles = []
    for number, shape in enumerate(content["shapes"], start=1):
        if shape.get("shape_type") == "rectangle":
            rectangles.append(shape)
        else:
            defects.append(f"{where}: shape {number}: expected a rectangle, got another shape")
    boxes = _boxes(rectangles, BoundingBox.from_labelme, _labelme_level, where, defects)
    size = (int(content["imageWidth"]), int(content["imageHeight"]))
    name = str(content.get("imagePath") or file.name).replace("\\", "/")
    return [Marked(image=name, where=where, marks=boxes, size=size)]


def _labelme_level(shape: Mapping[str, Any]) -> str | None:
    flags = [name for name, on in (shape.get("flags") or {}).items() if on]
    return level_of(" ".join([str(shape.get("description") or ""), *flags]))


def _read_yolo(files: list[Path]) -> Annotations:
    """Read one text per image: class, centre x and y, width and height in fractions; names from YAML or classes.txt."""
    names = _yolo_names(files)
    images, defects = [], []
    for where, file in numbered(files):
        if file.suffix.lower() != ".txt" or file.name in ("classes.txt", "train.txt", "val.txt", "test.txt"):
            continue
        try:
            lines = read_text(file).splitlines()
        except ValueError as error:
            defects.append(f"{where}: {error}")
            continue
        marks = []
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    marks.append(_yolo_mark(line, names))
            except _MALFORMED as error:
                defects.append(f"{where}: line {number}: {_said(error)}")
        images.append(Marked(image=file.name, where=where, marks=tuple(marks)))
    return Annotations(tuple(images), tuple(defects))


def _yolo_mark(line: str, names: Mapping[str, str]) -> Mark:
    box = BoundingBox.from_yolo_v5(line, image_size=(1, 1))
    if box.label not in names:
        raise ValueError(f"expected a class of {len(names)} in data.yaml or classes.txt, got another number")
    if not all(-0.01 <= side <= 1.01 for side in box.ltrb):
        raise ValueError("expected fractions of the image's width and height, got larger numbers")
    box.label = names[box.label]
    mark = _mark(box, None)
    return Mark(mark.box, mark.label, mark.level, fractions=True)


def _yolo_names(files: list[Path]) -> dict[str, str]:
    """Read the class names: `names` of a YAML file as a list or by number, or the lines of classes.txt."""
    for where, file in numbered(files):
        if file.suffix.lower() in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(read_text(file))
            except (yaml.YAMLError, ValueError):
                raise ValueError(f"{where}: expected YAML with the names of the classes, got something else") from None
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, list):
                return {str(number): str(name) for number, name in enumerate(names)}
            if isinstance(names, dict):
                return {str(number): str(name) for number, name in names.items()}
    for _, file in numbered(files):
        if file.name == "classes.txt":
            lines = read_text(file).splitlines()
            return {str(number): name.strip() for number, name in enumerate(filter(str.strip, lines))}
    raise ValueError("--annotations: expected data.yaml or classes.txt with the names of YOLO's classes, found neither")


def _boxes(
    nodes: Iterable[Any],
    read: Callable[[Any], BoundingBox],
    level: Callable[[Any], str | None],
    where: str,
    defects: list[str],
) -> tuple[Mark, ...]:
    marks = []
    for number, node in enumerate(nodes, start=1):
        try:
            marks.append(_mark(read(node), level(node)))
        except _MALFORMED as error:
            defects.append(f"{where}: box {number}: {_said(error)}")
    return tuple(marks)


def _mark(box: BoundingBox, level: str | None) -> Mark:
    """Check a box: an empty one or one with a number that is none is a defect, one that sticks out is not."""
    x1, y1, x2, y2 = box.ltrb
    if not all(math.isfinite(side) for side in box.ltrb):
        raise ValueError("expected four numbers, got one that is none")
    if not (x2 > x1 and y2 > y1):
        raise ValueError(f"expected a box of positive width and height, got {x2 - x1:g} x {y2 - y1:g}")
    return Mark((float(x1), float(y1), float(x2), float(y2)), str(box.label), level_of(level) or level_of(box.label))


def _said(error: Exception) -> str:
    """Give our own words, which quote nothing; a library's only by their kind."""
    text = str(error)
    if type(error) is ValueError and text.startswith("expected"):
        return text
    return "expected an entry of this format, got one with a part missing, of a wrong type or with corners swapped"
