"""A canvas that takes head coordinates: mm from C2/3 of a mean adult, x to the back, y to the feet."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.canal import dens_frame
from meddet.phantom.raster import CORTEX, Canvas, Number, Outline, ribbon, spline
from meddet.phantom.spine import Spine

_FACE_FROM, _FACE_BLEND = -20.0, 35.0
"""In front of this x faces differ; behind it, at the joint of brain stem and cord, nothing moves."""


class Head:
    """Paints in head coordinates, bent to one patient's face."""

    def __init__(self, canvas: Canvas, spine: Spine, rng: np.random.Generator):
        self._canvas, self._spine = canvas, spine
        self._stretch = rng.normal(0, 0.05, 2)
        self._lift, self._tilt = rng.normal(0, 2.5), np.radians(rng.normal(0, 4))
        self._wave, self._phase = rng.normal(0, 0.7, (2, 2)), rng.uniform(0, 6.28, (2, 2))

    def place(self, points: Outline) -> Float[ndarray, "n 2"]:
        """Turn head coordinates into the column's frame."""
        p = np.asarray(points, dtype=float)
        x, y = p[:, 0], p[:, 1]
        face = np.clip((_FACE_FROM - x) / _FACE_BLEND, 0, 1)
        waves = self._wave[:, :, None] * np.sin(np.stack([y / 13, x / 17])[None] + self._phase[:, :, None])
        dx, dy = waves.sum(axis=1)
        dx = dx + self._stretch[0] * (x - _FACE_FROM) + self._tilt * (y + 40)
        dy = dy + self._stretch[1] * (y + 10) + self._lift - self._tilt * (x - _FACE_FROM)
        return dens_frame(self._spine, -(y + face * dy), x + face * dx)

    def fill(
        self,
        points: Outline,
        value: Number,
        *,
        grain: Number = 0.03,
        smooth: Number = 0.05,
        mottle: Number = 0.05,
        soft_mm: Number = 0.3,
        opacity: Number = 1.0,
        field: Float[ndarray, "s s"] | None = None,
    ) -> None:
        """Paint a polygon as `Canvas.fill` does."""
        self._canvas.fill(
            self.place(points), value, grain=grain, smooth=smooth, mottle=mottle, soft_mm=soft_mm, opacity=opacity,
            field=field,
        )  # fmt: skip

    def line(
        self, path: Outline, width: Number | Sequence[Number], value: Number, *, soft_mm: Number = 0.4,
        opacity: Number = 1.0,
    ) -> None:  # fmt: skip
        """Paint a curve through points; `width` has one value, or one at each point."""
        curve = spline(path, closed=False)
        wide = np.interp(np.linspace(0, 1, len(curve)), np.linspace(0, 1, np.size(width)), np.atleast_1d(width))
        self.fill(ribbon(curve, wide), value, smooth=0, mottle=0, soft_mm=soft_mm, opacity=opacity)

    def bone(self, points: Outline, marrow: Number, wall_mm: Number) -> None:
        """Paint a bone with a black wall."""
        self._canvas.bone(self.place(points), marrow, wall_mm=wall_mm, soft_mm=0.25, mottle=0.1)

    def plate(self, path: Outline, width: Float[ndarray, " n"], marrow: Number, wall_mm: Number) -> None:
        """Paint a flat bone with two black walls, its width given at each point."""
        curve = spline(path, closed=False)
        wide = np.interp(np.linspace(0, 1, len(curve)), np.linspace(0, 1, len(width)), width)
        self.fill(ribbon(curve, wide), CORTEX, smooth=0, mottle=0)
        self.fill(ribbon(curve, np.maximum(wide - 2 * wall_mm, 0.3)), marrow, mottle=0.1)
