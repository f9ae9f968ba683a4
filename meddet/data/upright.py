"""Turning a stored sagittal slice so that superior is up and anterior is left, and its boxes with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Shaped

Axis = TypeVar("Axis")


@dataclass(frozen=True)
class Turn:
    """A turn of an image by quarters, perhaps with a reflection: first `transpose`, then the flips."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def pixels(self, pixels: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "rows columns"]:
        """Turn an image."""
        turned = pixels.T if self.transpose else pixels
        turned = turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(turned)

    def boxes(self, boxes: Float[np.ndarray, "n 4"], size: tuple[int, int]) -> Float[np.ndarray, "n 4"]:
        """Turn xyxy boxes with their image, whose `size` before the turn is (height, width)."""
        height, width = self.of_axes(size)
        x1, y1, x2, y2 = (boxes[:, [1, 0, 3, 2]] if self.transpose else boxes).T
        if self.flip_columns:
            x1, x2 = width - x2, width - x1
        if self.flip_rows:
            y1, y2 = height - y2, height - y1
        return np.stack([x1, y1, x2, y2], axis=1)

    def of_axes(self, pair: tuple[Axis, Axis]) -> tuple[Axis, Axis]:
        """Turn what belongs to rows and columns: a size or a spacing."""
        return (pair[1], pair[0]) if self.transpose else pair

    def inverse(self) -> "Turn":
        """Give the turn back."""
        return Turn(self.transpose, *self.of_axes((self.flip_rows, self.flip_columns)))


def upright(orientation: Sequence[float]) -> Turn | None:
    """Give the turn that sets a slice upright; None where the plane isn't nearest to sagittal.

    Args:
        orientation: ImageOrientationPatient: where columns, then rows, count to; x left, y posterior, z superior.
    """
    along_row, down_column = np.array(orientation[:3]), np.array(orientation[3:])
    if np.abs(np.cross(along_row, down_column)).argmax() != 0:
        return None
    transpose = bool(abs(along_row[2]) > abs(along_row[1]))
    to_back, to_feet = (down_column, along_row) if transpose else (along_row, down_column)
    return Turn(transpose, flip_rows=bool(to_feet[2] > 0), flip_columns=bool(to_back[1] < 0))
