"""ATSS: which anchor points are responsible for which annotated box."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from meddet.boxes import encode, level_sizes
from meddet.structures import Target

NOT_CLAIMED = -1.0
INSIDE_PX = 0.01


def atss(
    points: Float[Tensor, "R 2"],
    strides: Float[Tensor, " R"],
    boxes: Float[Tensor, "M 4"],
    *,
    topk: int = 9,
    octave_scale: int = 8,
) -> Int[Tensor, " R"]:
    """Assign the boxes of one image to anchor points.

    Adaptive Training Sample Selection (section 3, arXiv:1912.02424): the `topk` nearest points of every level are a
    box's candidates; positive are those whose anchor has an IoU of at least mean + standard deviation of all the
    candidates' and whose point lies strictly inside the box. A point that several boxes claim goes to the highest IoU.

    Args:
        points: anchor centres in input pixels, level by level.
        strides: stride of each point's level.
        boxes: xyxy in input pixels; M may be 0.
        topk: candidates per level and box; all points of a level that has fewer.
        octave_scale: side of the square anchors, in strides.

    Returns:
        Index of the box for every point, -1 for background. A box without a point inside it gets none.
    """
    claims = _claims(points, strides, boxes, topk=topk, octave_scale=octave_scale)
    return _highest(claims, start=0)


def assign_batch(
    points: Float[Tensor, "R 2"], strides: Float[Tensor, " R"], targets: Sequence[Target], *, octave_scale: int = 8
) -> Int[Tensor, "B R"]:
    """Run `atss` on every image of a batch at once.

    Returns:
        For every image and point an index into the boxes of all images, concatenated; -1 for background.
    """
    counts = [len(target.boxes) for target in targets]
    boxes = torch.cat([target.boxes for target in targets])
    claims = _claims(points, strides, boxes, topk=9, octave_scale=octave_scale)
    starts = [sum(counts[:image]) for image in range(len(counts))]
    return torch.stack([_highest(part, start=start) for part, start in zip(claims.split(counts), starts, strict=True)])


def _claims(points: Tensor, strides: Tensor, boxes: Tensor, *, topk: int, octave_scale: int) -> Tensor:
    """Give the IoU (M, R) of every box with the anchors that it claims, and NOT_CLAIMED elsewhere."""
    half = strides[:, None] * octave_scale / 2
    ious = box_iou(boxes, torch.cat((points - half, points + half), dim=1))
    candidates = _nearest(points, strides, boxes, topk=topk)
    candidate_ious = ious.gather(1, candidates)
    threshold = candidate_ious.mean(dim=1, keepdim=True)
    if len(boxes) > 0 and candidates.shape[1] > 1:
        threshold = threshold + candidate_ious.std(dim=1, keepdim=True)
    inside = encode(points[candidates], boxes[:, None]).amin(dim=-1) > INSIDE_PX
    positive = (candidate_ious >= threshold) & inside
    claims = torch.full_like(ious, NOT_CLAIMED)
    return claims.scatter_(1, candidates, candidate_ious.where(positive, torch.full_like(candidate_ious, NOT_CLAIMED)))


def _nearest(points: Tensor, strides: Tensor, boxes: Tensor, *, topk: int) -> Tensor:
    """Give the indices (M, at most topk per level) of the points nearest to each box's centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = torch.cdist(centres, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, start = [], 0
    for size in level_sizes(strides):
        level = distances[:, start : start + size]
        nearest.append(level.topk(min(topk, size), dim=1, largest=False, sorted=False).indices + start)
        start += size
    return torch.cat(nearest, dim=1)


def _highest(claims: Tensor, *, start: int) -> Tensor:
    """Give each point to the box with the highest claim, the first of equals; box numbers begin at `start`."""
    if len(claims) == 0:
        return claims.new_full(claims.shape[1:], -1, dtype=torch.int64)
    best, box = claims.max(dim=0)
    return torch.where(best > NOT_CLAIMED, box + start, -1)
