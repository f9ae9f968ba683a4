"""From the object to magnitudes: k-space on the acquired matrix, artefacts, filter, noise, zero-filling."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from numpy import ndarray
from scipy import fft

from meddet.phantom import artefacts as faults
from meddet.phantom.artefacts import Artefact, severity_of
from meddet.phantom.protocol import Readout

DECIMALS = 6
"""Magnitudes are rounded to this before they become grey values: the last bit of exp differs between processors."""
_BLUR_MM = {0: (0.0, 0.0), 3: (0.12, 0.3), 4: (0.2, 0.5), 5: (0.3, 0.75)}
"""Standard deviation along and across the column that stands for the partial volume of a slice of that thickness.

Averaging renders of neighbouring planes would cost as much again for each: what changes most from plane to plane are
the edges of cord, dura and protrusion, and they move front to back.
"""
_FINE = 0.35
"""Where an edge filter begins to act, in parts of the acquired k-space."""


@dataclass(frozen=True)
class Scan:
    """What the scanner gave."""

    magnitude: Float[ndarray, "h w"]
    """Relative to CSF at the middle of the neck."""
    sigma: float
    """Noise of either channel relative to CSF."""
    matrix: tuple[int, int]
    """Acquired lines along rows and columns of the image."""
    artefacts: tuple[str, ...]
    """name:severity of each."""


def _even(value: float) -> int:
    return max(round(value / 2) * 2, 8)


def acquired_lines(readout: Readout, shape: tuple[int, int], artefacts: Iterable[Artefact]) -> tuple[int, int]:
    """Give how many lines are acquired along rows and columns of an image of that shape, never more than it has."""
    longer = max(shape)
    lines = [min(_even(readout.matrix * side / longer), side) for side in shape]
    phase = readout.phase_axis
    lines[phase] = min(_even(lines[phase] * readout.phase_share), shape[phase])
    severity = severity_of(artefacts, "gibbs")
    if severity:
        coarse = faults.GIBBS_LINES[severity - 1] * shape[phase] / 512
        lines[phase] = min(lines[phase], _even(coarse))
    return lines[0], lines[1]


def spectrum_of(signal: Float[ndarray, "h w"], lines: tuple[int, int]) -> Complex[ndarray, "m n"]:
    """Give the middle of the Fourier transform, centred at (m // 2, n // 2); only the columns needed are computed."""
    height = len(signal)
    rows, columns = lines
    half = fft.fft(fft.rfft(signal, axis=1)[:, : columns // 2 + 1], axis=0)
    wave = np.arange(-(rows // 2), rows - rows // 2)
    right = half[wave % height][:, : columns - columns // 2]
    left = np.conj(half[-wave % height][:, 1 : columns // 2 + 1][:, ::-1])
    return np.concatenate([left, right], axis=1)


def _filter(readout: Readout, count: int, *, blur_mm: float, size_mm: float, tapered: bool) -> Float[ndarray, " m"]:
    wave = np.arange(count) - count // 2
    ramp = np.abs(wave) / (count / 2)
    taper = 1 - (readout.taper if tapered else 0.0) * 2 * np.clip(ramp - 0.5, 0, 1) ** 2
    return taper * np.exp(-2 * (np.pi * blur_mm * wave / size_mm) ** 2)


def _enhanced(spectrum: Complex[ndarray, "m n"], enhance: float) -> Complex[ndarray, "m n"]:
    """Raise or lower fine structures, and the noise with them, as a scanner's edge or smoothing filter does."""
    row, column = (((np.arange(count) - count // 2) / (count / 2) / _FINE) ** 2 for count in spectrum.shape)
    return spectrum * (1 + enhance * (1 - np.exp(-row)[:, None] * np.exp(-column)[None, :]))


def acquire(
    signal: Float[ndarray, "h w"], *, readout: Readout, shape: tuple[int, int], size_mm: tuple[float, float],
    artefacts: tuple[Artefact, ...], noise: np.random.Generator, rng: np.random.Generator,
) -> Scan:  # fmt: skip
    """Measure the object (`size_mm` wide and high) and reconstruct an image of that shape; `rng` is the artefacts'."""
    axis = readout.phase_axis
    lengths = size_mm[::-1]
    if severity_of(artefacts, "wrap"):
        signal = faults.wrap(signal, severity_of(artefacts, "wrap"), axis)
    lines = acquired_lines(readout, shape, artefacts)
    spectrum = spectrum_of(signal, lines)
    sharp = severity_of(artefacts, "gibbs") > 0
    for k in (0, 1):
        gain = _filter(readout, lines[k], blur_mm=_BLUR_MM[readout.thickness_mm][k], size_mm=lengths[k],
                       tapered=not (sharp and k == axis))  # fmt: skip
        spectrum = spectrum * np.expand_dims(gain, 1 - k)
    for artefact in artefacts:
        if artefact.name == "ghost":
            spectrum = faults.ghost(spectrum, artefact.severity, axis, rng)
        elif artefact.name == "motion":
            spectrum = faults.motion(spectrum, artefact.severity, axis, rng, size_mm=lengths[axis])
        elif artefact.name == "spike":
            spectrum = faults.spike(spectrum, artefact.severity, rng)
        elif artefact.name == "zipper":
            spectrum = faults.zipper(spectrum, artefact.severity, axis, rng, unit=float(signal.size))
    amount = readout.sigma * signal.size / np.sqrt(lines[0] * lines[1])
    pair = noise.standard_normal((2, *lines))
    spectrum = spectrum + amount * (pair[0] + 1j * pair[1])
    if readout.enhance:
        spectrum = _enhanced(spectrum, readout.enhance)
    full = np.zeros(shape, dtype=complex)
    where = [np.arange(-(count // 2), count - count // 2) % side for count, side in zip(lines, shape, strict=True)]
    full[np.ix_(*where)] = spectrum
    magnitude = np.abs(fft.ifft2(full)) * (full.size / signal.size)
    return Scan(np.round(magnitude, DECIMALS), readout.sigma, lines, tuple(map(str, artefacts)))
