"""How the column lies in the image: field of view, place, rotation, side."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.phantom.roles import Exclusion
from meddet.phantom.spine import Spine

_NUM = len(LEVELS)
_EDGE_MM = 5.0
PAINTED_ABOVE_MM = 100.0
"""So far above C2/3 a mean adult's head is painted for certain."""
LAST_DISC = 9
"""So far down the chest is painted for certain: T4/5."""


@dataclass(frozen=True)
class Frame:
    """How the column lies in the image."""

    fov_mm: float
    """Length of the image's longer side."""
    origin_mm: tuple[float, float]
    """Centre of C2/3 from the upper left corner, before a flip."""
    rotation: float
    extent: tuple[float, float] = (1.0, 1.0)
    """Width and height of the image relative to its longer side."""
    flipped: bool = False
    """Whether the patient looks to the right."""

    @property
    def size_mm(self) -> tuple[float, float]:
        """Give width and height of the image."""
        return self.fov_mm * self.extent[0], self.fov_mm * self.extent[1]

    def to_image(self, points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        """Turn the column's frame into mm from the image's upper left corner."""
        placed = turned(points, self.rotation) + np.array(self.origin_mm)
        if self.flipped:
            placed[:, 0] = self.size_mm[0] - placed[:, 0]
        return placed


def turned(points: Float[ndarray, "n 2"], rotation: float) -> Float[ndarray, "n 2"]:
    """Rotate points about the centre of C2/3."""
    c, s = np.cos(rotation), np.sin(rotation)
    x, y = points[:, 0], points[:, 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=1)


def draw_frame(spine: Spine, exclusion: Exclusion, rng: np.random.Generator) -> Frame:
    """Draw field of view and position; shift it as far as the six discs need to stay inside."""
    fov = float(np.clip(rng.normal(255, 12), 220, 290))
    rotation = float(np.radians(rng.normal(0, 4)))
    origin = fov * np.array([rng.normal(0.47, 0.05), rng.normal(0.37, 0.045)])
    cut_top = bool(rng.random() < 0.5)
    low, high = _room(spine, rotation, _EDGE_MM)
    origin = np.minimum(np.maximum(origin, low), fov - high)
    origin[1] = _cut(spine, rotation, fov, cut_top) if exclusion == "incomplete" else origin[1]
    return Frame(fov, (float(origin[0]), float(origin[1])), rotation)


def draw_diverse_frame(
    spine: Spine, size: float, exclusion: Exclusion, rng: np.random.Generator, *,
    extent: tuple[float, float], bars: tuple[float, float], may_flip: bool,
) -> Frame:  # fmt: skip
    """Draw a view that no one protocol has: 160 to 400 mm, the column anywhere, turned by up to 15 degrees.

    `bars` are the shares of width and height that padding takes on either side. The field grows as far as six discs
    need, and shrinks or moves where it would show more of the body than is painted.
    """
    rotation = float(np.radians(rng.uniform(-15, 15)))
    low, high = _room(spine, rotation, 7.0)
    share = np.array(extent) * (1 - 2 * np.array(bars))
    fov = float(max(np.exp(rng.uniform(np.log(160), np.log(400))), ((low + high) / share).max() + 1))
    box, pad = fov * np.array(extent), fov * np.array(extent) * np.array(bars)
    near = np.clip(np.array([rng.normal(0.5, 0.16), rng.normal(0.42, 0.22)]), 0, 1)
    place = rng.random(2) if rng.random() < 0.45 else near
    first, last = low + pad, box - high - pad
    above, below = PAINTED_ABOVE_MM * size, float(spine.centres[LAST_DISC, 1])
    first[1] = min(max(first[1], box[1] - below), last[1])
    last[1] = max(min(last[1], above), first[1])
    origin = first + place * (last - first)
    cut_top, flip = bool(rng.random() < 0.5), bool(rng.random() < 0.15)
    origin[1] = _cut(spine, rotation, float(box[1]), cut_top) if exclusion == "incomplete" else origin[1]
    return Frame(fov, (float(origin[0]), float(origin[1])), rotation, extent, flip and may_flip)


def _room(spine: Spine, rotation: float, edge_mm: float) -> tuple[ndarray, ndarray]:
    """Give what the six discs need to the left of and above C2/3, and to the right and below."""
    discs = turned(spine.centres[:_NUM], rotation)
    reach = spine.depths[:_NUM].max() / 2 + edge_mm
    return reach - discs.min(axis=0), reach + discs.max(axis=0)


def _cut(spine: Spine, rotation: float, height_mm: float, cut_top: bool) -> float:
    """Give the height of C2/3 at which the upper three discs, or the lower three, lie outside the image."""
    discs = turned(spine.centres[:_NUM], rotation)
    return float(-discs[3, 1] + _EDGE_MM * 2 if cut_top else height_mm - _EDGE_MM * 2 - discs[2, 1])
