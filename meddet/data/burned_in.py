"""Text that somebody burned into the pixels near the borders, where workstations write names and dates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Int

from meddet.data.scan import Refused

_BAND = 0.2
_STROKE_PX = 9
_CONTRAST = 0.2
_HEIGHT_PX = (5, 40)
_LEAST_BRIGHTNESS = 0.45
_LINES: tuple[tuple[int, float, float], ...] = ((4, 0.02, 0.7), (6, 0.035, 0.55), (7, 0.035, 0.5))
"""Least letters, most spread of their brightness, least sharpness: short lines as drawn, longer ones resampled too."""
_OVERLAP = 0.15
"""Letters of a line overlap by at most that share of their height; slanted stripes overlap by more."""
_CLUTTER = 3.0
"""Specks per letter around a line above which it is none."""
_EIGHT_NEIGHBOURS = np.ones((3, 3))

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Glyph:
    """A letter-sized component; `outer` where its centre lies in the border band."""

    label: int
    x1: int
    y1: int
    x2: int
    y2: int
    outer: bool

    @property
    def height(self) -> int:
        return self.y2 - self.y1


def find_burned_in_text(pixels: Float[np.ndarray, "h w"]) -> list[Box]:
    """Find lines of bright text, horizontal or vertical, that reach into the outer fifth of an image, as xyxy boxes.

    A line is a row of letter-sized bright components on a common edge that share one grey value and have edges sharper
    than any scanner's. `pixels` are in [0, 1]; calibrated for letters 8 to 24 pixels high, brighter by 0.3 than what
    is under them and than 0.45. Dark text, single letters and handwriting are not found: BurnedInAnnotation and a look
    remain necessary.
    """
    across = _find_lines(pixels)
    down = [(x1, y1, x2, y2) for y1, x1, y2, x2 in _find_lines(np.ascontiguousarray(pixels.T))]
    return sorted(across + down)


def refuse_burned_in_text(pixels: Float[np.ndarray, "h w"]) -> None:
    """Refuse an image with text at its borders.

    Errors:
        Refused: with the places, in pixels.
    """
    boxes = find_burned_in_text(pixels)
    if boxes:
        places = ", ".join(str(list(box)) for box in boxes[:3])
        raise Refused(f"expected an image without writing, found what looks like text near the border at {places}")


def _find_lines(pixels: Float[np.ndarray, "h w"]) -> list[Box]:
    raised = pixels - scipy.ndimage.grey_opening(pixels, size=(_STROKE_PX, _STROKE_PX))
    labels, _ = scipy.ndimage.label(raised > _CONTRAST, structure=_EIGHT_NEIGHBOURS)
    lines: list[list[_Glyph]] = []
    for glyph in _find_glyphs(labels):
        line = next((line for line in lines if _continues(line[-1], glyph)), None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    shortest = min(count for count, _, _ in _LINES)
    long_enough = [line for line in lines if len(line) >= shortest and any(glyph.outer for glyph in line)]
    read = {glyph.label for line in long_enough for glyph in line}
    return [
        _frame(line)
        for line in long_enough
        if _is_text(line, pixels, raised, labels) and not _lost_in_clutter(line, labels, read)
    ]


def _find_glyphs(labels: Int[np.ndarray, "h w"]) -> list[_Glyph]:
    """Give the components of a letter's size, from left to right."""
    height, width = labels.shape
    glyphs = []
    for label, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if _HEIGHT_PX[0] <= tall <= _HEIGHT_PX[1] and wide <= 2 * tall:
            outer = _outer(rows, height) or _outer(columns, width)
            glyphs.append(_Glyph(label, columns.start, rows.start, columns.stop, rows.stop, outer))
    return sorted(glyphs, key=lambda glyph: (glyph.x1, glyph.y1))


def _outer(extent: slice, size: int) -> bool:
    centre = (extent.start + extent.stop) / 2
    return not _BAND * size <= centre <= (1 - _BAND) * size


def _continues(last: _Glyph, glyph: _Glyph) -> bool:
    """Say whether a glyph stands beside the last of a line: one letter's gap, a like height, one edge in common."""
    taller, lower = max(last.height, glyph.height), min(last.height, glyph.height)
    slack = max(1.0, 0.15 * taller)
    aligned = abs(last.y2 - glyph.y2) <= slack or abs(last.y1 - glyph.y1) <= slack
    return -_OVERLAP * taller <= glyph.x1 - last.x2 <= taller <= 2 * lower and aligned


def _lost_in_clutter(line: Sequence[_Glyph], labels: Int[np.ndarray, "h w"], read: set[int]) -> bool:
    """Say whether as many specks as letters stand around a line that belong to no line: noise and stripes, not text."""
    x1, y1, x2, y2 = _frame(line)
    margin = max(glyph.height for glyph in line)
    around = labels[max(0, y1 - margin) : y2 + margin, max(0, x1 - margin) : x2 + margin]
    specks = set(np.unique(around).tolist()) - read - {0}
    return len(specks) > _CLUTTER * len(line)


def _is_text(
    line: Sequence[_Glyph],
    pixels: Float[np.ndarray, "h w"],
    raised: Float[np.ndarray, "h w"],
    labels: Int[np.ndarray, "h w"],
) -> bool:
    """Compare the letters' brightness with each other, and the steps at their edges with their contrast."""
    brightness, sharpness = [], []
    for glyph in line:
        inside = labels[glyph.y1 : glyph.y2, glyph.x1 : glyph.x2] == glyph.label
        brightness.append(pixels[glyph.y1 : glyph.y2, glyph.x1 : glyph.x2][inside].max())
        around = pixels[max(0, glyph.y1 - 1) : glyph.y2 + 2, max(0, glyph.x1 - 1) : glyph.x2 + 2]
        down, right = np.abs(np.diff(around, axis=0))[:, :-1], np.abs(np.diff(around, axis=1))[:-1]
        contrast = raised[glyph.y1 : glyph.y2, glyph.x1 : glyph.x2][inside].max()
        sharpness.append(np.percentile(np.maximum(down, right), 90) / contrast)
    level = np.median(brightness)
    if level < _LEAST_BRIGHTNESS:
        return False
    spread = np.median(np.abs(brightness - level))
    steep = np.median(sharpness)
    return any(len(line) >= count and spread <= most and steep >= least for count, most, least in _LINES)


def _frame(line: Sequence[_Glyph]) -> Box:
    return (
        min(glyph.x1 for glyph in line),
        min(glyph.y1 for glyph in line),
        max(glyph.x2 for glyph in line),
        max(glyph.y2 for glyph in line),
    )
