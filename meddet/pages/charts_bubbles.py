"""Circles in a chart, with names that keep off each other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meddet.pages.charts_text import text, width_of

_RADIUS = 17.0
_LINE = 12.0
_FAR = 30.0

Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Bubble:
    """A circle of `area` (1 is the largest) at (x, y), with the interval of y, and a name beside it."""

    series: int
    x: float
    y: float
    area: float
    name: str
    ends: tuple[float, float] | None = None
    hollow: bool = False


def bubbles_at(
    placed: Sequence[tuple[Bubble, float, float]], down: Callable[[float], float], *, within: Extent
) -> list[str]:
    """Draw circles at places in px, the largest first, then their names.

    Args:
        placed: circles and their centres.
        down: place of a value of y.
        within: left, top, right and bottom, where names stay inside.
    """
    drawn = [_circle(each, x, y, down) for each, x, y in sorted(placed, key=lambda one: -one[0].area)]
    taken = [(x - _reach(each), y - _reach(each), x + _reach(each), y + _reach(each)) for each, x, y in placed]
    taken += [(x - 2, down(each.ends[1]), x + 2, down(each.ends[0])) for each, x, _ in placed if each.ends]
    for each, x, y in placed:
        own = _free(each, x, y, taken, within)
        taken.append(own)
        if own[1] > y + _FAR or own[3] < y - _FAR:
            end = own[1] if own[1] > y else own[3]
            line = f'x1="{x:.1f}" y1="{y:.1f}" x2="{(own[0] + own[2]) / 2:.1f}" y2="{end:.1f}"'
            drawn.append(f'<line class="leader" {line}/>')
        drawn.append(text(own[0], own[3] - 3, each.name, kind="name"))
    return drawn


def _reach(each: Bubble) -> float:
    return _RADIUS * math.sqrt(each.area)


def _circle(each: Bubble, x: float, y: float, down: Callable[[float], float]) -> str:
    drawn = ""
    if each.ends:
        low, high = (down(end) for end in each.ends)
        drawn = f'<line class="whisker s{each.series}" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'
    kind = f"bubble s{each.series}{' hollow' if each.hollow else ''}"
    return drawn + f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{_reach(each):.1f}"/>'


def _free(each: Bubble, x: float, y: float, taken: Sequence[Extent], within: Extent) -> Extent:
    """Find the nearest place for a name that nothing has taken: beside, below, above, in steps of a line."""
    long, reach = width_of(each.name), _reach(each) + 4
    places = []
    for step in range(12):
        for side in (x + reach, x - reach - long):
            places += [(side, y - _LINE / 2 + way * step * _LINE) for way in (1, -1)]
        places += [(x - long / 2, y + reach + step * _LINE), (x - long / 2, y - reach - (step + 1) * _LINE)]
    extents = [(start, top, start + long, top + _LINE) for start, top in places]
    inside = [extent for extent in extents if _holds(within, extent)]
    free = [extent for extent in inside if not any(_meet(extent, other) for other in taken)]
    return (free or inside or extents)[0]


def _holds(outer: Extent, inner: Extent) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _meet(one: Extent, other: Extent) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
