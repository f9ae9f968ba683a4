"""A canvas in mm: polygons, painted one over the other, each rasterised inside its own bounding box."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter

Number = float | int
Outline = ndarray | Sequence[tuple[Number, Number]] | Sequence[ndarray]
SUPERSAMPLING = 2
CORTEX = 0.02
"""Signal of compact bone."""
_SMALL, _MEDIUM = 30_000, 250_000
"""Pixels of a bounding box up to which a polygon is drawn four times, twice as fine."""
_SOFT = 1.2
"""Blur in pixels from which the edge needs no finer drawing."""
_BOX = 1.7
"""Half the width of a box, relative to the standard deviation of the Gaussian that it stands for."""
_STRIP = 64


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
        self.mottle = self._noise(2.2, rng)

    def _noise(self, size_mm: float, rng: np.random.Generator) -> Float[ndarray, "s s"]:
        """Draw a field of unit variance whose structures are about that large."""
        cells = max(4, int(self.side * self.pixel_mm / size_mm * 2))
        half = self.side // SUPERSAMPLING
        if cells >= half:
            field = rng.standard_normal((half, half))
        else:
            coarse = gaussian_filter(rng.standard_normal((cells, cells)), 1.0)
            field = upsample(coarse / coarse.std(), (half, half))
        return np.repeat(np.repeat(field, SUPERSAMPLING, axis=0), SUPERSAMPLING, axis=1)

    def to_image(self, points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        """Turn the column's frame into mm from the image's upper left corner."""
        x, y = points[:, 0], points[:, 1]
        turned = np.stack([self._cosine * x - self._sine * y, self._sine * x + self._cosine * y], axis=1)
        return turned + self._origin

    def from_image(self, points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        """Undo `to_image`."""
        x, y = (points - self._origin).T
        return np.stack([self._cosine * x + self._sine * y, -self._sine * x + self._cosine * y], axis=1)

    def _mask(self, points: Float[ndarray, "n 2"], soft_mm: Number) -> tuple[int, int, UInt8[ndarray, "h w"]] | None:
        """Rasterise a polygon in its own bounding box; give the box's upper row and left column and 0..255 cover."""
        pixels = self.to_image(points) / self.pixel_mm
        blur = soft_mm / self.pixel_mm
        rim = 1 + int(2 * blur)
        low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - rim, 0)
        high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + rim, self.side)
        width, height = (int(v) for v in high - low)
        if width <= 0 or height <= 0:
            return None
        fine = 2 if blur < _SOFT and width * height < _MEDIUM else 1
        fine = 4 if blur == 0 and width * height < _SMALL else fine
        mask = Image.new("L", (width * fine, height * fine))
        ImageDraw.Draw(mask).polygon(((pixels - low) * fine - 0.5).ravel().tolist(), fill=255)
        mask = mask.reduce(fine) if fine > 1 else mask
        mask = mask.filter(ImageFilter.BoxBlur(_BOX * blur)) if blur > 0 else mask
        return int(low[1]), int(low[0]), np.asarray(mask)

    def coverage(
        self, points: Float[ndarray, "n 2"], *, soft_mm: Number = 0.0
    ) -> Iterator[tuple[tuple[slice, slice], Float[ndarray, "h w"]]]:
        """Give the share of each pixel that a polygon with that soft an edge covers, and where, strip by strip.

        Strips of rows follow a slanting shape more closely than one box; there is none where nothing is covered.
        """
        found = self._mask(points, soft_mm)
        if found is None:
            return
        top, left, mask = found
        for start in range(0, len(mask), _STRIP):
            strip = mask[start : start + _STRIP]
            columns = np.flatnonzero(strip.any(axis=0))
            if len(columns):
                low, high = int(columns[0]), int(columns[-1]) + 1
                where = slice(top + start, top + start + len(strip)), slice(left + low, left + high)
                yield where, strip[:, low:high] / 255.0

    def fill(
        self,
        points: Float[ndarray, "n 2"],
        value: Number,
        *,
        grain: Number = 0.03,
        smooth: Number = 0.04,
        mottle: Number = 0.0,
        soft_mm: Number = 0.0,
        opacity: Number = 1.0,
        field: Float[ndarray, "s s"] | None = None,
    ) -> None:
        """Paint a polygon with a signal and its texture (relative standard deviations); `field` multiplies it."""
        textures = [(a, f) for a, f in ((grain, self.grain), (smooth, self.smooth), (mottle, self.mottle)) if a]
        for where, share in self.coverage(points, soft_mm=soft_mm):
            tone = np.ones_like(share)
            for amount, texture in textures:
                tone += amount * texture[where]
            if field is not None:
                tone *= field[where]
            np.maximum(tone, 0, out=tone)
            tone *= value
            part = self.signal[where]
            tone -= part
            tone *= share if opacity == 1 else opacity * share
            part += tone

    def bone(
        self,
        points: Float[ndarray, "n 2"],
        marrow: Number,
        *,
        wall_mm: Number = 0.8,
        soft_mm: Number = 0.15,
        opacity: Number = 1.0,
        mottle: Number = 0.07,
    ) -> None:
        """Paint marrow in a black wall of compact bone."""
        self.fill(points, CORTEX, soft_mm=soft_mm, opacity=opacity, smooth=0)
        self.fill(
            inset(points, wall_mm), marrow, grain=0.05, smooth=0.1, mottle=mottle, soft_mm=soft_mm, opacity=opacity
        )

    def scale(self, points: Float[ndarray, "n 2"], factor: Number, *, soft_mm: Number = 0.5) -> None:
        """Multiply the signal inside a polygon, e.g. for a flow void."""
        for where, share in self.coverage(points, soft_mm=soft_mm):
            self.signal[where] *= 1 + share * (factor - 1)


def inset(points: Float[ndarray, "n 2"], by_mm: Number) -> Float[ndarray, "n 2"]:
    """Move a smooth closed outline inwards."""
    along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    length = np.sqrt((along**2).sum(axis=1, keepdims=True)) + 1e-9
    outward = np.stack([along[:, 1], -along[:, 0]], axis=1) / length
    following = np.roll(points, -1, axis=0)
    area = (points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum()
    return points - np.sign(area) * by_mm * outward


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
