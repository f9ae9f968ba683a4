"""From a file of the clinic to pixels in [0, 1], and to the canonical 16-bit PNG and back."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from meddet.data.dicom import Frames, is_dicom, read_dicom
from meddet.data.nifti import Volume, read_volume
from meddet.data.png import encode_grey16, read_grey16, read_png
from meddet.data.scan import Refused, Scan, brightness, check_size, naming, windowed
from meddet.data.tiff import read_tiff
from meddet.data.upright import Turn
from meddet.files import write_atomic

_SQUARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Image:
    """One sagittal slice, float32 in [0, 1]. `spacing_mm` is (row, column), None where the file doesn't say.

    `to_upright` is the turn that sets superior up and anterior left, None where the file doesn't know. `brightness` is
    that of the file's values before percentiles of them were made the window (`scan.brightness`).
    """

    pixels: Float[np.ndarray, "h w"]
    spacing_mm: tuple[float, float] | None
    to_upright: Turn | None = None
    brightness: float | None = None


def read_image(path: Path, *, percentiles: tuple[float, float], max_pixels: int) -> Image:
    """Read a file that holds one image: DICOM of one frame, grey PNG or TIFF, or NIfTI of one sagittal slice.

    Pixels keep the file's size and order; where it names no window, `percentiles` become 0 and 1.

    Errors:
        ValueError: one line with the file, what was expected and what came.
    """
    with naming(path):
        found = _read(path, max_pixels=max_pixels)
        if isinstance(found, Volume):
            if found.num_slices != 1:
                raise Refused(f"expected one sagittal slice, got {found.num_slices}")
            found = found.sagittal(0)
        if isinstance(found, Frames):
            if len(found.order) != 1:
                raise Refused(f"expected one frame, got {len(found.order)}")
            found = found.scan(0)
        return _image(found, percentiles)


def read_slices(
    path: Path, *, percentiles: tuple[float, float], max_pixels: int, count: int = 3
) -> list[tuple[str, Image]]:
    """Read the middle `count` slices of a volume or of several frames, named "sag_025" or "frame_012" by the file.

    Slices of a volume are resampled to square pixels; frames, sorted by position, keep theirs. A file of one image
    gives one item named "".

    Errors:
        ValueError: as `read_image`, and where a slice has one value everywhere: nothing can be found on it.
    """
    with naming(path):
        found = _read(path, max_pixels=max_pixels)
        if isinstance(found, Scan):
            return [("", _picture(found, percentiles))]
        if isinstance(found, Frames):
            if len(found.order) == 1:
                return [("", _picture(found.scan(0), percentiles))]
            chosen = [found.order[place] for place in _middle(len(found.order), count)]
            return [(f"frame_{index + 1:03d}", _picture(found.scan(index), percentiles)) for index in chosen]
        cuts = [(f"sag_{index:03d}", found.sagittal(index)) for index in _middle(found.num_slices, count)]
        return [(name, _square(_picture(cut, percentiles), max_pixels=max_pixels)) for name, cut in cuts]


def write_canonical(path: Path, pixels: Float[np.ndarray, "h w"]) -> None:
    """Write pixels in [0, 1] as a 16-bit grey PNG, whole or not at all."""
    write_atomic(path, encode_grey16(pixels))


def read_canonical(path: Path) -> Float[np.ndarray, "h w"]:
    """Read what `write_canonical` wrote: float32 in [0, 1].

    Errors:
        ValueError: one line with the file.
    """
    with naming(path):
        _check_file(path)
        return (read_grey16(path) / 65535).astype(np.float32)


def _read(path: Path, *, max_pixels: int) -> Scan | Volume | Frames:
    _check_file(path)
    name = path.name.lower()
    if name.endswith(".png"):
        return read_png(path, max_pixels=max_pixels)
    if name.endswith((".tif", ".tiff")):
        return read_tiff(path, max_pixels=max_pixels)
    if name.endswith((".nii", ".nii.gz")):
        return read_volume(path, max_pixels=max_pixels)
    if name.endswith(".dcm") or is_dicom(path):
        return read_dicom(path, max_pixels=max_pixels)
    raise Refused("expected DICOM (.dcm), NIfTI (.nii, .nii.gz), PNG or TIFF, got another kind of file")


def _image(scan: Scan, percentiles: tuple[float, float]) -> Image:
    return Image(windowed(scan, percentiles=percentiles), scan.spacing_mm, scan.to_upright, brightness(scan))


def _picture(scan: Scan, percentiles: tuple[float, float]) -> Image:
    image = _image(scan, percentiles)
    if not np.ptp(image.pixels):
        raise Refused("expected an image, got one value everywhere")
    return image


def _middle(total: int, count: int) -> range:
    count = min(count, total)
    first = min(max(0, total // 2 - count // 2), total - count)
    return range(first, first + count)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise Refused(f"expected an image file, found {'a folder' if path.is_dir() else 'none'}")


def _square(image: Image, *, max_pixels: int) -> Image:
    """Resample to the finer of the two spacings, linearly, with the image's edges in place."""
    if image.spacing_mm is None or np.ptp(image.spacing_mm) <= _SQUARE_TOLERANCE * min(image.spacing_mm):
        return image
    side = min(image.spacing_mm)
    zoom = [spacing / side for spacing in image.spacing_mm]
    rows, columns = (round(size * factor) for size, factor in zip(image.pixels.shape, zoom, strict=True))
    check_size(rows, columns, max_pixels=max_pixels)
    pixels = scipy.ndimage.zoom(image.pixels, zoom, order=1, mode="nearest", grid_mode=True)
    return replace(image, pixels=np.clip(pixels, 0, 1).astype(np.float32), spacing_mm=(side, side))
