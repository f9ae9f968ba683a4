"""People who read the phantom's images: each has a hand, a threshold and bad moments of his own."""

from dataclasses import dataclass

import numpy as np

from meddet.phantom.presets import PROTRUSION_MM, Preset, stream
from meddet.phantom.study import Corners, DiscBox, Slice

NAMES = "abcdefghijklmnopqrstuvwxyz"
_BIAS_MM = 0.15
_READING_MM = 0.5
LARGEST_ERROR_MM = 1.0
"""No reading is farther from the truth than this plus the rater's bias: clear discs are read alike."""
_HAND_MM = 0.45
_MISSED = 0.01


@dataclass(frozen=True)
class Rater:
    """One reader."""

    name: str
    bias_mm: float
    """How much deeper a disc must reach than 1.2 mm before he calls it protrusion."""


@dataclass(frozen=True)
class Reading:
    """What a rater makes of one disc."""

    level: int
    protruded: bool
    corners: Corners
    """x1, y1, x2, y2 in mm from the image's upper left corner."""


def draw_raters(preset: Preset) -> tuple[Rater, ...]:
    """Draw the raters of a data set."""
    biases = np.clip(stream(preset.seed, 0, 0, "rater").normal(0, _BIAS_MM, preset.raters), -0.4, 0.4)
    return tuple(Rater(name, float(bias)) for name, bias in zip(NAMES, biases, strict=False))


def read_slice(preset: Preset, rater: Rater, item: Slice) -> tuple[Reading, ...]:
    """Give what a rater marks in a slice: he may misjudge a depth by some tenths of a mm, and overlook a disc."""
    seed = [preset.seed, item.patient.number, item.number, NAMES.index(rater.name)]
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    found = []
    for box in item.boxes:
        error = float(np.clip(rng.normal(0, _READING_MM), -LARGEST_ERROR_MM, LARGEST_ERROR_MM))
        jitter = rng.normal(0, _HAND_MM, 4)
        missed = bool(rng.random() < _MISSED)
        if not missed:
            protruded = bool(box.depth_mm + error >= PROTRUSION_MM + rater.bias_mm)
            found.append(Reading(box.level, protruded, _moved(box, item, jitter)))
    return tuple(found)


def _moved(box: DiscBox, item: Slice, jitter: np.ndarray) -> Corners:
    """Move each side of a box by what the hand does, and keep it in the image."""
    width, height = item.patient.frame.size_mm
    x1, y1, x2, y2 = (float(v) for v in np.array(box.corners) + jitter)
    return max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
