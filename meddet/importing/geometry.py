"""Where the pixels of a slice lie in the patient, in mm: x to the left, y to the back, z up (DICOM's LPS)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset

_SQUARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Plane:
    """A slice: the outer corner of its first pixel, and one step to the next column and the next row."""

    corner: tuple[float, float, float]
    column_step: tuple[float, float, float]
    row_step: tuple[float, float, float]

    @property
    def normal(self) -> Float[np.ndarray, " 3"]:
        """Give the unit vector across the slice."""
        across = np.cross(self.column_step, self.row_step)
        return across / np.linalg.norm(across)

    @property
    def position(self) -> float:
        """Give the place along the normal, in mm."""
        return float(self.normal @ np.array(self.corner))

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Turn points in mm into column, row (pixels, 0 at the outer edge) and distance along the normal in mm."""
        axes = np.stack([self.column_step, self.row_step, self.normal], axis=1)
        return np.linalg.solve(axes, (points - np.array(self.corner)).T).T


def dicom_plane(header: Dataset) -> Plane | None:
    """Read a frame's plane; None where an element is missing or degenerate."""
    keywords = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    if any(not header.get(keyword) for keyword in keywords):
        return None
    position, orientation, spacing = (np.array([float(v) for v in header[keyword].value]) for keyword in keywords)
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        return None
    column_step, row_step = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    return _plane(position - (column_step + row_step) / 2, column_step, row_step)


def nifti_plane(
    affine: Float[np.ndarray, "4 4"], shape: Sequence[int], index: int, size: tuple[int, int]
) -> Plane | None:
    """Give the plane of a volume's sagittal slice as it is shown: superior up, anterior left, square pixels.

    Args:
        affine: of the volume with its axes to the right, front and up (RAS).
        shape: of that volume.
        index: of the slice, from the left.
        size: (width, height) of the slice after resampling.
    """
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    first = to_lps @ np.array([index, shape[1] - 0.5, shape[2] - 0.5, 1.0])
    column_step = -to_lps[:, 1] * shape[1] / size[0]
    row_step = -to_lps[:, 2] * shape[2] / size[1]
    return _plane(first, column_step, row_step)


def square_size(shape: tuple[int, int], spacing_mm: tuple[float, float] | None) -> tuple[int, int]:
    """Give rows and columns after resampling to square pixels of the finer spacing."""
    if spacing_mm is None or np.ptp(spacing_mm) <= _SQUARE_TOLERANCE * min(spacing_mm):
        return shape
    rows, columns = (round(size * spacing / min(spacing_mm)) for size, spacing in zip(shape, spacing_mm, strict=True))
    return rows, columns


def _plane(
    corner: Float[np.ndarray, " 3"], column_step: Float[np.ndarray, " 3"], row_step: Float[np.ndarray, " 3"]
) -> Plane | None:
    values = np.stack([corner, column_step, row_step])
    if not np.isfinite(values).all() or np.linalg.norm(np.cross(column_step, row_step)) < 1e-6:
        return None
    triples = [(float(x), float(y), float(z)) for x, y, z in values]
    return Plane(*triples)
