"""The containers that cross module boundaries.

Unless a name says otherwise: boxes are xyxy, float32, absolute pixels, in continuous coordinates (width = x2 - x1);
labels are int64 and have no background (0 is protrusion, 1 is non-protrusion); images are (B, C, H, W).
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, in that image's pixels. It may reach beyond the image, where pixels count as 0."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Horizontal extent in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Vertical extent in pixels."""
        return self.y2 - self.y1


@dataclass(frozen=True)
class Target:
    """What is annotated on one image. M may be 0."""

    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]


@dataclass(frozen=True)
class Predictions:
    """What the head says at every anchor point, levels P3..P7 concatenated, row-major within a level.

    `distributions` holds logits over the bins 0..N-1 of the distances left, top, right, bottom, in strides.
    `points` are anchor centres (x, y) in input pixels, `strides` the stride of each point's level.
    """

    logits: Float[Tensor, "B R K"]
    distributions: Float[Tensor, "B R 4 N"]
    points: Float[Tensor, "R 2"]
    strides: Float[Tensor, " R"]


@dataclass(frozen=True)
class Detections:
    """Boxes found on one image, by falling score. N may be 0."""

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
