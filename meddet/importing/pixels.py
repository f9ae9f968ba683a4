"""One slice from its file to a 16-bit PNG that holds pixels and nothing else: upright, with square pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from meddet.data.burned_in import refuse_burned_in_text
from meddet.data.dicom import read_dicom
from meddet.data.images import write_canonical
from meddet.data.nifti import read_volume
from meddet.data.png import read_png
from meddet.data.scan import Refused, Scan, check_size, windowed
from meddet.data.tiff import read_tiff
from meddet.data.upright import Turn
from meddet.importing.geometry import square_size
from meddet.importing.header import Kind, Left, quotable
from meddet.importing.sources import Source

_WHOLE_RANGE = (0.0, 100.0)
"""Where a file names no window, ingest takes its percentiles; taking them twice would clip twice."""
_BLANK = 0.005


@dataclass(frozen=True)
class Job:
    """A slice to write."""

    source: Source
    kind: Kind
    index: int
    target: Path


@dataclass(frozen=True)
class Written:
    """A slice as it was written; `turn` and the `stored` size (height, width) take its boxes along.

    `windowed` says that the file's own window was applied, so that the whole range is to be shown as it is.
    """

    width: int
    height: int
    spacing_mm: tuple[float, float] | None
    turn: Turn
    stored: tuple[int, int]
    windowed: bool

    def boxes(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Take xyxy boxes from the file's pixels to those of the image that was written."""
        rows, columns = self.turn.of_axes(self.stored)
        x, y = self.width / columns, self.height / rows
        return self.turn.boxes(boxes, self.stored) * np.array([x, y, x, y])


def write_slice(job: Job, *, max_pixels: int) -> Written | Left:
    """Read a slice, check it and write it.

    Errors:
        ValueError: unreadable, or text in it; without the file's name and without anything that it holds.
    """
    try:
        scan = _read(job, max_pixels=max_pixels)
        pixels = windowed(scan, percentiles=_WHOLE_RANGE)
        if float(pixels.std()) < _BLANK:
            return Left("outside the intended use", "a blank image")
        refuse_burned_in_text(pixels)
        turn = scan.to_upright or Turn()
        stored = (pixels.shape[0], pixels.shape[1])
        pixels, spacing = _squared(
            turn.pixels(pixels), scan.spacing_mm and turn.of_axes(scan.spacing_mm), max_pixels=max_pixels
        )
        if job.kind == "nifti":
            stored = (pixels.shape[0], pixels.shape[1])
    except Refused as refusal:
        raise ValueError(quotable(str(refusal))) from None
    write_canonical(job.target, pixels)
    height, width = pixels.shape
    return Written(
        width=width, height=height, spacing_mm=spacing, turn=turn, stored=stored, windowed=scan.window is not None
    )


def _read(job: Job, *, max_pixels: int) -> Scan:
    if job.kind == "nifti":
        return read_volume(job.source.path, max_pixels=max_pixels).sagittal(job.index)
    if job.kind == "dicom":
        return read_dicom(job.source.path, max_pixels=max_pixels).scan(job.index)
    read = read_png if job.source.path.name.lower().endswith(".png") else read_tiff
    return read(job.source.path, max_pixels=max_pixels)


def _squared(
    pixels: Float[np.ndarray, "h w"], spacing_mm: tuple[float, float] | None, *, max_pixels: int
) -> tuple[Float[np.ndarray, "rows columns"], tuple[float, float] | None]:
    rows, columns = square_size((pixels.shape[0], pixels.shape[1]), spacing_mm)
    if spacing_mm is None or (rows, columns) == pixels.shape:
        return pixels, spacing_mm
    check_size(rows, columns, max_pixels=max_pixels)
    zoom = (rows / pixels.shape[0], columns / pixels.shape[1])
    finer = scipy.ndimage.zoom(pixels, zoom, order=1, mode="nearest", grid_mode=True)
    side = min(spacing_mm)
    return np.clip(finer, 0, 1).astype(np.float32), (side, side)
