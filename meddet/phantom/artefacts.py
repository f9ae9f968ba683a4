"""What spoils an image: drawn by chance per slice, applied to the object or to k-space, where physics has it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Complex, Float
from numpy import ndarray

from meddet.phantom.canal import dens_frame
from meddet.phantom.presets import Mode
from meddet.phantom.raster import Canvas, ellipse
from meddet.phantom.spine import Spine

Name = Literal["ghost", "motion", "gibbs", "spike", "wrap", "zipper", "void", "hardware", "bias"]
CHANCES: dict[Name, float] = {
    "ghost": 0.15, "motion": 0.10, "gibbs": 0.08, "spike": 0.03, "wrap": 0.05, "zipper": 0.02, "void": 0.07,
    "bias": 0.08, "hardware": 0.0,
}  # fmt: skip
"""Of a slice in mode default; phantom.md 5.10, [E]. Partial volume and JPEG belong to the protocol."""
_STRESS, _HARDWARE = 2.5, 0.15
_GHOST = (0.05, 0.15, 0.3)
_MOTION_MM = (1.0, 2.5, 5.0)
_SPIKES = (1, 2, 4)
_WRAP = (0.05, 0.10, 0.20)
_ZIPPER = (0.3, 0.6, 1.2)
_VOID_MM = (10.0, 25.0, 40.0)
_HARDWARE_MM = (6.0, 10.0, 15.0)
GIBBS_LINES = (320, 256, 192)
"""Acquired lines of an image of 512 rows."""


@dataclass(frozen=True)
class Artefact:
    """One fault of one slice."""

    name: Name
    severity: int

    def __str__(self) -> str:
        """Give it as the truth table has it."""
        return f"{self.name}:{self.severity}"


def draw_artefacts(mode: Mode, *, ruined: bool, rng: np.random.Generator) -> tuple[Artefact, ...]:
    """Draw what goes wrong in a slice; `ruined` adds the worst ghost and motion."""
    factor = {"easy": 0.0, "default": 1.0, "diverse": 1.0, "stress": _STRESS}[mode]
    found = []
    for name, chance in CHANCES.items():
        chance = _HARDWARE if name == "hardware" and mode == "stress" else chance * factor
        happens = bool(rng.random() < chance)
        mild, any_severity = int(rng.choice([1, 1, 1, 2, 2, 3])), int(rng.integers(1, 4))
        severity = any_severity if mode == "stress" else mild
        if ruined and name in ("ghost", "motion"):
            happens, severity = True, 3
        if happens:
            found.append(Artefact(name, severity))
    return tuple(found)


def severity_of(artefacts: Iterable[Artefact], name: Name) -> int:
    """Give the severity of an artefact, 0 if the slice doesn't have it."""
    return next((artefact.severity for artefact in artefacts if artefact.name == name), 0)


def paint_metal(canvas: Canvas, spine: Spine, artefacts: Iterable[Artefact], rng: np.random.Generator) -> None:
    """Blot out the object around dental metal or a plate before a vertebra: a void with a bright rim."""
    for artefact in artefacts:
        if artefact.name == "void":
            place = dens_frame(spine, rng.normal(14, 5, 1), rng.normal(-84, 5, 1))[0]
            _blot(canvas, place, _VOID_MM[artefact.severity - 1], rng)
        elif artefact.name == "hardware":
            index = int(rng.integers(1, 5))
            body = (spine.centres[index] + spine.centres[index + 1]) / 2
            place = body - (spine.depths[index] / 2 + 2) * spine.normal(index)
            _blot(canvas, place, _HARDWARE_MM[artefact.severity - 1], rng)


def _blot(canvas: Canvas, place: ndarray, radius: float, rng: np.random.Generator) -> None:
    stretch, angle = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
    shift = rng.normal(0, 0.06 * radius, 2)
    for size, factor in ((1.13, rng.uniform(1.5, 2.2)), (1.0, 0.02)):
        half = (radius * size, radius * size * stretch)
        where = place + (shift if size > 1 else 0.0)
        canvas.scale(ellipse(where, half, angle=angle, power=2.4), factor, soft_mm=0.05 * radius)


def wrap(signal: Float[ndarray, "h w"], severity: int, axis: int) -> Float[ndarray, "h w"]:
    """Fold what lies beyond both ends of the phase axis back to the other end.

    What lies there isn't painted: it is taken to look like the strip inside the edge, and to fade with the coil.
    """
    content = np.moveaxis(signal, axis, 0)
    count = int(_WRAP[severity - 1] * len(content))
    weight = np.linspace(0.6, 0.0, count)[:, None]
    folded = content.copy()
    folded[:count] += weight * content[::-1][:count]
    folded[::-1][:count] += weight * content[:count]
    return np.moveaxis(folded, 0, axis)


def ghost(
    spectrum: Complex[ndarray, "m n"], severity: int, axis: int, rng: np.random.Generator
) -> Complex[ndarray, "m n"]:
    """Modulate the lines along the phase axis: 2 to 8 ghosts."""
    ghosts = rng.uniform(2, 8)
    lines = np.arange(spectrum.shape[axis])
    modulation = 1 + _GHOST[severity - 1] * np.cos(2 * np.pi * lines / ghosts + rng.uniform(0, 2 * np.pi))
    return spectrum * np.expand_dims(modulation, 1 - axis)


def motion(
    spectrum: Complex[ndarray, "m n"], severity: int, axis: int, rng: np.random.Generator, *, size_mm: float
) -> Complex[ndarray, "m n"]:
    """Shift the patient along the phase axis, of `size_mm`, between 2 to 5 segments of k-space; the middle stays."""
    count = spectrum.shape[axis]
    waves = np.arange(count) - count // 2
    segments = int(rng.integers(2, 6))
    shift = rng.uniform(-1, 1, segments)[np.arange(count) * segments // count] * _MOTION_MM[severity - 1]
    shift = shift - shift[count // 2]
    return spectrum * np.expand_dims(np.exp(-2j * np.pi * waves * shift / size_mm), 1 - axis)


def spike(spectrum: Complex[ndarray, "m n"], severity: int, rng: np.random.Generator) -> Complex[ndarray, "m n"]:
    """Add points of 0.2 to 1 times the largest value: stripes across the image."""
    spiked = spectrum.copy()
    top = float(np.abs(spectrum).max())
    for _ in range(_SPIKES[severity - 1]):
        row, column = (int(rng.integers(count // 8, count * 7 // 8)) for count in spectrum.shape)
        spiked[row, column] += top * rng.uniform(0.2, 1.0)
    return spiked


def zipper(
    spectrum: Complex[ndarray, "m n"], severity: int, axis: int, rng: np.random.Generator, *, unit: float
) -> Complex[ndarray, "m n"]:
    """Add a radio signal of one frequency and any phase: a line along the phase axis.

    `unit` is what a constant spectrum needs for one pixel of CSF's brightness at the origin of the image.
    """
    lines, samples = spectrum.shape[axis], spectrum.shape[1 - axis]
    tone = np.exp(-2j * np.pi * np.arange(samples) * rng.uniform(0.1, 0.9))
    phases = np.exp(2j * np.pi * rng.random(lines))
    strength = _ZIPPER[severity - 1] * unit / (samples * np.sqrt(lines))
    added = strength * phases[:, None] * tone[None, :]
    return spectrum + (added if axis == 0 else added.T)
