"""The grid of anchor points, and the way between distances and boxes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def anchor_points(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], *, device: torch.device | str | None = None
) -> tuple[Float[Tensor, "R 2"], Float[Tensor, " R"]]:
    """Lay out one anchor point per cell of every level.

    The point of cell (x, y) is (x, y) * stride, without half an offset, as in mmdet 2.x.

    Args:
        sizes: height and width of each level's map, finest first.
        strides: input pixels per cell, one for each level.
        device: where the result lives.

    Returns:
        Points (x, y) in input pixels and each point's stride; levels concatenated, row-major within a level.
    """
    if len(sizes) != len(strides):
        raise ValueError(f"expected one stride per level, got {len(sizes)} sizes and {len(strides)} strides")
    points, steps = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = torch.arange(height, dtype=torch.float32, device=device) * stride
        x = torch.arange(width, dtype=torch.float32, device=device) * stride
        points.append(torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=1))
        steps.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(steps)


def level_sizes(strides: Float[Tensor, " R"]) -> list[int]:
    """Count the anchor points of each level, finest first, from every point's stride."""
    counts: list[int] = torch.unique_consecutive(strides, return_counts=True)[1].tolist()
    return counts


def integral(distributions: Float[Tensor, "*points 4 N"]) -> Float[Tensor, "*points 4"]:
    """Give the expected distance of each side, in strides.

    softmax over the bins 0..N-1, then their expectation; eq. (5), arXiv:2006.04388. Uniform logits give (N - 1) / 2.
    """
    bins = torch.arange(distributions.shape[-1], dtype=distributions.dtype, device=distributions.device)
    return distributions.softmax(dim=-1) @ bins


def decode(points: Float[Tensor, "*points 2"], ltrb: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*result 4"]:
    """Turn distances to the left, top, right and bottom side into boxes.

    Points and distances share a unit (pixels, or strides); their leading dimensions broadcast.
    """
    left_top, right_bottom = ltrb.split(2, dim=-1)
    return torch.cat((points - left_top, points + right_bottom), dim=-1)


def encode(points: Float[Tensor, "*points 2"], boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*result 4"]:
    """Turn boxes into distances from the points, the inverse of `decode`. Negative where the point lies outside."""
    left_top, right_bottom = boxes.split(2, dim=-1)
    return torch.cat((points - left_top, right_bottom - points), dim=-1)
