"""The locator: a small network that finds where the cervical column begins and ends.

Not in the paper. A 2 mm protrusion is two pixels wide when a whole 250 mm field is resampled to 256 pixels; the
locator looks at the whole image coarsely, and the detector then looks at the column alone, finely.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor, nn

from meddet.data.transforms import centred_region, cover, standardise, view
from meddet.files import read_json, write_atomic
from meddet.structures import Region

Points = Callable[[Float[Tensor, "1 1 S S"]], Float[Tensor, "2 2"]]


@dataclass(frozen=True)
class LocatorSettings:
    """What builds a locator and makes a region of its answer.

    `size` is the side of its square input, `width` its first layer's channels, `zoom` the height of its second look in
    column heights, `margin` the region's height in column heights, `aspect` the region's width / height.
    """

    size: int
    width: int
    zoom: float
    margin: float
    aspect: float


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Locator(nn.Module):
    """Heat maps of two points: the centres of the top and of the bottom annotated disc (C2/3 and C7/T1).

    An encoder to 1/16 of the input and a decoder with skips back to 1/4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 6 * width)
        self.down = nn.ModuleList()
        inputs = 1
        for outputs in widths:
            self.down.append(nn.Sequential(_block(inputs, outputs, 2), _block(outputs, outputs, 1)))
            inputs = outputs
        self.bottom = nn.Sequential(_block(inputs, inputs, 2), _block(inputs, inputs, 1))
        self.up = nn.ModuleList(nn.Conv2d(c, 2 * width, 1) for c in (widths[1], widths[2], widths[3], inputs))
        self.refine = nn.Sequential(_block(2 * width, 2 * width, 1), nn.Conv2d(2 * width, 2, 3, 1, 1))

    def forward(self, images: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 2 H W"]:
        """Return logits over the cells of a map of a quarter of the input's side, for the top and the bottom point."""
        maps = []
        for stage in self.down:
            images = stage(images)
            maps.append(images)
        sources = [*maps[1:], self.bottom(images)]
        merged = self.up[-1](sources[-1])
        for source, lateral in zip(reversed(sources[:-1]), reversed(self.up[:-1]), strict=True):
            lifted = lateral(source)
            merged = lifted + nnf.interpolate(merged, size=lifted.shape[-2:], mode="nearest")
        return self.refine(merged)


def expected_points(logits: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 2 2"]:
    """Return the mean (x, y) of each heat map, as fractions of the input's side."""
    height, width = logits.shape[-2:]
    weights = logits.flatten(2).softmax(-1).view_as(logits)
    xs = (torch.arange(width, dtype=logits.dtype, device=logits.device) + 0.5) / width
    ys = (torch.arange(height, dtype=logits.dtype, device=logits.device) + 0.5) / height
    return torch.stack([(weights.sum(-2) * xs).sum(-1), (weights.sum(-1) * ys).sum(-1)], dim=-1)


def whole_view(pixels: Float[Tensor, "1 h w"], size: int) -> tuple[Float[Tensor, "1 S S"], Region]:
    """Return the locator's input, the whole image squared and standardised, and the region that it shows."""
    region = cover(pixels.shape[2], pixels.shape[1], aspect=1.0)
    return standardise(view(pixels, region, (size, size)))[:1], region


def region_of(
    points: Float[Tensor, "2 2"], seen: Region, image_size: tuple[int, int], *, margin: float, aspect: float
) -> Region:
    """Return the region round the column between two points that are fractions (x, y) of the region `seen`."""
    corner, extent = points.new_tensor([seen.x1, seen.y1]), points.new_tensor([seen.width, seen.height])
    return region_between(corner + points * extent, image_size, margin=margin, aspect=aspect)


def region_between(ends: Float[Tensor, "2 2"], image_size: tuple[int, int], *, margin: float, aspect: float) -> Region:
    """Return the region round the column between two points of an image in pixels, shifted into it where it fits.

    `image_size` is (height, width). A region never is larger than the one that covers the image.
    """
    height, width = image_size
    (x1, y1), (x2, y2) = ends.tolist()
    column = ((x1 - x2) ** 2 + (y1 - y2) ** 2) ** 0.5
    whole = cover(width, height, aspect)
    if margin * column >= whole.height:
        return whole
    region_height = max(margin * column, 16.0)
    centre_x = _inside((x1 + x2) / 2, region_height * aspect, width)
    centre_y = _inside((y1 + y2) / 2, region_height, height)
    return centred_region(centre_x, centre_y, region_height, aspect)


def locate(points: Points, pixels: Float[Tensor, "1 h w"], settings: LocatorSettings) -> Region:
    """Find the region of the cervical column in an image in [0, 1], in two looks.

    The first look sees the whole image and the second what the first found, so that the field of view, which differs
    between scanners, matters little. `points` gives the two points of a square, standardised view as fractions of it.
    """
    image_size = (pixels.shape[1], pixels.shape[2])
    image, seen = whole_view(pixels, settings.size)
    near = region_of(points(image[None]), seen, image_size, margin=settings.zoom, aspect=1.0)
    closer = standardise(view(pixels, near, (settings.size, settings.size)))[:1]
    return region_of(points(closer[None]), near, image_size, margin=settings.margin, aspect=settings.aspect)


def points_of(locator: Locator) -> Points:
    """Give a locator in eval mode as `locate` takes it."""

    def points(image: Tensor) -> Tensor:
        with torch.inference_mode():
            return expected_points(locator(image))[0]

    return points


def save_locator(folder: Path, locator: Locator, settings: LocatorSettings) -> None:
    """Write model.safetensors and model.json."""
    write_atomic(folder / "model.safetensors", save(locator.state_dict()))
    write_atomic(folder / "model.json", (json.dumps(asdict(settings), indent=2, sort_keys=True) + "\n").encode())


def load_locator(folder: Path) -> tuple[Locator, LocatorSettings]:
    """Read what `save_locator` wrote; the locator comes in eval mode.

    Errors:
        ValueError: a file is missing or isn't what it should be.
    """
    settings = LocatorSettings(**read_json(folder / "model.json"))
    locator = Locator(settings.width)
    try:
        locator.load_state_dict(load_file(folder / "model.safetensors"))
    except (FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{folder / 'model.safetensors'}: expected the locator's weights, got: {error}") from None
    return locator.eval(), settings


def _inside(centre: float, extent: float, limit: int) -> float:
    if extent >= limit:
        return limit / 2
    return min(max(centre, extent / 2), limit - extent / 2)
