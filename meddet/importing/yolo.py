"""YOLO's texts, one for each image."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from globox import BoundingBox

from meddet.importing.annotations import Annotations, Mark, Marked, numbered, read_text
from meddet.importing.marks import MALFORMED, checked_mark, said


def read_yolo(files: list[Path]) -> Annotations:
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
            except MALFORMED as error:
                defects.append(f"{where}: line {number}: {said(error)}")
        images.append(Marked(image=file.name, where=where, marks=tuple(marks)))
    return Annotations(tuple(images), tuple(defects))


def _yolo_mark(line: str, names: Mapping[str, str]) -> Mark:
    box = BoundingBox.from_yolo_v5(line, image_size=(1, 1))
    if box.label not in names:
        raise ValueError(f"expected a class of {len(names)} in data.yaml or classes.txt, got another number")
    if not all(-0.01 <= side <= 1.01 for side in box.ltrb):
        raise ValueError("expected fractions of the image's width and height, got larger numbers")
    box.label = names[box.label]
    mark = checked_mark(box, None)
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
