"""What images and boxes of cervical T2 studies measure elsewhere, and how a data set compares.

Sources: the four images of the result figure of arXiv:2409.00204 ("figure"), and 328 annotated cervical T2 images of
another source ("328 images", central 95 %). A value outside is no error: it says that the data differ from these.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

_FIGURE, _OTHER = "figure", "328 images"


@dataclass(frozen=True)
class Range:
    """Where a statistic lies elsewhere."""

    low: float
    high: float
    source: str


INTENSITY: Mapping[str, Range] = {
    "grey mean": Range(22.0, 33.0, _FIGURE),
    "grey p50": Range(6.0, 15.0, _FIGURE),
    "grey p75": Range(27.0, 48.0, _FIGURE),
    "grey p90": Range(56.0, 84.0, _FIGURE),
    "grey p95": Range(85.0, 124.0, _FIGURE),
    "grey p99": Range(113.0, 184.0, _FIGURE),
    "grey p99.9": Range(142.0, 218.0, _FIGURE),
    "share below 12": Range(0.45, 0.58, _FIGURE),
    "share 12 to 40": Range(0.18, 0.32, _FIGURE),
    "share 40 to 80": Range(0.10, 0.20, _FIGURE),
    "share 80 to 160": Range(0.05, 0.10, _FIGURE),
    "share above 160": Range(0.0, 0.025, _FIGURE),
}
"""Of the grey values 0..255 of an image; compared with the median over the images."""
_COLUMNS = dict(
    zip(
        INTENSITY,
        (
            *("mean_grey", "p50", "p75", "p90", "p95", "p99", "p99_9"),
            *("below_12", "12_to_40", "40_to_80", "80_to_160", "above_160"),
        ),
        strict=True,
    )
)
"""Where the images table holds each."""

BOXES: Mapping[str, tuple[Range, ...]] = {
    "width, share of the side": (Range(0.075, 0.090, _FIGURE), Range(0.065, 0.135, _OTHER)),
    "height, share of the side": (Range(0.029, 0.040, _FIGURE), Range(0.031, 0.076, _OTHER)),
    "width / height": (Range(2.2, 2.8, _FIGURE),),
    "distance of neighbours, share of the side": (Range(0.060, 0.075, _FIGURE), Range(0.054, 0.084, _OTHER)),
    "centre from the left, share of the width": (Range(0.40, 0.54, _FIGURE), Range(0.36, 0.57, _OTHER)),
    "top disc from above, share of the height": (Range(0.35, 0.43, _FIGURE),),
}
"""Of the boxes; the side of an image that isn't square is the root of its area."""


@dataclass(frozen=True)
class Comparison:
    """A statistic of this data set beside the ranges elsewhere. `value` is None where nothing was to be measured."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    ranges: tuple[Range, ...]

    @property
    def inside(self) -> bool:
        """Say whether the value lies in one of the ranges."""
        return self.value is not None and any(r.low <= self.value <= r.high for r in self.ranges)


def compare_intensities(images: pd.DataFrame) -> list[Comparison]:
    """Compare every intensity statistic: the median over the images, and their central 90 %."""
    return [_comparison(name, images[_COLUMNS[name]], (found,)) for name, found in INTENSITY.items()]


def compare_boxes(boxes: pd.DataFrame) -> list[Comparison]:
    """Compare sizes and places: the mean over the boxes, and their central 90 %."""
    side = (boxes["image_width"] * boxes["image_height"]) ** 0.5
    x, y = (boxes["x1"] + boxes["x2"]) / 2, (boxes["y1"] + boxes["y2"]) / 2
    placed = boxes.assign(x=x / side, y=y / side, down=y / boxes["image_height"]).sort_values(["image_id", "y"])
    steps = placed.groupby("image_id")[["x", "y"]].diff().dropna()
    values = {
        "width, share of the side": boxes["width"] / side,
        "height, share of the side": boxes["height"] / side,
        "width / height": boxes["width"] / boxes["height"],
        "distance of neighbours, share of the side": (steps["x"] ** 2 + steps["y"] ** 2) ** 0.5,
        "centre from the left, share of the width": x / boxes["image_width"],
        "top disc from above, share of the height": placed.groupby("image_id")["down"].first(),
    }
    return [_comparison(name, values[name], ranges) for name, ranges in BOXES.items()]


def _comparison(name: str, values: pd.Series, ranges: tuple[Range, ...]) -> Comparison:
    if values.empty:
        return Comparison(name, None, None, None, ranges)
    middle = values.median() if name in INTENSITY else values.mean()
    low, high = values.quantile([0.05, 0.95])
    return Comparison(name, float(middle), float(low), float(high), ranges)
