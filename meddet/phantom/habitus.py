"""How head and neck are outlined: column, nape, fascia and throat as curves, and the grain of the muscles."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from meddet.phantom.canal import dens_frame
from meddet.phantom.raster import Canvas, Number, upsample
from meddet.phantom.spine import Spine

TOP_MM, BOTTOM_MM = -150.0, 260.0
POINTS = 60
"""Points of a curve that is given as a line."""
_SKULL = np.array([(84.5, 150.0), (85.5, 110), (84.5, 85), (82, 68), (77, 57)])
"""Outer table of the occiput: offset to the back and height above C2/3, down to the inion."""


@dataclass(frozen=True)
class Habitus:
    """Outline of head and neck; x of each curve is read at the heights `y`."""

    y: Float[ndarray, " n"]
    column: Float[ndarray, " n"]
    """Middle of the vertebral column."""
    nape: Float[ndarray, " n"]
    """Skin of occiput, nape and back."""
    fascia: Float[ndarray, " n"]
    """Border between muscle (above the inion: skull) and the fat under the skin."""
    throat: Float[ndarray, " n"]
    """Skin of the front of the neck and chest; of the face above the chin, see `paint_face`."""
    inion: Float[ndarray, " 2"]
    """Where the muscles of the nape end on the occiput."""
    crown: float
    """Height above which the skin is that of the head."""
    size: float

    def x(self, curve: Float[ndarray, " n"], y: ndarray) -> Float[ndarray, " m"]:
        """Read a curve at other heights."""
        return np.interp(y, self.y, curve)

    def line(
        self, curve: Float[ndarray, " n"], start: Number, end: Number, shift: Number | ndarray = 0.0
    ) -> Float[ndarray, "m 2"]:
        """Give a curve as points, from one height to another."""
        y = np.linspace(start, end, POINTS)
        return np.stack([self.x(curve, y) + shift, y], axis=1)


def draw_habitus(spine: Spine, size: float, rng: np.random.Generator) -> Habitus:
    """Draw the outline: how fat the nape is, how it folds, how far the throat stands out."""
    y = np.arange(TOP_MM, BOTTOM_MM, 1.0)
    below = spine.centres[-1] + 60 * spine.tangent(len(spine.centres) - 1)
    head = TOP_MM * np.tan(0.6 * spine.angles[0])
    knots = np.concatenate([[[head, TOP_MM]], spine.centres, below[None]])
    column = gaussian_filter1d(np.interp(y, knots[:, 1], knots[:, 0]), 10)
    fat = float(np.clip(rng.gamma(5, 3.0), 6, 35))
    muscle_y = np.array([-20, 10, 45, 80, 110, 150, 200, 260.0]) * size
    muscle = np.array([58, 49, 47, 53, 57, 56, 55, 55.0]) * size * rng.normal(1, 0.035)
    skull = dens_frame(spine, _SKULL[:, 1], _SKULL[:, 0])
    edge = np.concatenate(
        [skull, np.stack([np.interp(muscle_y, y, column) + muscle, muscle_y], axis=1)[skull[-1, 1] < muscle_y - 12]]
    )
    fascia = gaussian_filter1d(np.interp(y, edge[:, 1], edge[:, 0]), 6)
    fat_y = np.array([TOP_MM, 0, 0, -55, -20, 10, 45, 80, 110, 150, 200, 260.0]) * size
    fat_y[1:3] = skull[2, 1] - 8, skull[3, 1] - 8
    share = np.array([0, 0, 0.14, 0.4, 0.62, 0.62, 0.7, 1.15, 1.3, 1.05, 0.9, 0.8])
    thick = np.interp(y, fat_y, share * fat + np.maximum(5.5 - 3.5 * share, 2.5))
    nape = fascia + gaussian_filter1d(thick * (1 + 0.08 * np.sin(y / rng.uniform(9, 16) + rng.uniform(0, 6))), 7)
    nape = nape - _folds(y, fat, rng)
    throat_y = np.array([TOP_MM, -100, 10, 34, 50, 70, 100, 122, 150, 200, 260.0]) * size
    throat = np.array([80, 80, 60, 50, 49, 45, 42, 43, 54, 72, 90.0]) * size * rng.normal(1, 0.05) + rng.uniform(0, 5)
    bump = rng.uniform(0, 4) * np.exp(-(((y - 48 * size) / 9) ** 2))
    front = column - gaussian_filter1d(np.interp(y, throat_y, throat) + bump, 6)
    crown = float(dens_frame(spine, np.array([90.0]), np.array([88.0]))[0, 1])
    return Habitus(y, column, nape, fascia, front, skull[-1], crown, size)


def _folds(y: ndarray, fat: float, rng: np.random.Generator) -> ndarray:
    """Draw creases of the nape: narrow, deeper in a fat neck, with soft rolls between them."""
    rolls = sum(rng.uniform(0, 0.6 + 0.05 * fat) * np.exp(-(((y - at) / 9) ** 2)) for at in rng.uniform(-15, 45, 3))
    deep = (rng.random(3) < 0.2 + 0.015 * fat) * rng.uniform(1, 1.5 + 0.1 * fat, 3)
    wide = rng.uniform(1.8, 3.5, 3)
    places = rng.uniform(-25, 50, 3)
    return rolls + sum(deep[k] * np.exp(-(((y - places[k]) / wide[k]) ** 2)) for k in range(3))


def streaks(canvas: Canvas, habitus: Habitus, rng: np.random.Generator) -> Float[ndarray, "s s"]:
    """Draw a field of mean 0 whose fibres run along the column: fat between muscle bundles, septa in fat."""
    step = 2
    side = canvas.side // step
    pixel = canvas.pixel_mm * step
    coarse = gaussian_filter(rng.standard_normal((max(side // 8, 4), 2 * side)), (9 / pixel / 8, 0.7 / pixel))
    noise = upsample(coarse / coarse.std(), (side, 2 * side))
    rows = np.arange(side) * pixel
    points = np.stack([habitus.x(habitus.column, habitus.y), habitus.y], axis=1)
    curve = canvas.to_image(points)
    shift = np.interp(rows, curve[:, 1], curve[:, 0]) / pixel * 0.85
    index = np.clip(np.arange(side)[None] - shift[:, None] + side * 0.75, 0, 2 * side - 1).astype(np.int64)
    field = np.take_along_axis(noise, index, axis=1)
    return np.repeat(np.repeat(field, step, axis=0), step, axis=1)
