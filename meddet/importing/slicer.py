"""Markups of 3D Slicer: ROI boxes in mm, one or more to a file (.mrk.json)."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddet.importing.annotations import Annotations, Marked, Region, numbered, parse_json
from meddet.importing.labels import level_of

_MALFORMED = (AttributeError, KeyError, IndexError, TypeError, ValueError)
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def read_slicer(root: Path, files: list[Path]) -> Annotations:
    """Read ROIs; a line, an angle or a point is a defect.

    A markup doesn't name its image: it belongs to the study named like the folder that the file lies in.
    Class and level come from the ROI's label, else its description, else the file's name.
    """
    images: list[Marked] = []
    defects: list[str] = []
    for where, file in numbered(files):
        if file.suffix.lower() != ".json":
            continue
        study = file.parent.name if file.parent != root and file != root else ""
        regions = []
        try:
            for number, markup in enumerate(parse_json(file)["markups"], start=1):
                try:
                    regions.append(_region(markup, file.name.removesuffix(".json").removesuffix(".mrk")))
                except _MALFORMED as error:
                    defects.append(f"{where}: markup {number}: {_said(error)}")
        except _MALFORMED as error:
            defects.append(f"{where}: {_said(error)}")
            continue
        images.append(Marked(image=study, where=where, marks=tuple(regions)))
    return Annotations(tuple(images), tuple(defects))


def _region(markup: Mapping[str, Any], stem: str) -> Region:
    if markup["type"] != "ROI" or markup.get("roiType", "Box") != "Box":
        raise ValueError("expected a box (ROI), got another kind of markup")
    if markup["coordinateSystem"] not in ("LPS", "RAS"):
        raise ValueError("expected coordinates in LPS or RAS, got others")
    unit = {"mm": 1.0, "cm": 10.0, "m": 1000.0}[markup.get("coordinateUnits", "mm")]
    centre, size = _numbers(markup["center"], 3), _numbers(markup["size"], 3)
    axes = _numbers(markup.get("orientation", _IDENTITY), 9)
    if min(size) <= 0:
        raise ValueError("expected a box of positive size, got an empty one")
    corners = []
    for signs in itertools.product((-0.5, 0.5), repeat=3):
        offset = [side * sign for side, sign in zip(size, signs, strict=True)]
        point = [unit * (centre[row] + sum(axes[3 * row + k] * offset[k] for k in range(3))) for row in range(3)]
        if markup["coordinateSystem"] == "RAS":
            point[:2] = [-point[0], -point[1]]
        corners.append((point[0], point[1], point[2]))
    texts = [str(point.get("label") or "") for point in markup.get("controlPoints") or []]
    labels = (*texts, str(markup.get("description") or ""), stem)
    return Region(tuple(corners), labels, next(filter(None, map(level_of, labels)), None))


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected {count} finite numbers, got others")
    return numbers


def _said(error: Exception) -> str:
    text = str(error)
    return (
        text if text.startswith("expected") else "expected markups of 3D Slicer, got a part missing or of a wrong type"
    )
