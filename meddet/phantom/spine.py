"""The cervical and upper thoracic column in the mid-sagittal plane, in mm.

Frame: origin at the centre of C2/3, x to the patient's back, y to the feet, before the image's own rotation and shift.
Discs are numbered 0..11 for C2/3..T6/7; vertebra k (0..10 for C3..T6) lies between the discs k and k + 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

NUM_DISCS = 12
_ENDPLATE = (-0.075, -0.325)
"""Disc height over mid height is 1 + a u + b u^2: 0.75 at the front (u = -1), 0.6 at the back (u = 1)."""
_BACK = np.ones(1)
_DEGENERATION_LEVEL = np.array([-0.8, -0.1, 0.3, 0.7, 0.5, -0.7, -0.9, -0.9, -0.9, -0.9, -0.9, -0.9])
_BLOCK_LEVELS = (0, 0, 3, 4)
_THORACIC_DEG = np.array([7.0, 8.0, 7.0, 5.0, 3.0, 1.0])


@dataclass(frozen=True)
class Body:
    """Who the patient is."""

    sex: str
    age: float
    size: float
    """Length relative to a mean adult."""


@dataclass(frozen=True)
class Spine:
    """The column of one patient."""

    centres: Float[ndarray, "12 2"]
    angles: Float[ndarray, " 12"]
    """Tangent against the vertical in rad, positive where the column runs backwards on its way down."""
    depths: Float[ndarray, " 12"]
    heights: Float[ndarray, " 12"]
    """Mid heights of the discs, after degeneration."""
    listhesis: Float[ndarray, " 12"]
    """Backward step of the lower vertebra against the upper one."""
    degeneration: Float[ndarray, " 12"]
    bulge: Float[ndarray, " 12"]
    """How far the disc stands out in front (not a class)."""
    dome: Float[ndarray, " 12"]
    """Share of a disc's curvature that its upper border has; a cervical endplate is hollow above a disc, flat below."""
    size: float
    """Length of head and neck relative to a mean adult."""
    block: int
    """The rudimentary disc of two vertebrae that never parted, -1 for none."""

    def tangent(self, disc: int) -> Float[ndarray, " 2"]:
        """Give the unit vector along the column, downwards."""
        return np.array([np.sin(self.angles[disc]), np.cos(self.angles[disc])])

    def normal(self, disc: int) -> Float[ndarray, " 2"]:
        """Give the unit vector to the back, across the column."""
        return np.array([np.cos(self.angles[disc]), -np.sin(self.angles[disc])])

    def edge(self, disc: int, side: int, u: Float[ndarray, " n"]) -> Float[ndarray, "n 2"]:
        """Give the border of a disc at the positions u (-1 front, 1 back): side -1 is its upper edge, 1 the lower."""
        half = self._half(disc, side, u)
        along = self.depths[disc] / 2 * u + side * self.listhesis[disc] / 2
        return self.centres[disc] + along[:, None] * self.normal(disc) + side * half[:, None] * self.tangent(disc)

    def _half(self, disc: int, side: int, u: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
        share = self.dome[disc] if side < 0 else 1 - self.dome[disc]
        return self.heights[disc] / 2 * (1 + _ENDPLATE[0] * u + 2 * share * _ENDPLATE[1] * u**2)

    def back(self, disc: int) -> Float[ndarray, " 2"]:
        """Give the middle of the line that joins the posterior corners of the neighbours of a disc."""
        return self.edge(disc, -1, _BACK).mean(axis=0) / 2 + self.edge(disc, 1, _BACK).mean(axis=0) / 2

    def posterior_height(self, disc: int) -> float:
        """Give the length of that line."""
        return float(self.heights[disc] * (1 + sum(_ENDPLATE)))


def draw_body(rng: np.random.Generator) -> Body:
    """Draw sex, age and size."""
    sex = "M" if rng.random() < 0.5 else "F"
    age = float(np.clip(rng.normal(50, 14), 18, 85))
    return Body(sex, age, float(rng.normal(1, 0.06) * (1.05 if sex == "M" else 0.95)))


def draw_degeneration(age: float, rng: np.random.Generator) -> Float[ndarray, " 12"]:
    """Draw how degenerate each disc is, 0 to 1: by age and level, alike in neighbours (AR(1), rho 0.4)."""
    noise = rng.normal(0, 0.9, NUM_DISCS)
    for disc in range(1, NUM_DISCS):
        noise[disc] = 0.4 * noise[disc - 1] + np.sqrt(1 - 0.4**2) * noise[disc]
    return 1 / (1 + np.exp(-(-1.6 + 0.045 * (age - 45) + _DEGENERATION_LEVEL + noise)))


def _angles(rng: np.random.Generator) -> Float[ndarray, " 12"]:
    lordosis = np.clip(rng.normal(11, 11), -15, 38)
    lowest = rng.normal(12, 6)
    position = np.arange(6) / 5
    cervical = lowest - lordosis * (1 - position)
    s_shape = 7 * np.sin(2 * np.pi * position) * rng.choice([-1, 1])
    cervical = cervical + s_shape * (rng.random() < 0.08)
    cervical[5] += 3
    degrees = np.concatenate([cervical, lowest + _THORACIC_DEG])
    return np.radians(degrees + rng.normal(0, 1.5, NUM_DISCS))


def draw_spine(body: Body, rng: np.random.Generator) -> Spine:
    """Draw the column: pitch, curve, discs and steps."""
    degeneration = draw_degeneration(body.age, rng)
    angles = _angles(rng)
    growth = np.array([1, 1, 1, 1, rng.normal(1.12, 0.04), 1.15, 1.18, 1.21, 1.24, 1.27, 1.3])
    pitch = rng.normal(16.6, 1.2) * body.size * growth * rng.normal(1, 0.03, NUM_DISCS - 1)
    height_mm, depth_mm = ((5.3, 0.8), (17.5, 1.4)) if body.sex == "M" else ((5.0, 0.7), (15.5, 1.3))
    heights = np.clip(rng.normal(*height_mm), 3.6, 7.2) * rng.normal(1, 0.07, NUM_DISCS) * (1 - 0.4 * degeneration)
    depth = rng.normal(*depth_mm) + 0.05 * max(body.age - 40, 0)
    depths = depth * (1 + 0.025 * np.arange(NUM_DISCS)) + rng.uniform(-0.5, 0.5, NUM_DISCS)
    step = np.where(rng.random(NUM_DISCS) < 0.04, rng.uniform(1, 3, NUM_DISCS) * rng.choice([-1, 1], NUM_DISCS), 0.0)
    step[6:] = 0
    bulge = 0.45 * (rng.uniform(0, 1.5, NUM_DISCS) + 1.5 * degeneration)
    middle = (angles[:-1] + angles[1:]) / 2
    jumps = (step[:-1] + step[1:]) / 2
    x = pitch * np.sin(middle) + jumps * np.cos(middle)
    y = pitch * np.cos(middle) - jumps * np.sin(middle)
    centres = np.concatenate([np.zeros((1, 2)), np.stack([np.cumsum(x), np.cumsum(y)], axis=1)])
    dome = rng.uniform(0.5, 0.85, NUM_DISCS)
    dome[6:] = 0.5
    block = int(rng.choice(_BLOCK_LEVELS)) if rng.random() < 0.01 else -1
    if block >= 0:
        heights[block] *= 0.6
    return Spine(centres, angles, depths, heights, step, degeneration, bulge, dome, body.size, block)
