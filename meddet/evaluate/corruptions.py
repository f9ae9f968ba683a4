"""Eight ways in which an MR image goes wrong, in five severities each, drawn anew for no one: the same every time.

Severity 1 is what a trained eye notices, 5 what a radiologist sends back for repetition. Lengths are fractions of the
image's height, which is about 250 mm of a sagittal cervical series. Rows are phase-encoded and columns
frequency-encoded, as is usual there so that swallowing doesn't ghost across the spine. The column stays in the field.

Motion, ghosting, spikes and bias are TorchIO's deterministic transforms with every parameter given (Pérez-García et
al., 2021, doi:10.1016/j.cmpb.2021.106236). Rician noise, truncation of k-space, signal loss and wrap-around it lacks.

Gamma isn't among them: an image's window differs between readers anyway, so that training changes it by as much.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

SEVERITIES = (1, 2, 3, 4, 5)
_GREYS = 65535

_NOISE = (0.06, 0.11, 0.18, 0.28, 0.42)
_MOTION = (0.002, 0.004, 0.007, 0.012, 0.02)
_STILL = (0.12, 0.09, 0.065, 0.045, 0.03)
_GHOST = (0.04, 0.09, 0.17, 0.28, 0.42)
_SPIKE = (0.06, 0.12, 0.22, 0.36, 0.55)
_BIAS = (0.25, 0.5, 0.8, 1.2, 1.8)
_KEPT = (0.45, 0.34, 0.26, 0.2, 0.15)
_VOID = (0.012, 0.021, 0.032, 0.045, 0.06)
_SHIFT = 0.6
_WRAP = (0.12, 0.19, 0.27, 0.35, 0.44)

Image = Float[np.ndarray, "h w"]


def corrupt(image: Float[np.ndarray, "h w"], *, name: str, severity: int, image_id: int, seed: int) -> Image:
    """Spoil an image.

    What is drawn (the noise's pattern, where a spike is) depends on seed, image id and corruption alone, and the
    severity is its strength: an image goes wrong in one way, more and more. Grey values are rounded to the 16 bits of a
    canonical image, so that the last digit of a Fourier transform changes nothing.

    Args:
        image: float32 in [0, 1], upright.
        name: an entry of CORRUPTIONS.
        severity: 1..5; 0 leaves the image as it is.
        image_id: of the image.
        seed: of the whole test.

    Returns:
        float32 in [0, 1].

    Errors:
        ValueError: no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"expected a corruption of {', '.join(CORRUPTIONS)}, got {name!r}")
    if severity not in (0, *SEVERITIES):
        raise ValueError(f"severity: expected 0 to {SEVERITIES[-1]}, got {severity}")
    if severity == 0:
        return image
    random = np.random.default_rng([seed, image_id, list(CORRUPTIONS).index(name)])
    field = _acquired(image)
    spoilt = image.astype(np.float64)
    spoilt[field] = CORRUPTIONS[name](spoilt[field], severity - 1, random)
    return (np.rint(np.clip(spoilt, 0, 1) * _GREYS) / _GREYS).astype(np.float32)


def rician_noise(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Take the magnitude after Gaussian noise in both channels (Gudbjartsson & Patz 1995): air is noisy too, and grey.

    The noise's standard deviation is a fraction of the image's root mean square.
    """
    deviation = _NOISE[level] * float(np.sqrt(np.mean(image**2)))
    real, imaginary = random.standard_normal((2, *image.shape)) * deviation
    return np.hypot(image + real, imaginary)


def motion(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Let the patient move four times while the rows of k-space are filled; its middle holds the first position.

    The worse, the farther the moves and the narrower the middle that none of them touches.
    """
    import torchio

    moves = 4
    shift = random.choice([-1.0, 1.0], moves) * random.uniform(0.5, 1.0, moves) * _MOTION[level] * len(image)
    across = random.uniform(-0.5, 0.5, moves) * _MOTION[level] * len(image)
    turn = random.choice([-1.0, 1.0], moves) * random.uniform(0.5, 1.0, moves) * np.degrees(_MOTION[level])
    still, early, late = _STILL[level], random.uniform(0.3, 0.7), random.uniform(0.3, 0.7)
    times = np.array([early * (0.5 - still), 0.5 - still, 0.5 + still, 0.5 + still + late * (0.5 - still)])
    nothing = np.zeros(moves)
    transform = torchio.Motion(
        degrees=np.stack([turn, nothing, nothing], axis=1),
        translation=np.stack([nothing, across, shift], axis=1),
        times=times,
        image_interpolation="linear",
    )
    # TorchIO fills k-space along the last axis, and resamples a flat image only if another one is flat.
    return _by_torchio(transform, image.T[None])[0].T


def ghosting(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Weaken every n-th row of k-space, as breathing and pulsation do: n copies along the phase axis."""
    import torchio

    ghosts = int(random.integers(2, 6))
    transform = torchio.Ghosting(num_ghosts=ghosts, axis=0, intensity=_GHOST[level] * ghosts, restore=0.02)
    return _by_torchio(transform, image[..., None])[..., 0]


def spike(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Add two sparks to k-space: a herringbone over the whole image."""
    import torchio

    radius, angle = random.uniform(0.08, 0.3, 2), random.uniform(0, np.pi, 2)
    places = 0.5 + np.stack([radius * np.sin(angle), radius * np.cos(angle), np.zeros(2)], axis=1)
    transform = torchio.Spike(spikes_positions=places, intensity=_SPIKE[level])
    return _by_torchio(transform, image[..., None])[..., 0]


def bias_field(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Multiply by the exponential of a cubic polynomial, as where one coil element of several fails.

    The window follows the brightness: the 99.5th percentile stays where it was.
    """
    import torchio

    order = 3
    terms = [(x, y, z) for x in range(order + 1) for y in range(order + 1 - x) for z in range(order + 1 - x - y)]
    drawn = random.choice([-1.0, 1.0], len(terms)) * random.uniform(0.5, 1.0, len(terms))
    flat = [0.0 if z or not x + y else float(value) for (x, y, z), value in zip(terms, drawn, strict=True)]
    transform = torchio.BiasField(coefficients=[_BIAS[level] * value / 3 for value in flat], order=order)
    changed = _by_torchio(transform, image[..., None])[..., 0]
    before, after = np.percentile(image, 99.5), np.percentile(changed, 99.5)
    return changed * (before / after if after > 0 else 1.0)


def low_resolution(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Keep the middle of k-space alone, fewer rows than columns: blur, and Gibbs' ripples beside every edge."""
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    rows, columns = (np.abs(np.arange(count) - count // 2) for count in image.shape)
    inside = np.outer(rows <= _KEPT[level] * len(rows) / 2, columns <= 1.25 * _KEPT[level] * len(columns) / 2)
    return np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum * inside)))


def signal_loss(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Put a metal ball into the middle of the image: no signal within, and round it its dipole field's pile-up.

    Spins are misplaced along the frequency axis by the field (3 cos^2 a - 1) / r^3, a from the main field, which is the
    patient's long axis; their signal is kept, so that a bright rim stands beside the void.
    """
    height, width = image.shape
    radius = _VOID[level] * height
    row, column = _somewhere_in_tissue(image, random)
    fine = 4
    y = np.arange(height)[:, None] + 0.5 - row
    x = (np.arange(fine * width)[None] + 0.5) / fine - column
    squared = np.maximum(x**2 + y**2, radius**2)
    field = radius**3 * (3 * y**2 / squared - 1) / squared**1.5
    signal = np.repeat(image, fine, axis=1) / fine * (x**2 + y**2 > radius**2)
    moved = _moved_along_rows(signal, (np.arange(fine * width) + 0.5) / fine - 0.5 + _SHIFT * radius * field, width)
    near = np.hypot(*np.broadcast_arrays(y, x[:, ::fine])) < 4 * radius
    return np.where(near, moved, image)


def wrap_around(image: np.ndarray, level: int, random: np.random.Generator) -> np.ndarray:
    """Fold what lies beyond the upper and lower edge back over the opposite one; the field of view stays.

    What lies there isn't known: it is taken to mirror the strip inside the edge, and to fade with the coil.
    """
    count = round(_WRAP[level] * len(image))
    weight = random.uniform(0.7, 0.9) * np.linspace(1.0, 0.0, max(count, 1))[:count, None]
    folded = image.copy()
    folded[:count] += weight * image[::-1][:count]
    folded[::-1][:count] += weight * image[:count]
    return folded


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "rician_noise": rician_noise,
    "motion": motion,
    "ghosting": ghosting,
    "spike": spike,
    "bias_field": bias_field,
    "low_resolution": low_resolution,
    "signal_loss": signal_loss,
    "wrap_around": wrap_around,
}


def _moved_along_rows(signal: np.ndarray, place: np.ndarray, width: int) -> np.ndarray:
    """Add each value to the two pixels of its row between whose centres it comes to lie; outside it is lost."""
    left = np.floor(place).astype(int)
    rows = np.arange(len(signal))[:, None]
    moved = np.zeros((len(signal), width))
    for column, share in ((left, left + 1 - place), (left + 1, place - left)):
        inside = (column >= 0) & (column < width)
        index = (rows * width + column)[inside]
        moved += np.bincount(index, weights=(signal * share)[inside], minlength=moved.size).reshape(moved.shape)
    return moved


def _somewhere_in_tissue(image: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """Draw a row and a column near the middle, where it isn't dark."""
    height, width = image.shape
    rows, columns = np.nonzero(image >= image.mean())
    near = (abs(rows / height - 0.5) < 0.15) & (abs(columns / width - 0.5) < 0.15)
    if not near.any():
        return height // 2, width // 2
    index = int(random.integers(near.sum()))
    return int(rows[near][index]), int(columns[near][index])


def _acquired(image: np.ndarray) -> tuple[slice, slice]:
    """Leave out the black margins that were added to a rectangular field of view after it was acquired."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _by_torchio(transform: Any, volume: np.ndarray) -> np.ndarray:
    import torch
    import torchio

    image = torchio.ScalarImage(tensor=torch.from_numpy(volume.astype(np.float32))[None].contiguous())
    with torch.random.fork_rng(devices=[]):  # every transform of TorchIO draws whether it is applied
        return transform(image).data[0].numpy().astype(np.float64)
