"""Boxes in mm on the slices that they pass."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from meddet.importing.annotations import Marked, Region
from meddet.importing.geometry import Plane
from meddet.importing.header import Header
from meddet.importing.labels import IGNORE, class_of
from meddet.importing.sources import Source, image_stem

Place = tuple[int, int]
"""A file's number and the slice in it."""


@dataclass(frozen=True)
class Box:
    """A box in pixels of its slice, as the file stores it, xyxy."""

    xyxy: tuple[float, float, float, float]
    class_name: str
    level: str | None


def translate(labels: Sequence[str], classes: Mapping[str, str]) -> str | None:
    """Translate the first label that is a class."""
    return next(filter(None, (class_of(label, classes) for label in labels)), None)


def match_regions(
    entry: Marked,
    sources: Sequence[Source],
    headers: Mapping[int, Header],
    chosen: Sequence[Sequence[int]],
    classes: Mapping[str, str],
) -> dict[Place, tuple[Box, ...]]:
    """Put each region on the slices that it meets, or on the nearest one where it lies between two."""
    by_number = {source.number: source for source in sources}
    named = [files for files in chosen if _is_named(entry.image, [by_number[n] for n in files])]
    if len(named) != 1:
        named = list(chosen)
    if len(named) != 1:
        return {}
    planes = [((n, k), plane) for n in named[0] for k, plane in enumerate(headers[n].planes) if plane is not None]
    found: dict[Place, tuple[Box, ...]] = defaultdict(tuple)
    for region in entry.marks:
        assert isinstance(region, Region)
        name = translate(region.labels, classes)
        if name == IGNORE:
            continue
        assert name is not None
        for place, xyxy in _cut(np.array(region.corners), planes).items():
            found[place] = (*found[place], Box(xyxy, name, region.level))
    return dict(found)


def _is_named(name: str, files: Sequence[Source]) -> bool:
    """Say whether a study is the one of a folder's name: each of its files lies in such a folder, or has that stem."""
    wanted = name.casefold()
    return bool(wanted) and all(
        wanted in [part.casefold() for part in (*source.relative.parts[:-1], image_stem(source.path.name))]
        for source in files
    )


def _cut(
    corners: Float[np.ndarray, "8 3"], planes: Sequence[tuple[Place, Plane]]
) -> dict[Place, tuple[float, float, float, float]]:
    """Frame a region on each slice that passes through it; on the nearest one, if none does."""
    boxes, gaps = {}, {}
    for place, plane in planes:
        columns, rows, off = plane.project(corners).T
        gaps[place] = max(0.0, float(off.min()), float(-off.max()))
        boxes[place] = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    met = [place for place, gap in gaps.items() if gap == 0]
    if not met and gaps:
        nearest = min(gaps, key=lambda place: gaps[place])
        positions = sorted(plane.position for _, plane in planes)
        step = min((b - a for a, b in pairwise(positions) if b - a > 1e-3), default=0.0)
        met = [nearest] if gaps[nearest] <= step / 2 + 1e-6 else []
    return {place: boxes[place] for place in met}
