"""Faulty annotations: each is repaired or rejected by a written rule, and listed. None passes through."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeGuard

import numpy as np

from meddet.classes import CLASS_IDS, LEVELS
from meddet.data.annotations import AnnotationFile
from meddet.data.box_faults import XYWH, Setting, mend_box
from meddet.data.raw import RawBox, RawImage, Repair

Rule = Literal["repair", "reject"]
_DECIMALS_PX = 4
_MOST_CHARACTERS = 60


@dataclass(frozen=True)
class BoxRules:
    """What becomes of a faulty box. `min_visible` is the least share of its area that must lie inside the image."""

    outside: Rule
    min_visible: float
    negative_sides: Rule
    corners: Rule
    swapped: Rule
    ids: Rule


@dataclass
class _Row:
    """An annotation on its way: its place in the file, its id as said, and what it has become."""

    number: int
    identifier: Any
    image: RawImage
    category: int
    level: Any
    box: XYWH


def repair_boxes(
    file: AnnotationFile, images: Mapping[int, RawImage], ids: Mapping[int, int], rules: BoxRules
) -> tuple[tuple[RawBox, ...], list[Repair]]:
    """Give the boxes that may go on, with our own category ids, and every row that was touched.

    `images` are by the id they go on as, `ids` say which one each of the file's image ids goes on as. In order: what
    can't be read, geometry, doubles and contradictions, ids.
    """
    repairs: list[Repair] = []
    rows = [
        row for number, entry in enumerate(file.rows, 1) if (row := _read(file, number, entry, images, ids, repairs))
    ]
    setting = Setting.of([(row.box, row.image) for row in rows])
    kept = [row for row in rows if _mend(file, row, setting, rules, repairs)]
    kept = _without_doubles(file, kept, repairs)
    boxes = _numbered(file, kept, rules, repairs)
    return boxes, sorted(repairs, key=lambda repair: repair.row)


def _read(
    file: AnnotationFile,
    number: int,
    entry: Any,
    images: Mapping[int, RawImage],
    ids: Mapping[int, int],
    repairs: list[Repair],
) -> _Row | None:
    """Take a row apart; what isn't four finite numbers of a known class on a known image is rejected."""
    said: dict[str, Any] = entry if isinstance(entry, dict) else {}
    owner, category, level, bbox = (said.get(key) for key in ("image_id", "category_id", "level", "bbox"))
    image = images.get(ids.get(owner, 0)) if _is_integer(owner) else None
    name = file.classes.get(category) if _is_integer(category) else None
    numbers = [float(value) for value in bbox if _is_number(value)] if isinstance(bbox, list) else []
    faults = {
        "not an annotation": (entry, not isinstance(entry, dict)),
        "annotation of an unknown image": (owner, image is None),
        "unknown category": (category if name is None else name, name not in CLASS_IDS),
        "crowd": (said.get("iscrowd"), bool(said.get("iscrowd"))),
        "unknown level": (level, level is not None and level not in LEVELS),
        "not four numbers": (bbox, not (len(numbers) == 4 and isinstance(bbox, list) and len(bbox) == 4)),
        "not finite": (bbox, not np.isfinite(numbers).all()),
    }
    for fault, (value, present) in faults.items():
        if present:
            known = image.id if image else None
            repairs.append(_repair(file, number, said.get("id"), known, fault, "rejected", _text(value)))
            return None
    assert image is not None and name is not None, "a fault of its own"
    x, y, width, height = numbers
    return _Row(number, said.get("id"), image, CLASS_IDS[name], level, (x, y, width, height))


def _mend(file: AnnotationFile, row: _Row, setting: Setting, rules: BoxRules, repairs: list[Repair]) -> bool:
    for mended in mend_box(row.box, row.image, setting, vars(rules)):
        before, after = _numbers(row.box), "" if mended.box is None else _numbers(mended.box)
        repairs.append(
            _repair(file, row.number, row.identifier, row.image.id, mended.fault, mended.action, before, after)
        )
        if mended.box is None:
            return False
        row.box = mended.box
    return True


def _without_doubles(file: AnnotationFile, rows: list[_Row], repairs: list[Repair]) -> list[_Row]:
    """Drop a box that is there already; two that differ in class or level alone contradict each other: both go."""
    places: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        places.setdefault((row.image.id, *(round(value, _DECIMALS_PX) for value in row.box)), []).append(row)
    kept = []
    for same in places.values():
        agree = len({(row.category, row.level) for row in same}) == 1
        kept += same[:1] if agree else []
        for row in same[1:] if agree else same:
            fault = "box drawn twice" if agree else "one box, several classes or levels"
            action = "dropped" if agree else "rejected"
            repairs.append(_repair(file, row.number, row.identifier, row.image.id, fault, action, _numbers(row.box)))
    return sorted(kept, key=lambda row: row.number)


def _numbered(file: AnnotationFile, rows: list[_Row], rules: BoxRules, repairs: list[Repair]) -> tuple[RawBox, ...]:
    """Keep the first holder's id; who has none, 0, or another's gets a new one or goes."""
    taken: set[int] = set()
    owners = []
    for row in rows:
        good = _is_integer(row.identifier) and row.identifier >= 1 and row.identifier not in taken
        owners.append(row.identifier if good else None)
        taken |= {row.identifier} if good else set()
    free = count(max(taken, default=0) + 1)
    boxes = []
    for row, identifier in zip(rows, owners, strict=True):
        if identifier is None:
            twice = _is_integer(row.identifier) and row.identifier in taken
            fault = "annotation id given twice" if twice else "annotation id that isn't 1 or more"
            new = next(free) if rules.ids == "repair" else None
            action: Literal["renumbered", "rejected"] = "rejected" if new is None else "renumbered"
            after = "" if new is None else str(new)
            said = row.identifier
            repairs.append(_repair(file, row.number, said, row.image.id, fault, action, _text(said), after))
            if new is None:
                continue
            identifier = new
        boxes.append(
            RawBox(id=identifier, image_id=row.image.id, category_id=row.category, bbox=list(row.box), level=row.level)
        )
    return tuple(boxes)


def _repair(
    file: AnnotationFile, row: int, said: Any, image: int | None, fault: str, action: Any, before: str, after: str = ""
) -> Repair:
    return Repair(file.path.name, "box", row, _text(said), image, fault, action, before, after)


def _numbers(box: XYWH) -> str:
    return " ".join(f"{round(value, _DECIMALS_PX):g}" for value in box)


def _text(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
