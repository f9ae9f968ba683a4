"""NIfTI volumes and the sagittal slices in them."""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from jaxtyping import Shaped
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from meddet.data.scan import Refused, Scan, one_line
from meddet.data.upright import Turn

_BROKEN = (EOFError, OSError, OverflowError, TypeError, ValueError, zlib.error)
_BROKEN_HEADER = (ImageFileError, HeaderDataError, HeaderTypeError)
_MAX_HEADER = 2**20
"""Header and extensions; scanners write some kilobytes."""
_MAX_BYTES_PER_VOXEL = 2
"""On the average of `max_pixels` voxels: smaller volumes may have wider ones."""


@dataclass(frozen=True)
class Volume:
    """A volume as stored, and how its axes run.

    `axes` are the array's axes that run nearest to right, front and up, `flips` tell which of them run the other way.
    `spacing_mm` is in the order right, front, up; None where the header has no positive one.
    """

    stored: Shaped[np.ndarray, "i j k"]
    slope: float
    intercept: float
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float] | None

    @property
    def num_slices(self) -> int:
        """Count the sagittal slices."""
        return self.stored.shape[self.axes[0]]

    def sagittal(self, index: int) -> Scan:
        """Cut the slice that the file counts as `index`: superior at the top, anterior at the left."""
        across, front, up = self.axes
        plane = self.stored.take(index, axis=across)
        if front < up:
            plane = plane.T
        plane = plane[:: 1 if self.flips[2] else -1, :: 1 if self.flips[1] else -1]
        values = plane.astype(np.float64) * self.slope + self.intercept
        spacing = (self.spacing_mm[2], self.spacing_mm[1]) if self.spacing_mm else None
        return Scan(values=values, valid=np.isfinite(values), spacing_mm=spacing, to_upright=Turn())


def read_volume(path: Path, *, max_pixels: int) -> Volume:
    """Read a volume. A plane is a volume of one slice.

    The header is read first, from the file's bounded beginning; what it promises bounds the rest.

    Errors:
        Refused: not NIfTI, truncated, more than `max_pixels` voxels (before decoding), not scalar, or 4-D.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as source:
            start = source.read(_MAX_HEADER)
            kind, header = _header(start)
            shape = _spatial_shape(header.get_data_shape())
            size = int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize
            if int(np.prod(shape, dtype=object)) > max_pixels or size > _MAX_BYTES_PER_VOXEL * max_pixels:
                raise Refused(f"expected at most {max_pixels} voxels, got {shape} of {header.get_data_dtype()}")
            if header.get_data_dtype().kind not in "buif":
                raise Refused(f"expected one number per voxel, got {header.get_data_dtype()}")
            offset = header.get_data_offset()
            if offset > _MAX_HEADER:
                raise Refused(f"expected voxels from byte {_MAX_HEADER} on at the latest, got {offset}")
            content = start + source.read(max(0, offset + size - len(start)))
        file = kind.from_stream(io.BytesIO(content[: offset + size]))
        return _volume(file, shape)
    except _BROKEN_HEADER as error:
        raise Refused(f"expected a NIfTI file, got: {one_line(error)}") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole NIfTI volume, got: {one_line(error)}") from None


def _header(start: bytes) -> tuple[type[nibabel.Nifti1Image], nibabel.Nifti1Header]:
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        if kind.header_class.may_contain_header(start[: kind.header_class.sizeof_hdr]):
            return kind, kind.header_class.from_fileobj(io.BytesIO(start[: kind.header_class.sizeof_hdr]))
    raise Refused("expected a NIfTI file, got one without its mark")


def _volume(file: nibabel.Nifti1Image, shape: tuple[int, int, int]) -> Volume:
    orientation = nibabel.io_orientation(file.affine)
    if np.isnan(orientation).any():
        raise Refused("expected an orientation in the header, got a degenerate affine")
    places = [int(axis) for axis in orientation[:, 0]]
    right, front, up = (places.index(axis) for axis in range(3))
    sizes = [float(size) for size in nibabel.affines.voxel_sizes(file.affine)]
    voxels = cast(ArrayProxy, file.dataobj)
    return Volume(
        stored=voxels.get_unscaled().reshape(shape),
        slope=float(voxels.slope),
        intercept=float(voxels.inter),
        axes=(right, front, up),
        flips=(bool(orientation[right, 1] < 0), bool(orientation[front, 1] < 0), bool(orientation[up, 1] < 0)),
        spacing_mm=(sizes[right], sizes[front], sizes[up]) if min(sizes) > 0 else None,
    )


def _spatial_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Drop trailing axes of length 1, or add them to a plane."""
    rows, columns, slices, *more = (*shape, 1, 1)[: max(3, len(shape))]
    if len(shape) < 2 or any(size != 1 for size in more) or min(rows, columns, slices) < 1:
        raise Refused(f"expected a volume of three axes, got shape {shape}")
    return rows, columns, slices
