"""A canvas in mm: polygons, painted one over the other, each rasterised inside its own bounding box."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Number = float | int
Outline = ndarray | Sequence[tuple[Number, Number]]
SUPERSAMPLING = 2
_SMALL, _MEDIUM = 30_000, 250_000


def upsample(field: Float[ndarray, "h w"], size: tuple[int, int]) -> Float[ndarray, "H W"]:
    """Interpolate linearly, corner to corner, one axis after the other."""
    for axis in (0, 1):
        place = np.linspace(0, field.shape[axis] - 1, size[axis])
        low = np.minimum(place.astype(np.int64), field.shape[axis] - 2)
        part = place - low
        part = part[:, None] if axis == 0 else part[None, :]
        first, second = np.take(field, low, axis=axis), np.take(field, low + 1, axis=axis)
        second -= first
        second *= part
        field = first + second
    return field


class Canvas:
    """The object before the scanner: signal relative to CSF on a grid of twice the image's side."""

    def __init__(
        self, *, side: int, fov_mm: Number, rotation: float, origin_mm: tuple[Number, Number], rng: np.random.Generator
    ):
        self.side = side * SUPERSAMPLING
        self.pixel_mm = fov_mm / self.side
        self.signal = np.zeros((self.side, self.side))
        self._cosine, self._sine = float(np.cos(rotation)), float(np.sin(rotation))
        self._origin = np.array(origin_mm)
        self.grain = self._noise(0.7, rng)
        self.smooth = self._noise(7.0, rng)

    def _noise(self, size_mm: float, rng: np.random.Generator) -> Float[ndarray, "s s"]:
        """Draw a field of unit variance whose structures are about that large."""
        cells = max(4, int(self.side * self.pixel_mm / size_mm * 2))
        if cells * SUPERSAMPLING >= self.side:
            field = rng.standard_normal((self.side // SUPERSAMPLING,) * 2)
            return np.repeat(np.repeat(field, SUPERSAMPLING, axis=0), SUPERSAMPLING, axis=1)
        coarse = gaussian_filter(rng.standard_normal((cells, cells)), 1.0)
        return upsample(coarse / coarse.std(), (self.side, self.side))

    def to_image(self, points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        """Turn the column's frame into mm from the image's upper left corner."""
        x, y = points[:, 0], points[:, 1]
        turned = np.stack([self._cosine * x - self._sine * y, self._sine * x + self._cosine * y], axis=1)
        return turned + self._origin

    def from_image(self, points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        """Undo `to_image`."""
        x, y = (points - self._origin).T
        return np.stack([self._cosine * x + self._sine * y, -self._sine * x + self._cosine * y], axis=1)

    def coverage(self, points: Float[ndarray, "n 2"]) -> tuple[tuple[slice, slice], Float[ndarray, "h w"]] | None:
        """Give the share of each pixel that a polygon covers, and where; None if it lies outside."""
        pixels = self.to_image(points) / self.pixel_mm
        low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, self.side)
        width, height = (int(v) for v in high - low)
        if width <= 0 or height <= 0:
            return None
        fine = 4 if width * height < _SMALL else 2 if width * height < _MEDIUM else 1
        mask = Image.new("L", (width * fine, height * fine))
        corners = ((pixels - low) * fine - 0.5).ravel().tolist()
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        share = np.asarray(mask.reduce(fine) if fine > 1 else mask) / 255.0
        return (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))), share

    def fill(
        self,
        points: Float[ndarray, "n 2"],
        value: Number,
        *,
        grain: Number = 0.03,
        smooth: Number = 0.04,
        soft_mm: Number = 0.0,
        opacity: Number = 1.0,
        field: Float[ndarray, "s s"] | None = None,
    ) -> None:
        """Paint a polygon with a signal and its texture (relative standard deviations); `field` multiplies it."""
        found = self.coverage(points)
        if found is None:
            return
        where, share = found
        if soft_mm > 0:
            share = gaussian_filter(share, soft_mm / self.pixel_mm, mode="constant", truncate=2.5)
        tone = value * (1 + grain * self.grain[where] + smooth * self.smooth[where])
        if field is not None:
            tone = tone * field[where]
        part = self.signal[where]
        part += opacity * share * (np.maximum(tone, 0) - part)

    def scale(self, points: Float[ndarray, "n 2"], factor: Number, *, soft_mm: Number = 0.5) -> None:
        """Multiply the signal inside a polygon, e.g. for a flow void."""
        found = self.coverage(points)
        if found is None:
            return
        where, share = found
        share = gaussian_filter(share, soft_mm / self.pixel_mm, mode="constant", truncate=2.5)
        self.signal[where] *= 1 + share * (factor - 1)


def spline(points: Outline, *, closed: bool = True, steps: int = 6) -> Float[ndarray, "n 2"]:
    """Run a Catmull-Rom curve through the points."""
    p = np.asarray(points, dtype=float)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.concatenate([before, p, after])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i][:, None] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def ribbon(curve: Float[ndarray, "n 2"], width: Number | Float[ndarray, " n"]) -> Float[ndarray, "m 2"]:
    """Give the outline of a line of that width."""
    along = np.gradient(curve, axis=0)
    length = np.sqrt((along**2).sum(axis=1, keepdims=True)) + 1e-9
    across = np.stack([along[:, 1], -along[:, 0]], axis=1) / length * (np.broadcast_to(width, len(curve)) / 2)[:, None]
    return np.concatenate([curve + across, (curve - across)[::-1]])


def ellipse(
    centre: tuple[Number, Number] | ndarray, half: tuple[Number, Number], *, angle: Number = 0.0, power: Number = 2.0
) -> Float[ndarray, "n 2"]:
    """Give a superellipse with those half axes, turned by `angle` rad (x towards y)."""
    phase = np.arange(40) / 40 * 2 * np.pi
    c, s = np.cos(phase), np.sin(phase)
    x = half[0] * np.sign(c) * np.abs(c) ** (2 / power)
    y = half[1] * np.sign(s) * np.abs(s) ** (2 / power)
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=1)
    return turned + np.asarray(centre)
