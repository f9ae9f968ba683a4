"""Forest plots as inline SVG: one row each, its value and interval, beside a line that stands for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from meddet.pages.charts_svg import Scale, picture
from meddet.pages.charts_text import text

_WIDTH, _ROW, _HEAD, _FOOT = 340, 30.0, 8.0, 40.0
_LEFT, _RIGHT = 128.0, 62.0


@dataclass(frozen=True)
class Row:
    """A group: its name, how many it rests on, and its value and interval, or the word that stands for them."""

    name: str
    shown: str
    """The value as text, or the word."""
    value: float | None
    ends: tuple[float, float] | None = None
    below: str = ""
    """A second line under the name."""
    heading: bool = False


def forest(label: str, rows: Sequence[Row], axis: Scale, *, reference: float | None) -> Markup:
    """Draw the rows from top to bottom.

    Args:
        label: what a reader who can't see it is told.
        rows: a heading has a name alone.
        axis: horizontal.
        reference: value of all, or of no difference; None draws no line.
    """
    end = _WIDTH - _RIGHT
    height = _HEAD + _ROW * len(rows) + _FOOT
    bottom = height - _FOOT
    parts = []
    for value, name in axis.ticks:
        x = axis.place(value, _LEFT, end)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_HEAD:g}" x2="{x:.1f}" y2="{bottom:g}"/>')
        parts.append(text(x, bottom + 14, name, kind="tick", anchor="middle"))
    if reference is not None:
        x = axis.place(reference, _LEFT, end)
        parts.append(f'<line class="ideal" x1="{x:.1f}" y1="{_HEAD:g}" x2="{x:.1f}" y2="{bottom:g}"/>')
    for index, row in enumerate(rows):
        parts += _row(row, _HEAD + _ROW * (index + 0.5), axis, end)
    parts.append(text((_LEFT + end) / 2, height - 8, axis.title, kind="axis", anchor="middle"))
    return picture(label, _WIDTH, round(height), parts)


def _row(row: Row, y: float, axis: Scale, end: float) -> list[str]:
    if row.heading:
        return [text(0.0, y + 5, row.name, kind="group")]
    parts = [text(8.0, y + (-1 if row.below else 4), row.name, kind="name")]
    if row.below:
        parts.append(text(8.0, y + 11, row.below, kind="tick"))
    if row.value is None:
        return [*parts, text(_LEFT + 4, y + 4, row.shown, kind="tick")]
    if row.ends is not None:
        low, high = (axis.place(value, _LEFT, end) for value in row.ends)
        parts.append(f'<line class="whisker s0" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>')
    x = axis.place(row.value, _LEFT, end)
    parts.append(f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>')
    return [*parts, text(_WIDTH - 2.0, y + 4, row.shown, kind="name", anchor="end")]
