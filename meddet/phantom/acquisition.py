"""From the object to grey values: coil, k-space, artefacts, noise, window."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import fft

from meddet.phantom.paint_neck import Habitus
from meddet.phantom.presets import Mode
from meddet.phantom.raster import Canvas, upsample

DECIMALS = 6
"""Magnitudes are rounded to this before they become grey values: the last bit of exp differs between processors."""


@dataclass(frozen=True)
class Scan:
    """What the scanner gave."""

    magnitude: Float[ndarray, "n n"]
    """Relative to CSF at the middle of the neck."""
    sigma: float
    """Noise of either channel relative to CSF."""
    matrix: int
    artefacts: tuple[str, ...]
    """name:severity of each."""


def coil_gain(canvas: Canvas, habitus: Habitus, rng: np.random.Generator) -> Float[ndarray, "s s"]:
    """Draw the receive sensitivity: it decays from the skin of the back, and is 1 at the canal of C4/5."""
    cells = 96
    centre = np.arange(cells) / (cells - 1) * canvas.side * canvas.pixel_mm
    x, y = (grid.ravel() for grid in np.meshgrid(centre, centre))
    place = canvas.from_image(np.stack([x, y], axis=1))
    distance = np.maximum(habitus.x(habitus.nape, place[:, 1]) - place[:, 0], 0) * 0.93
    decay, ratio = rng.uniform(35, 80), rng.uniform(1, 5)
    middle = float(habitus.x(habitus.nape - habitus.column, np.array([33.0]))[0]) * 0.93 - 9
    gain = (1 + ratio * np.exp(-distance / decay)) / (1 + ratio * np.exp(-middle / decay))
    front = np.clip((distance - middle - 15) / 110, 0, 1)
    gain = gain * (1 - (1 - rng.uniform(0.6, 0.85)) * front)
    u, v = 2 * x / x.max() - 1, 2 * y / y.max() - 1
    c = rng.uniform(-0.05, 0.05, 5)
    edge = rng.uniform(0.25, 0.6) * np.clip(np.abs(v) - 0.45, 0, 1) ** 1.5
    field = gain * (1 + c[0] * u + c[1] * v + c[2] * u * v + c[3] * u**2 + c[4] * v**2) * (1 - edge)
    return upsample(field.reshape(cells, cells), (canvas.side, canvas.side))


def _ghost(spectrum: ndarray, severity: int, rng: np.random.Generator) -> ndarray:
    amplitude, period = (0.05, 0.12, 0.25)[severity - 1], rng.uniform(2, 8)
    axis = 0 if rng.random() < 0.7 else 1
    lines = np.arange(spectrum.shape[axis])
    wave = 1 + amplitude * np.cos(2 * np.pi * lines / period + rng.uniform(0, 2 * np.pi))
    return spectrum * (wave[:, None] if axis == 0 else wave[None, :])


def _motion(spectrum: ndarray, severity: int, rng: np.random.Generator) -> ndarray:
    """Shift the object along the phase axis from one segment of k-space to the next, in matrix pixels."""
    lines = np.arange(len(spectrum)) - len(spectrum) // 2
    segments = int(rng.integers(2, 6))
    shift = rng.normal(0, (0.6, 1.5, 3.0)[severity - 1], segments)[np.arange(len(lines)) * segments // len(lines)]
    shift -= shift[len(lines) // 2]
    return spectrum * np.exp(-2j * np.pi * lines * shift / len(lines))[:, None]


def _spike(spectrum: ndarray, severity: int, rng: np.random.Generator) -> ndarray:
    spiked = spectrum.copy()
    top = np.abs(spectrum).max()
    for _ in range((1, 2, 4)[severity - 1]):
        row, column = (int(v) for v in rng.integers(len(spectrum) // 8, len(spectrum) * 7 // 8, 2))
        spiked[row, column] += top * rng.uniform(0.02, 0.06)
    return spiked


_ARTEFACTS = {"ghost": (_ghost, 0.15), "motion": (_motion, 0.10), "spike": (_spike, 0.03)}


def _spoil(spectrum: ndarray, mode: Mode, ruined: bool, rng: np.random.Generator) -> tuple[ndarray, tuple[str, ...]]:
    """Add artefacts by chance; `ruined` adds the worst ghost and motion."""
    names = []
    for name, (artefact, chance) in _ARTEFACTS.items():
        happens = rng.random() < chance * (2.5 if mode == "stress" else 1)
        severity = int(rng.choice([1, 1, 1, 2, 2, 3])) if mode != "stress" else int(rng.integers(1, 4))
        if ruined and name != "spike":
            happens, severity = True, 3
        if happens:
            spectrum = artefact(spectrum, severity, rng)
            names.append(f"{name}:{severity}")
    return spectrum, tuple(names)


def acquire(
    canvas: Canvas, gain: Float[ndarray, "s s"], *, side: int, mode: Mode, ruined: bool,
    noise: np.random.Generator, artefact: np.random.Generator,
) -> Scan:  # fmt: skip
    """Measure k-space on the acquired matrix, spoil it, add complex noise, fill with zeros to the image's side."""
    matrix = min(int(noise.choice([320, 352, 384, 448])), side)
    wave = np.arange(-(matrix // 2), matrix - matrix // 2)
    spectrum = fft.fft2(canvas.signal * gain)[np.ix_(wave % canvas.side, wave % canvas.side)]
    ramp = np.abs(np.arange(matrix) - matrix // 2) / (matrix / 2)
    taper = 1 - noise.uniform(0.1, 0.6) * np.clip(ramp - 0.5, 0, 1) ** 2 * 2
    spectrum = spectrum * taper[:, None] * taper[None, :]
    spectrum, names = _spoil(spectrum, mode, ruined, artefact)
    sigma = float(np.clip(0.05 * np.exp(noise.normal(0, 0.25)), 0.03, 0.09))
    if mode == "stress":
        sigma = float(noise.choice([0.12, 0.2, 0.3]))
    sigma = 0.3 if ruined else sigma
    amount = sigma * canvas.side**2 / matrix
    pair = noise.standard_normal((2, matrix, matrix))
    spectrum = spectrum + amount * (pair[0] + 1j * pair[1])
    full = np.zeros((side, side), dtype=complex)
    full[np.ix_(wave % side, wave % side)] = spectrum
    magnitude = np.abs(fft.ifft2(full)) * (side / canvas.side) ** 2
    return Scan(np.round(magnitude, DECIMALS), sigma, matrix, names)


def window(magnitude: Float[ndarray, "n n"], rng: np.random.Generator, *, linear: bool) -> Float[ndarray, "n n"]:
    """Scale to grey values 0..255, not yet clipped or rounded: dark, led by the fat under the skin.

    `linear` leaves out the curves that a DICOM window cannot hold.
    """
    target, chance, gamma, level = rng.uniform(140, 220), rng.random(), rng.uniform(0.6, 1), rng.uniform(4, 12)
    bright = float(np.percentile(magnitude, 99.9))
    grey = magnitude * (target / bright)
    if chance < 0.05 and not linear:
        grey = 255 * np.clip(magnitude / bright, 0, 1) ** gamma
    elif chance < 0.10:
        grey = magnitude * 255 / max(bright * 0.6, 1.0)
    elif chance < 0.13 and not linear:
        grey = grey + level
    return np.round(grey, DECIMALS)
