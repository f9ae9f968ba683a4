"""The views that networks see: a region of an image, resampled, varied in training, standardised.

Each random change is a pair: `draw_change` draws its numbers, `move` and `recolour` apply them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from meddet.structures import Region, Target

_BLUR_KERNEL = 7
_LEAST_BLUR = 0.2


@dataclass(frozen=True)
class Change:
    """One random change of a view.

    Shifts in region sizes, a factor, an exponent, the logarithm of the gain at the right and the lower edge (its
    negative at the others), a blur in pixels (below 0: as much sharpening), noise in standard deviations, and whether
    the image gets writing at its edges.
    """

    shift_x: float
    shift_y: float
    scale: float
    gamma: float
    bias_x: float
    bias_y: float
    blur: float
    noise: float
    marks: bool
    seed: int


def cover(width: int, height: int, aspect: float) -> Region:
    """Return the smallest region of an aspect (width / height) that covers a whole image, centred on it."""
    region_height = float(math.ceil(max(height, width / aspect)))
    return centred_region(width / 2, height / 2, region_height, aspect)


def centred_region(centre_x: float, centre_y: float, height: float, aspect: float) -> Region:
    """Return a region with whole-pixel corners round a centre; `height` in pixels, aspect = width / height."""
    rows, columns = max(round(height), 2), max(round(height * aspect), 2)
    x1, y1 = round(centre_x - columns / 2), round(centre_y - rows / 2)
    return Region(float(x1), float(y1), float(x1 + columns), float(y1 + rows))


def view(pixels: Float[Tensor, "1 h w"], region: Region, size: tuple[int, int]) -> Float[Tensor, "1 H W"]:
    """Crop a region (0 outside the image) and resample it to `size` (H, W), bilinear with antialiasing."""
    top, left = round(region.y1), round(region.x1)
    rows, columns = round(region.height), round(region.width)
    return F.resized_crop(pixels, top, left, rows, columns, list(size), antialias=True)


def standardise(pixels: Float[Tensor, "1 H W"]) -> Float[Tensor, "3 H W"]:
    """Shift and scale a view to mean 0 and standard deviation 1 and repeat it to 3 channels; a constant view is 0."""
    centred = pixels - pixels.mean()
    return (centred / pixels.std(correction=0).clamp(min=1e-4)).expand(3, -1, -1)


def prepare(pixels: Float[Tensor, "1 h w"], region: Region, size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """Turn an image in [0, 1] into the detector's input without random change."""
    return standardise(view(pixels, region, size))


def boxes_to_view(boxes: Float[Tensor, "N 4"], region: Region, size: tuple[int, int]) -> Float[Tensor, "N 4"]:
    """Map boxes from the image's pixels to the view's, without clipping."""
    return (boxes - _origin(boxes, region)) / _scale(boxes, region, size)


def boxes_to_image(boxes: Float[Tensor, "N 4"], region: Region, size: tuple[int, int]) -> Float[Tensor, "N 4"]:
    """Map boxes from the view's pixels back to the image's: the inverse of `boxes_to_view`."""
    return boxes * _scale(boxes, region, size) + _origin(boxes, region)


def target_in_view(target: Target, region: Region, size: tuple[int, int]) -> Target:
    """Map a target into a view, clip its boxes, and drop those with their centre outside."""
    height, width = size
    boxes = boxes_to_view(target.boxes, region, size)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres > 0).all(1) & (centres < centres.new_tensor([width, height])).all(1)
    limits = boxes.new_tensor([width, height, width, height])
    return Target(boxes[inside].clamp(min=0).minimum(limits), target.labels[inside])


def draw_change(
    rng: np.random.Generator,
    *,
    shift: float,
    scale: float,
    gamma: float,
    bias: float,
    blur: float,
    noise: float,
    marks: float,
) -> Change:
    """Draw a change: uniform within +- each limit (gamma by its logarithm), noise from 0, `marks` a probability."""
    return Change(
        shift_x=rng.uniform(-shift, shift),
        shift_y=rng.uniform(-shift, shift),
        scale=1 + rng.uniform(-scale, scale),
        gamma=float(np.exp(rng.uniform(-gamma, gamma))),
        bias_x=rng.uniform(-bias, bias),
        bias_y=rng.uniform(-bias, bias),
        blur=rng.uniform(-blur, blur),
        noise=rng.uniform(0, noise),
        marks=bool(rng.random() < marks),
        seed=int(rng.integers(2**31)),
    )


Draw = Callable[[np.random.Generator], Change]


def move(region: Region, change: Change, boxes: Float[Tensor, "N 4"]) -> Region:
    """Apply a change's shift and scale to a region; its aspect stays, and boxes that fit into it remain inside."""
    width, height = region.width * change.scale, region.height * change.scale
    centre_x = (region.x1 + region.x2) / 2 + change.shift_x * region.width
    centre_y = (region.y1 + region.y2) / 2 + change.shift_y * region.height
    if len(boxes):
        (left, top), (right, bottom) = boxes[:, :2].amin(0).tolist(), boxes[:, 2:].amax(0).tolist()
        centre_x = _showing(left, right, width, centre_x)
        centre_y = _showing(top, bottom, height, centre_y)
    return centred_region(centre_x, centre_y, height, region.width / region.height)


def _showing(low: float, high: float, extent: float, centre: float) -> float:
    """Move a centre the least way that shows low to high; a range that doesn't fit leaves it where it is."""
    if high - low > extent:
        return centre
    return min(max(centre, high - extent / 2), low + extent / 2)


def recolour(pixels: Float[Tensor, "1 H W"], change: Change) -> Float[Tensor, "1 H W"]:
    """Apply a change's gamma, gain, blur and noise to a view in [0, 1]."""
    generator = torch.Generator().manual_seed(change.seed)
    rows, columns = (torch.linspace(-1, 1, side) for side in pixels.shape[1:])
    gain = torch.exp(change.bias_y * rows)[:, None] * torch.exp(change.bias_x * columns)
    bent = _soften(pixels.clamp(min=0) ** change.gamma * gain, change.blur)
    return bent + change.noise * bent.std(correction=0) * torch.randn(bent.shape, generator=generator)


def _soften(pixels: Tensor, blur: float) -> Tensor:
    """Blur by a Gaussian of `blur` pixels; below 0 add what a blur of that size takes away."""
    if abs(blur) < _LEAST_BLUR:
        return pixels
    blurred = F.gaussian_blur(pixels, [_BLUR_KERNEL, _BLUR_KERNEL], [abs(blur)])
    return blurred if blur > 0 else (2 * pixels - blurred).clamp(min=0)


def _origin(boxes: Tensor, region: Region) -> Tensor:
    return boxes.new_tensor([region.x1, region.y1, region.x1, region.y1])


def _scale(boxes: Tensor, region: Region, size: tuple[int, int]) -> Tensor:
    x, y = region.width / size[1], region.height / size[0]
    return boxes.new_tensor([x, y, x, y])
