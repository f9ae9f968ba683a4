"""Which discs protrude, how far, in what shape, and how much of that one slice shows."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.phantom.presets import PROTRUSION_MM, Mode, stream
from meddet.phantom.spine import draw_body, draw_degeneration

_BASE = np.array([0.18, 0.35, 0.47, 0.65, 0.58, 0.20])
_BULGE_SHARE = 0.15
_POPULATION = 3000
_NUM = len(LEVELS)
_BLUNTNESS = 1.3
_NECK = 0.75


@dataclass(frozen=True)
class Protrusions:
    """The hidden state of the six labelled discs of one patient, lengths in mm."""

    depth: Float[ndarray, " 6"]
    """Farthest reach past the posterior vertebral line, in the slice where it is largest."""
    apex_z: Float[ndarray, " 6"]
    reach_z: Float[ndarray, " 6"]
    """Depth falls as exp(-((z - apex_z) / reach_z)^2) with the slice's distance from the midline."""
    apex: Float[ndarray, " 6"]
    """Offset of the apex along the column, positive down."""
    width: Float[ndarray, " 6"]
    """Full width at half maximum, relative to the disc's posterior height."""
    skew: Float[ndarray, " 6"]
    migration: Float[ndarray, " 6"]
    """How far the head of an extrusion has moved along the column; 0 for every other disc."""
    osteophyte: Bool[ndarray, " 6"]
    """Whether the cap is a disc-osteophyte complex (black rim)."""


def _probability(
    age: Float[ndarray, "n 1"], degeneration: Float[ndarray, "n 6"], shift: float
) -> Float[ndarray, "n 6"]:
    logit = np.log(_BASE / (1 - _BASE)) + 0.03 * (age - 50) + 1.5 * (degeneration - 0.5) + shift
    return 1 / (1 + np.exp(-logit))


def _depths(
    kind: Float[ndarray, "n 6"], herniated: Float[ndarray, "n 6"], mode: Mode, rng: np.random.Generator
) -> ndarray:
    shape = kind.shape
    normal, bulge = rng.uniform(0, 0.8, shape), rng.uniform(0.8, 1.4, shape)
    excess = rng.gamma(2, 0.65, shape)
    if mode == "easy":
        bulge, excess = normal, excess + 0.4
    herniation = np.minimum(1.4 + excess, 5.5)
    is_bulge = kind < herniated + (1 - herniated) * _BULGE_SHARE / (1 - _BASE.mean())
    return np.where(kind < herniated, herniation, np.where(is_bulge, bulge, normal))


def slice_depth(depth: ndarray, apex_z: ndarray, reach_z: ndarray, z: float | ndarray, mode: Mode) -> ndarray:
    """Give what a slice z mm off the midline shows of the hidden depth; in mode easy all of it."""
    return depth if mode == "easy" else depth * np.exp(-(((z - apex_z) / reach_z) ** 2))


@lru_cache(maxsize=8)
def solve_shift(prevalence: float, mode: Mode) -> float:
    """Find the shift of the logit at which that share of in-slice labels is expected, on a fixed population.

    Applied to the hidden class the rate would be lower in the images, since a slice off the apex shows less.
    """
    rng = stream(0, 0, 0, "pathology")
    bodies = [draw_body(rng) for _ in range(_POPULATION)]
    age = np.array([[body.age] for body in bodies])
    degeneration = np.stack([draw_degeneration(body.age, rng)[:_NUM] for body in bodies])
    kind = rng.random(degeneration.shape)
    state = rng.bit_generator.state
    apex_z, reach_z = rng.normal(0, 2.5, kind.shape), rng.uniform(4, 8, kind.shape)
    z = np.clip(rng.normal(0, 3, (_POPULATION, 1)), -8, 8)
    low, high = -4.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        rng.bit_generator.state = state
        depth = _depths(kind, _probability(age, degeneration, middle), mode, rng)
        shown = slice_depth(depth, apex_z, reach_z, z, mode)
        low, high = (middle, high) if np.mean(shown >= PROTRUSION_MM) < prevalence else (low, middle)
    return round((low + high) / 2, 3)


def draw_protrusions(
    age: float, degeneration: ndarray, rng: np.random.Generator, *, prevalence: float, mode: Mode
) -> Protrusions:
    """Draw the hidden state of the labelled discs of one patient."""
    shift = solve_shift(prevalence, mode)
    herniated = _probability(np.array([[age]]), degeneration[None, :_NUM], shift)
    depth = _depths(rng.random((1, _NUM)), herniated, mode, rng)[0]
    hernia = depth >= 1.4
    extruded = hernia & (rng.random(_NUM) < 0.08)
    return Protrusions(
        depth=depth,
        apex_z=rng.normal(0, 2.5, _NUM),
        reach_z=rng.uniform(4, 8, _NUM),
        apex=rng.normal(0, 0.8, _NUM),
        width=rng.uniform(0.6, 1.1, _NUM),
        skew=rng.uniform(-0.35, 0.35, _NUM),
        migration=np.where(extruded, rng.uniform(2, 6, _NUM) * rng.choice([-1, 1], _NUM), 0.0),
        osteophyte=hernia & (rng.random(_NUM) < 0.25),
    )


def half_width(pathology: Protrusions, level: int, posterior_height: float, depth: float) -> float:
    """Give half the height of a protrusion at half its depth: a deep one is never thinner than it is long.

    The neck of an extrusion is thinner; its head, 1.3 times this, comes back to the usual width.
    """
    half = float(pathology.width[level]) * posterior_height / 2 + 0.45 * depth
    return _NECK * half if pathology.migration[level] else half


def contour(offset: Float[ndarray, " n"], *, depth: float, half: float, skew: float) -> Float[ndarray, " n"]:
    """Give a protrusion's reach at offsets along the column from its apex: an asymmetric, blunt raised cosine.

    `half` is its half width at half maximum; it ends at 1.7 times that.
    """
    foot = half / 0.5 ** (1 / _BLUNTNESS) * np.where(offset < 0, 1 - skew, 1 + skew)
    inside = np.clip(np.abs(offset) / foot, 0, 1)
    return depth * 0.5 * (1 + np.cos(np.pi * inside**_BLUNTNESS))
