"""NIfTI volumes and the sagittal slices in them."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError, SpatialImage

from meddet.data.scan import Refused, Scan, one_line

_BROKEN = (EOFError, OSError, OverflowError, TypeError, ValueError, zlib.error)
_BROKEN_HEADER = (ImageFileError, HeaderDataError, HeaderTypeError)


@dataclass(frozen=True)
class Volume:
    """A volume whose axes run to the right, to the front and up.

    `spacing_mm` follows the axes; None where the header has no positive one. `flipped` says that the file counts
    sagittal slices from right to left.
    """

    values: Float[np.ndarray, "x y z"]
    spacing_mm: tuple[float, float, float] | None
    flipped: bool

    @property
    def num_slices(self) -> int:
        """Count the sagittal slices."""
        return self.values.shape[0]

    def sagittal(self, index: int) -> Scan:
        """Cut the slice that the file counts as `index`: superior at the top, anterior at the left."""
        across = self.num_slices - 1 - index if self.flipped else index
        values = np.ascontiguousarray(self.values[across, ::-1, ::-1].T)
        spacing = (self.spacing_mm[2], self.spacing_mm[1]) if self.spacing_mm else None
        return Scan(values=values, valid=np.isfinite(values), spacing_mm=spacing)


def read_volume(path: Path, *, max_pixels: int) -> Volume:
    """Read a volume and turn its axes to the nearest of right, anterior, superior. A plane is a volume of one slice.

    Errors:
        Refused: not NIfTI, truncated, more than `max_pixels` voxels (before decoding), not scalar, or 4-D.
    """
    try:
        file = nibabel.load(path)
        if not isinstance(file, SpatialImage):
            raise Refused(f"expected a NIfTI volume, got {type(file).__name__}")
        shape = _spatial_shape(file.shape)
        if int(np.prod(shape, dtype=object)) > max_pixels:
            raise Refused(f"expected at most {max_pixels} voxels, got {shape}")
        if file.get_data_dtype().kind not in "buif":
            raise Refused(f"expected one number per voxel, got {file.get_data_dtype()}")
        values = np.asarray(file.dataobj, dtype=np.float64).reshape(shape)
        spacing = [float(size) for size in nibabel.affines.voxel_sizes(file.affine)]
        orientation = nibabel.io_orientation(file.affine)
        if np.isnan(orientation).any():
            raise Refused("expected an orientation in the header, got a degenerate affine")
    except _BROKEN_HEADER as error:
        raise Refused(f"expected a NIfTI file, got: {one_line(error)}") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole NIfTI volume, got: {one_line(error)}") from None
    axes = [int(axis) for axis in orientation[:, 0]]
    right, front, up = (spacing[axes.index(axis)] for axis in range(3))
    return Volume(
        values=nibabel.apply_orientation(values, orientation),
        spacing_mm=(right, front, up) if min(spacing) > 0 else None,
        flipped=bool(orientation[axes.index(0), 1] < 0),
    )


def _spatial_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Drop trailing axes of length 1, or add them to a plane."""
    rows, columns, slices, *more = (*shape, 1, 1)[: max(3, len(shape))]
    if len(shape) < 2 or any(size != 1 for size in more) or min(rows, columns, slices) < 1:
        raise Refused(f"expected a volume of three axes, got shape {shape}")
    return rows, columns, slices
