"""The smooth fields over an image: receive sensitivity of the coil, and the saturation band in front of the column."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.frame import LAST_DISC, PAINTED_ABOVE_MM
from meddet.phantom.habitus import Habitus
from meddet.phantom.protocol import Coil
from meddet.phantom.raster import Canvas
from meddet.phantom.spine import Spine

CELLS = 96
"""Rows and columns of a field; `upsample` brings it to any image."""
_TILT = 0.93
"""Distance to the skin over the distance along x."""
_END_MM = 22.0
_BAND_SOFT_MM = 6.0


def places(canvas: Canvas, size_mm: tuple[float, float]) -> Float[ndarray, "n 2"]:
    """Give where the cells of a field over an image of that width and height lie in the column's frame."""
    x, y = np.meshgrid(*(np.arange(CELLS) / (CELLS - 1) * length for length in size_mm))
    return canvas.from_image(np.stack([x.ravel(), y.ravel()], axis=1))


def coil_gain(place: Float[ndarray, "n 2"], habitus: Habitus, coil: Coil, *, bias: int) -> Float[ndarray, "s s"]:
    """Give the receive sensitivity, 1 at the canal of C4/5; `bias` 1..3 makes its error 3 to 7 times as large."""
    from_back = np.maximum(habitus.x(habitus.nape, place[:, 1]) - place[:, 0], 0) * _TILT
    from_front = np.maximum(place[:, 0] - habitus.x(habitus.throat, place[:, 1]), 0) * _TILT
    level = np.array([33.0])
    middle = float(habitus.x(habitus.nape - habitus.column, level)[0]) * _TILT - 9
    before = float(habitus.x(habitus.column - habitus.throat, level)[0]) * _TILT + 9
    (back, back_decay), (front, front_decay) = coil.back, coil.front
    gain = 1 + back * np.exp(-from_back / back_decay) + front * np.exp(-from_front / front_decay)
    gain /= 1 + back * np.exp(-middle / back_decay) + front * np.exp(-before / front_decay)
    gain *= 1 - coil.front_loss * np.clip((from_back - middle - 15) / 110, 0, 1)
    amplitude, period, phase = coil.bands
    gain *= 1 + amplitude * np.cos(2 * np.pi * place[:, 1] / period + phase)
    axis = np.linspace(-1, 1, CELLS)
    v, u = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    c = np.array(coil.polynomial) * (1 + 2 * bias)
    gain *= np.maximum(1 + c[0] * u + c[1] * v + c[2] * u * v + c[3] * u**2 + c[4] * v**2, 0.2)
    gain *= 1 - coil.edge_loss * np.clip(np.abs(v) - 0.45, 0, 1) ** 1.5
    return gain.reshape(CELLS, CELLS)


def losses(place: Float[ndarray, "n 2"], habitus: Habitus, spine: Spine, coil: Coil) -> Float[ndarray, "s s"]:
    """Give the share of the signal that is left by the saturation band, and beyond the ends of the coil."""
    left = np.ones(len(place))
    if coil.ends:
        above = -PAINTED_ABOVE_MM * spine.size + _END_MM - place[:, 1]
        below = place[:, 1] - float(spine.centres[LAST_DISC, 1]) + _END_MM
        left *= np.exp(-((np.maximum(np.maximum(above, below), 0) / _END_MM) ** 2))
    if coil.saturation is not None:
        left *= _band(place, habitus, *coil.saturation)
    return left.reshape(CELLS, CELLS)


def _band(
    place: Float[ndarray, "n 2"], habitus: Habitus, distance: float, slope: float, left: float
) -> Float[ndarray, " n"]:
    column = habitus.x(habitus.column, np.array([0.0, 80.0]))
    lean = (column[1] - column[0]) / 80 + slope
    edge = column[0] + lean * place[:, 1] - distance
    inside = 1 / (1 + np.exp(np.clip((place[:, 0] - edge) / _BAND_SOFT_MM, -30, 30)))
    return 1 - (1 - left) * inside
