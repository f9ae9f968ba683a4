"""What the readers of all formats share: the check of a box, and what is said of an entry that can't be read."""

import math

from globox import BoundingBox
from globox.errors import ParsingError

from meddet.importing.annotations import Mark
from meddet.importing.labels import level_of

MALFORMED = (ParsingError, AssertionError, AttributeError, KeyError, IndexError, TypeError, ValueError)


def checked_mark(box: BoundingBox, level: str | None) -> Mark:
    """Check a box: an empty one or one with a number that is none is a defect, one that sticks out is not."""
    x1, y1, x2, y2 = box.ltrb
    if not all(math.isfinite(side) for side in box.ltrb):
        raise ValueError("expected four numbers, got one that is none")
    if not (x2 > x1 and y2 > y1):
        raise ValueError(f"expected a box of positive width and height, got {x2 - x1:g} x {y2 - y1:g}")
    return Mark((float(x1), float(y1), float(x2), float(y2)), str(box.label), level_of(level) or level_of(box.label))


def said(error: Exception) -> str:
    """Give our own words, which quote nothing; a library's only by their kind."""
    text = str(error)
    if type(error) is ValueError and text.startswith("expected"):
        return text
    return "expected an entry of this format, got one with a part missing, of a wrong type or with corners swapped"
