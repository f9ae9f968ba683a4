"""Charts as inline SVG in the page's colours: no ids, no scripts, the same input gives the same bytes.

A chart is drawn at the size at which it is read on a phone (340 px); wider pages put several beside each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from meddet.pages.charts_bubbles import Bubble, bubbles_at
from meddet.pages.charts_text import text

WIDTH, HEIGHT = 340, 270
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 12.0, 42.0


@dataclass(frozen=True)
class Scale:
    """One axis: its ends, its ticks with their labels, and its title."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str
    logarithmic: bool = False

    def place(self, value: float, start: float, end: float) -> float:
        """Map a value to between `start` and `end`; beyond the ends it stays there."""
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return start + share * (end - start)


@dataclass(frozen=True)
class Line:
    """A curve of one series through points (x, y)."""

    series: int
    points: Sequence[tuple[float, float]]
    dots: Sequence[float] = ()
    """Radius of the dot at each point, px; without dots the line alone."""
    joined: bool = True


UNIT = tuple((tick / 5, f"{tick / 5:.1f}") for tick in range(6))


def unit_scale(title: str) -> Scale:
    """Make an axis from 0 to 1."""
    return Scale(0.0, 1.0, UNIT, title)


def round_scale(values: Sequence[float], title: str, *, from_zero: bool = True) -> Scale:
    """Make an axis with round ticks around the values."""
    from matplotlib.ticker import MaxNLocator

    low, high = (0.0 if from_zero else min(values)), max(values)
    ticks = [float(tick) for tick in MaxNLocator(5).tick_values(low, high if high > low else low + 1.0)]
    return Scale(ticks[0], ticks[-1], tuple((tick, f"{tick:g}") for tick in ticks), title)


def chart(
    label: str,
    x: Scale,
    y: Scale,
    *,
    lines: Sequence[Line] = (),
    bubbles: Sequence[Bubble] = (),
    diagonal: bool = False,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Markup:
    """Draw curves and circles over a grid.

    Args:
        label: what a reader who can't see it is told.
        x: horizontal axis.
        y: vertical axis.
        lines: the last one is drawn on top.
        bubbles: as well.
        diagonal: draw the line y = x.
        width: px.
        height: px.
    """

    def across(value: float) -> float:
        return x.place(value, LEFT, width - RIGHT)

    def down(value: float) -> float:
        return y.place(value, height - BOTTOM, TOP)

    parts = [*_grid(x, y, across, down, width, height)]
    if diagonal:
        ends = f'x1="{across(x.low):.1f}" y1="{down(y.low):.1f}" x2="{across(x.high):.1f}" y2="{down(y.high):.1f}"'
        parts.append(f'<line class="ideal" {ends}/>')
    parts += [_line(line, across, down) for line in lines]
    placed = [(each, across(each.x), down(each.y)) for each in bubbles]
    parts += bubbles_at(placed, down, within=(LEFT, 0.0, float(width), height - BOTTOM))
    return picture(label, width, height, parts)


def picture(label: str, width: int, height: int, parts: Sequence[str]) -> Markup:
    """Wrap the parts, which are markup already, into one picture that has a name."""
    head = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="'
    return Markup(f'{head}{escape(label)}">{"".join(parts)}</svg>')


def _grid(
    x: Scale, y: Scale, across: Callable[[float], float], down: Callable[[float], float], width: int, height: int
) -> list[str]:
    bottom, right = height - BOTTOM, width - RIGHT
    parts = []
    for value, name in x.ticks:
        place = across(value)
        parts.append(f'<line class="grid" x1="{place:.1f}" y1="{TOP:g}" x2="{place:.1f}" y2="{bottom:g}"/>')
        parts.append(text(place, bottom + 15, name, kind="tick", anchor="middle"))
    for value, name in y.ticks:
        place = down(value)
        parts.append(f'<line class="grid" x1="{LEFT:g}" y1="{place:.1f}" x2="{right:g}" y2="{place:.1f}"/>')
        parts.append(text(LEFT - 6, place + 4, name, kind="tick", anchor="end"))
    parts.append(text((LEFT + right) / 2, height - 8.0, x.title, kind="axis", anchor="middle"))
    middle = (TOP + bottom) / 2
    turned = f'<text class="axis" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">'
    parts.append(f"{turned}{escape(y.title)}</text>")
    return parts


def _line(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    places = [(across(x), down(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = f'<polyline class="line s{line.series}" points="{path}"/>' if line.joined else ""
    for (x, y), radius in zip(places, line.dots, strict=False):
        drawn += f'<circle class="dot s{line.series}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
    return drawn
