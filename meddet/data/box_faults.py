"""Geometry of faulty boxes: what is wrong with four numbers, and what they were probably meant to be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from meddet.data.raw import RawImage

XYWH = tuple[float, float, float, float]
_EDGE_TOLERANCE_PX = 1e-6
_LEAST_SIDE_PX = 1e-3
"""Shorter sides vanish when the tables are rounded."""
_LEAST_BOXES = 5
_TYPICAL = 2.5
_NEAR = 2.0
_FAR = 3.0


@dataclass(frozen=True)
class Mended:
    """A fault, what is done about it, and the box after that, None where it goes."""

    fault: str
    action: Literal["clipped", "rejected", "repaired"]
    box: XYWH | None


@dataclass(frozen=True)
class Setting:
    """What is usual in a file: sides as fractions of the image's, and where the discs of an image stand.

    `sides` is None where there are too few legal boxes to say. `legal` are the legal boxes by image.
    """

    sides: tuple[float, float] | None
    legal: Mapping[int, tuple[XYWH, ...]]

    @staticmethod
    def of(boxes: Sequence[tuple[XYWH, RawImage]]) -> "Setting":
        """Learn it from those boxes of a file that are legal as they stand."""
        legal = [(box, image) for box, image in boxes if _is_legal(box, image)]
        by_image: dict[int, list[XYWH]] = {}
        for box, image in legal:
            by_image.setdefault(image.id, []).append(box)
        if len(legal) < _LEAST_BOXES:
            return Setting(None, {})
        width = float(np.median([box[2] / image.width for box, image in legal]))
        height = float(np.median([box[3] / image.height for box, image in legal]))
        return Setting((width, height), {image: tuple(found) for image, found in by_image.items()})

    def is_typical(self, box: XYWH, image: RawImage) -> bool:
        """Say whether both sides are within a factor of 2.5 of the usual ones, and the box is in the image."""
        if self.sides is None or not _is_legal(box, image):
            return False
        ratios = (box[2] / image.width / self.sides[0], box[3] / image.height / self.sides[1])
        return all(1 / _TYPICAL <= ratio <= _TYPICAL for ratio in ratios)

    def distance(self, box: XYWH, image: RawImage, own: XYWH) -> float | None:
        """Measure how far a box is from the nearest other one, in usual widths; None below two others."""
        others = [_centre(other) for other in self.legal.get(image.id, ()) if other != own]
        if self.sides is None or len(others) < 2:
            return None
        x, y = _centre(box)
        return min(float(np.hypot(x - other[0], y - other[1])) for other in others) / (self.sides[0] * image.width)


def mend_box(box: XYWH, image: RawImage, setting: Setting, rules: Mapping[str, Any]) -> Iterator[Mended]:
    """Give the faults of a box in the order in which they are looked at, until it is good or gone.

    - A side of less than a thousandth of a pixel: gone.
    - Negative sides: the same box from its other corner, if that is in the image.
    - x1, y1, x2, y2 instead of x, y, width, height: as it stands not typical, as corners typical.
    - x and y swapped (with or without the sides): as it stands not typical or 3 usual widths off the nearest disc,
      swapped typical and at most 2 off.
    - Reaches out of the image: clipped, if enough of it is inside.
    """
    x, y, width, height = box
    if min(abs(width), abs(height)) < _LEAST_SIDE_PX:
        yield Mended("no area", "rejected", None)
        return
    if width < 0 or height < 0:
        turned = (min(x, x + width), min(y, y + height), abs(width), abs(height))
        good = _is_legal(turned, image) and rules["negative_sides"] == "repair"
        yield Mended("negative side", "repaired" if good else "rejected", turned if good else None)
        if not good:
            return
        box = turned
    for fault, rule, meant in (
        ("corners instead of sides", rules["corners"], _from_corners(box, image, setting)),
        ("x and y swapped", rules["swapped"], _from_swapped(box, image, setting)),
    ):
        if meant is not None:
            good = rule == "repair"
            yield Mended(fault, "repaired" if good else "rejected", meant if good else None)
            return
    if not _is_legal(box, image):
        clipped = _clip(box, image)
        visible = clipped[2] * clipped[3] / (box[2] * box[3])
        good = rules["outside"] == "repair" and visible > 0 and visible >= rules["min_visible"]
        yield Mended("reaches out of the image", "clipped" if good else "rejected", clipped if good else None)


def _from_corners(box: XYWH, image: RawImage, setting: Setting) -> XYWH | None:
    x1, y1, x2, y2 = box
    meant = (x1, y1, x2 - x1, y2 - y1)
    return meant if not setting.is_typical(box, image) and setting.is_typical(meant, image) else None


def _from_swapped(box: XYWH, image: RawImage, setting: Setting) -> XYWH | None:
    x, y, width, height = box
    off = setting.distance(box, image, box)
    if setting.is_typical(box, image) and (off is None or off < _FAR):
        return None
    turned, moved = (y, x, height, width), (y, x, width, height)
    if setting.is_typical(turned, image) and (setting.distance(turned, image, box) or 0.0) <= _NEAR:
        return turned
    off = setting.distance(moved, image, box)
    return moved if setting.is_typical(moved, image) and off is not None and off <= _NEAR else None


def _centre(box: XYWH) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _is_legal(box: XYWH, image: RawImage) -> bool:
    x, y, width, height = box
    right, bottom = image.width + _EDGE_TOLERANCE_PX, image.height + _EDGE_TOLERANCE_PX
    return width > 0 and height > 0 and x >= 0 and y >= 0 and x + width <= right and y + height <= bottom


def _clip(box: XYWH, image: RawImage) -> XYWH:
    x, y, width, height = box
    left, top = min(max(x, 0.0), float(image.width)), min(max(y, 0.0), float(image.height))
    right, bottom = max(min(x + width, image.width), left), max(min(y + height, image.height), top)
    return left, top, right - left, bottom - top
