"""What a file holds before windowing, and the window that makes an image of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from meddet.data.upright import Turn

_LINE = 200
_LARGEST = 1e30
"""Beyond, differences of float64 values may overflow."""


@dataclass(frozen=True)
class Scan:
    """One slice in the file's own unit.

    Pixels that are not `valid` (padding, NaN) become 0. `window` holds the values that become 0 and 1, None where the
    file names no window. An `inverted` scan shows high values dark. `spacing_mm` is (row, column). `to_upright` sets
    superior up and anterior left; None where the file doesn't know, or knows that the plane isn't sagittal. `largest`
    is what a picture of its depth can hold, None where values have no such bound.
    """

    values: Float[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"]
    spacing_mm: tuple[float, float] | None
    window: tuple[float, float] | None = None
    inverted: bool = False
    to_upright: Turn | None = None
    largest: float | None = None


BRIGHT = 99.9
"""Percentile that stands for the brightest of an image."""


def brightness(scan: Scan) -> float | None:
    """Give the brightest level (99.9 %) as a share, 0 to 1, of the file's own window or of what a picture can hold.

    It tells the intensity scale, which a window by percentiles takes away. None where the file names no range.
    """
    low, high = scan.window or (0.0, scan.largest or 0.0)
    inside = scan.values[scan.valid]
    if high <= low or not inside.size:
        return None
    level = float(np.percentile(inside, 100 - BRIGHT if scan.inverted else BRIGHT))
    share = min(max((level - low) / (high - low), 0.0), 1.0)
    return 1 - share if scan.inverted else share


def windowed(scan: Scan, *, percentiles: tuple[float, float]) -> Float[np.ndarray, "h w"]:
    """Map a scan to float32 in [0, 1], by its own window or by percentiles of its valid pixels.

    A constant scan becomes 0 everywhere.

    Errors:
        Refused: no valid pixel, or numbers too large to scale.
    """
    blank = np.zeros(scan.values.shape, dtype=np.float32)
    inside = scan.values[scan.valid]
    if not inside.size:
        raise Refused("expected pixels, got padding or no numbers everywhere")
    if np.abs(inside).max() > _LARGEST:
        raise Refused(f"expected values up to {_LARGEST:g}, got larger ones")
    low, high = scan.window or tuple(np.percentile(inside, percentiles).tolist())
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    if high <= low:
        return blank
    unit = np.clip((np.where(scan.valid, scan.values, low) - low) / (high - low), 0, 1)
    if scan.inverted:
        unit = 1 - unit
    return np.where(scan.valid, unit, 0).astype(np.float32)


class Refused(Exception):  # noqa: N818 - what was expected and what came, before it is joined to the file's name
    """Says what is wrong with a file, without naming it."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn a refusal into a ValueError that names the file."""
    try:
        yield
    except Refused as refusal:
        raise ValueError(f"{path}: {refusal}") from None


def check_size(rows: int, columns: int, *, max_pixels: int) -> None:
    """Refuse what is empty or too large to decode."""
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        raise Refused(f"expected an image of 1 to {max_pixels} pixels, got {rows} x {columns}")


def one_line(error: Exception) -> str:
    """Say what a library said, on one short line, without what it quotes: that may be a patient's name.

    pydicom puts a traceback into some of its messages: that goes, too.
    """
    said = " ".join(str(error).partition("Traceback")[0].split())
    text = re.sub(r"(['\"]).*?\1", "...", said)
    return text[:_LINE] or type(error).__name__
