"""A data set back out, as annotations of COCO, YOLO or CVAT. The images stay where they are."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from globox import BoundingBox, BoxFormat

from meddet.classes import CLASS_IDS, CLASSES, LEVELS
from meddet.files import read_json, write_atomic, write_json


@dataclass(frozen=True)
class _Entry:
    """An image with its boxes and their levels."""

    image: Mapping[str, Any]
    boxes: tuple[tuple[BoundingBox, str | None], ...]


def export_annotations(source: Path, out: Path, form: str) -> tuple[int, int]:
    """Write the annotations of a data folder, or of a COCO file such as artifacts/coco.json; count images and boxes.

    COCO and CVAT keep the levels, YOLO doesn't. Numbers are written in full: reading them back gives the same boxes,
    YOLO's within 1e-9 of the image's size.

    Errors:
        ValueError: no such file, another content, or `out` is a folder that holds files.
    """
    path = source / "annotations.json" if source.is_dir() else source
    content = read_json(path)
    try:
        entries = _entries(content)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected COCO annotations with our classes, got {error!r}") from None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: expected no folder or an empty one for the export, got one that holds files")
    writers: Mapping[str, Callable[[list[_Entry], Path], None]] = {
        "coco": _write_coco,
        "yolo": _write_yolo,
        "cvat": _write_cvat,
    }
    writers[form](entries, out)
    return len(entries), sum(len(entry.boxes) for entry in entries)


def _entries(content: Any) -> list[_Entry]:
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    boxes: dict[int, list[tuple[BoundingBox, str | None]]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        name = names[entry["category_id"]]
        if name not in CLASSES:
            raise ValueError(f"class {name!r}")
        box = BoundingBox.create(label=name, coords=tuple(entry["bbox"]), box_format=BoxFormat.LTWH)
        boxes[entry["image_id"]].append((box, entry.get("level")))
    return [_Entry(entry, tuple(boxes[entry["id"]])) for entry in content["images"]]


def _write_coco(entries: list[_Entry], out: Path) -> None:
    annotations: list[dict[str, Any]] = []
    for entry in entries:
        for box, level in entry.boxes:
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": entry.image["id"], "category_id": CLASS_IDS[box.label]},
                    **{"bbox": list(box.ltwh), "area": box.width * box.height, "iscrowd": 0},
                    **({} if level is None else {"level": level}),
                }
            )
    categories = [{"id": number, "name": name} for name, number in CLASS_IDS.items()]
    images = [dict(entry.image) for entry in entries]
    write_json(out / "annotations.json", {"images": images, "annotations": annotations, "categories": categories})


def _write_yolo(entries: list[_Entry], out: Path) -> None:
    numbers = {name: number for number, name in enumerate(CLASSES)}
    for entry in entries:
        size = (entry.image["width"], entry.image["height"])
        lines = [box.to_yolo_v5(image_size=size, label_to_id=numbers) for box, _ in entry.boxes]
        name = _below(entry.image["file_name"])
        write_atomic(out / "labels" / name.with_suffix(".txt"), "".join(f"{line}\n" for line in lines).encode())
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(CLASSES))}
    write_atomic(out / "data.yaml", yaml.safe_dump(content, sort_keys=False).encode())


def _write_cvat(entries: list[_Entry], out: Path) -> None:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in CLASSES:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        attribute = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
        for tag, text in (("name", "level"), ("input_type", "select"), ("values", "\n".join(LEVELS))):
            ElementTree.SubElement(attribute, tag).text = text
    for number, entry in enumerate(entries):
        image = entry.image
        told = {"id": number, "name": image["file_name"], "width": image["width"], "height": image["height"]}
        node = ElementTree.SubElement(root, "image", {name: str(value) for name, value in told.items()})
        for box, level in entry.boxes:
            child = box.to_cvat()
            child.attrib |= {"source": "manual", "occluded": "0", "z_order": "0"}
            if level is not None:
                ElementTree.SubElement(child, "attribute", name="level").text = level
            node.append(child)
    ElementTree.indent(root)
    write_atomic(out / "annotations.xml", ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _below(name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"expected file names below the images, got {json.dumps(name)}")
    return path
