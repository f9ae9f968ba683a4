"""The numbers that are watched: what an image looks like, and what the model says about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from meddet.structures import Detections, Region

Values = Mapping[str, float | None]
"""A value by feature; None where the file doesn't tell."""

_BEST = 6
"""Discs on an image of the cervical column."""
_PROTRUSION = 0
_STEP = 4
_FULL = 0.9995
_LEAST = 1e-3
_NOISE_KERNEL_NORM = 6.0
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Feature:
    """A watched number, named for people."""

    title: str
    unit: str
    sees: str
    """What moves it."""
    source: Literal["image", "score"]


FEATURES: dict[str, Feature] = {
    "brightness": Feature(
        "brightest level", "of the file's range", "another intensity scale under a fixed window", "image"
    ),
    "saturated": Feature("white pixels", "%", "an intensity scale beyond the window", "image"),
    "mean": Feature("mean grey", "0 to 1", "window, gamma, field of view", "image"),
    "contrast": Feature("spread of grey", "0 to 1", "window, sequence, contrast agent", "image"),
    "front_back": Feature("front against back", "log2 of grey", "bias field from front to back, flips", "image"),
    "top_bottom": Feature("top against bottom", "log2 of grey", "bias field from head to feet", "image"),
    "centre_edge": Feature("centre against edge", "log2 of grey", "bias field of the coil, field of view", "image"),
    "noise": Feature("noise", "% of the range", "coil, field strength, filters", "image"),
    "sharpness": Feature("sharpness", "ratio", "resolution, filters, motion", "image"),
    "pixel_mm": Feature("pixel size", "mm", "matrix, field of view", "image"),
    "rows": Feature("rows", "pixels", "matrix", "image"),
    "column_height": Feature("column's height", "of the image", "field of view, another region", "image"),
    "column_x": Feature("column's place, across", "of the image", "positioning, flips", "image"),
    "column_y": Feature("column's place, down", "of the image", "positioning", "image"),
    "discs": Feature("discs called", "per image", "all that makes the model miss or invent", "score"),
    "protrusions": Feature("protrusions called", "per image", "prevalence, or a changed image", "score"),
    "top_score": Feature("highest protrusion score", "0 to 1", "prevalence, or a changed image", "score"),
    "confidence": Feature("mean of the six best scores", "0 to 1", "images that the model doesn't know", "score"),
}
"""By name, in the order in which they are shown."""


def image_features(
    pixels: Float[np.ndarray, "h w"],
    region: Region,
    *,
    spacing_mm: tuple[float, float] | None,
    brightness: float | None,
) -> dict[str, float | None]:
    """Measure an upright image in [0, 1] after its window.

    The halves that are compared are those of the whole image: superior is up and, where the file knows its orientation,
    anterior left.

    Args:
        pixels: of one image.
        region: in which the locator sees the column.
        spacing_mm: (row, column), None where the file doesn't say.
        brightness: of the file before percentiles of its own were its window (`Image.brightness`).
    """
    height, width = pixels.shape
    rows, columns = pixels.mean(axis=1, dtype=np.float64), pixels.mean(axis=0, dtype=np.float64)
    centre = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    mean = float(pixels.mean(dtype=np.float64))
    outside = (mean * pixels.size - float(centre.sum(dtype=np.float64))) / max(pixels.size - centre.size, 1)
    return {
        "brightness": brightness,
        "saturated": 100 * float((pixels >= _FULL).mean()),
        "mean": mean,
        "contrast": float(pixels.std(dtype=np.float64)),
        "front_back": _ratio(columns[: width // 2].mean(), columns[width // 2 :].mean()),
        "top_bottom": _ratio(rows[: height // 2].mean(), rows[height // 2 :].mean()),
        "centre_edge": _ratio(float(centre.mean(dtype=np.float64)), outside),
        "noise": 100 * _noise(pixels),
        "sharpness": _sharpness(pixels),
        "pixel_mm": None if spacing_mm is None else float((spacing_mm[0] * spacing_mm[1]) ** 0.5),
        "rows": float(height),
        "column_height": region.height / height,
        "column_x": (region.x1 + region.x2) / 2 / width,
        "column_y": (region.y1 + region.y2) / 2 / height,
    }


def score_features(found: Detections, called: Detections) -> dict[str, float | None]:
    """Measure what the model says of an image.

    Args:
        found: every detection.
        called: those that count at the operating point.
    """
    best = sorted(found.scores.tolist(), reverse=True)[:_BEST]
    protrusions = found.scores[found.labels == _PROTRUSION].tolist()
    return {
        "discs": float(len(called.scores)),
        "protrusions": float((called.labels == _PROTRUSION).sum()),
        "top_score": max(protrusions, default=0.0),
        "confidence": sum(best) / _BEST,
    }


def study_features(images: Sequence[Values]) -> dict[str, float | None]:
    """Give one value per feature of a study: the mean over its images, which are not independent of each other."""
    assert images, "a study without images"
    means: dict[str, float | None] = {}
    for name in FEATURES:
        known = [value for image in images if (value := image.get(name)) is not None]
        means[name] = float(np.mean(known)) if known else None
    return means


def _ratio(first: float, second: float) -> float:
    """Give log2 of a ratio of mean greys; black halves count as nearly black."""
    return float(np.log2((first + _LEAST) / (second + _LEAST)))


def _noise(pixels: Float[np.ndarray, "h w"]) -> float:
    """Estimate the noise's standard deviation: median response to a mask that is blind to planes (Immerkaer 1996)."""
    if min(pixels.shape) < 3:
        return 0.0
    along = pixels[:, :-2] - 2 * pixels[:, 1:-1] + pixels[:, 2:]
    both = along[:-2] - 2 * along[1:-1] + along[2:]
    return float(np.median(np.abs(both))) * _MAD_TO_SD / _NOISE_KERNEL_NORM


def _sharpness(pixels: Float[np.ndarray, "h w"]) -> float:
    """Compare the differences of neighbours with those of pixels four apart."""
    fine, coarse = (
        sum(float(np.abs(p[step:] - p[:-step]).mean()) for p in (pixels, pixels.T) if len(p) > step)
        for step in (1, _STEP)
    )
    return fine / (coarse + _LEAST)
