"""Readers of COCO, YOLO, Pascal VOC, CVAT and labelme. Boxes are read by globox; what it drops is kept here.

globox reads whole files too, but then without levels, patients and the entity-safe parser.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from globox import BoundingBox, BoxFormat

from meddet.importing.annotations import Annotations, Format, Mark, Marked, numbered, parse_json, parse_xml
from meddet.importing.labels import level_of
from meddet.importing.marks import MALFORMED, checked_mark, said
from meddet.importing.slicer import read_slicer
from meddet.importing.yolo import read_yolo


def read_annotations(root: Path, files: list[Path], form: Format) -> Annotations:
    """Read all files of a format; an entry that can't be read is a defect and never stops the others."""
    readers: Mapping[Format, Callable[[list[Path]], Annotations]] = {
        "coco": lambda files: _per_file(files, ".json", _read_coco),
        "cvat": lambda files: _per_file(files, ".xml", _read_cvat),
        "voc": lambda files: _per_file(files, ".xml", _read_voc),
        "labelme": lambda files: _per_file(files, ".json", _read_labelme),
        "yolo": read_yolo,
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
            except MALFORMED as error:
                defects.append(f"{where}: {said(error)}")
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
            marks[entry["image_id"]].append(checked_mark(box, entry.get("level") or attributes.get("level")))
        except MALFORMED as error:
            defects.append(f"{place}: {said(error)}")
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
            marks.append(checked_mark(read(node), level(node)))
        except MALFORMED as error:
            defects.append(f"{where}: box {number}: {said(error)}")
    return tuple(marks)
