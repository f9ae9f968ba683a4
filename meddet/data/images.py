"""From a file of the clinic to pixels in [0, 1], and to the canonical 16-bit PNG and back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from meddet.data.dicom import is_dicom, read_dicom
from meddet.data.nifti import Volume, read_volume
from meddet.data.png import encode_grey16, read_grey16, read_png
from meddet.data.scan import Refused, Scan, check_size, naming, windowed
from meddet.files import write_atomic

_SQUARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Image:
    """One sagittal slice, float32 in [0, 1]. `spacing_mm` is (row, column), None where the file doesn't say."""

    pixels: Float[np.ndarray, "h w"]
    spacing_mm: tuple[float, float] | None


def read_image(path: Path, *, percentiles: tuple[float, float], max_pixels: int) -> Image:
    """Read a file that holds one image: DICOM of one frame, grey PNG, or NIfTI of one sagittal slice.

    Pixels keep the file's size; where it names no window, `percentiles` become 0 and 1.

    Errors:
        ValueError: one line with the file, what was expected and what came.
    """
    with naming(path):
        scan = _read(path, max_pixels=max_pixels)
        if isinstance(scan, Volume):
            if scan.num_slices != 1:
                raise Refused(f"expected one sagittal slice, got {scan.num_slices}")
            scan = scan.sagittal(0)
    return Image(pixels=windowed(scan, percentiles=percentiles), spacing_mm=scan.spacing_mm)


def read_slices(
    path: Path, *, percentiles: tuple[float, float], max_pixels: int, count: int = 3
) -> list[tuple[str, Image]]:
    """Read the middle `count` sagittal slices of a volume, named "sag_025" by the file's own numbering.

    Slices of a volume are resampled to square pixels. A file of one image gives one item named "".

    Errors:
        ValueError: as `read_image`.
    """
    with naming(path):
        scan = _read(path, max_pixels=max_pixels)
        if isinstance(scan, Scan):
            return [("", Image(pixels=windowed(scan, percentiles=percentiles), spacing_mm=scan.spacing_mm))]
        count = min(count, scan.num_slices)
        first = min(max(0, scan.num_slices // 2 - count // 2), scan.num_slices - count)
        slices = []
        for index in range(first, first + count):
            cut = scan.sagittal(index)
            image = Image(pixels=windowed(cut, percentiles=percentiles), spacing_mm=cut.spacing_mm)
            slices.append((f"sag_{index:03d}", _square(image, max_pixels=max_pixels)))
        return slices


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


def _read(path: Path, *, max_pixels: int) -> Scan | Volume:
    _check_file(path)
    name = path.name.lower()
    if name.endswith(".png"):
        return read_png(path, max_pixels=max_pixels)
    if name.endswith((".nii", ".nii.gz")):
        return read_volume(path, max_pixels=max_pixels)
    if name.endswith(".dcm") or is_dicom(path):
        return read_dicom(path, max_pixels=max_pixels)
    raise Refused("expected DICOM (.dcm), NIfTI (.nii, .nii.gz) or PNG (.png), got another kind of file")


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
    return Image(pixels=np.clip(pixels, 0, 1).astype(np.float32), spacing_mm=(side, side))
