"""ATSS on hand-made grids, against a slow reference, and at its edges."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from meddet.assign import assign_batch, atss
from meddet.boxes import anchor_points
from meddet.structures import STRIDES, Target

# Nine anchors of 8 x 8 px round the points (0, 8, 16) x (0, 8, 16): number 4 covers (4, 4, 12, 12).
GRID = anchor_points([(3, 3)], [8])


def assign(boxes: list[list[float]]) -> list[int]:
    return atss(*GRID, torch.tensor(boxes, dtype=torch.float32), octave_scale=1).tolist()


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([170.0, 250.0])
    halves = torch.rand(count, 2, generator=generator) * 30 + 3
    return torch.cat((centres - halves, centres + halves), dim=1)


def reference(points: Tensor, strides: Tensor, boxes: Tensor, octave_scale: int) -> list[int]:
    """ATSS as methods.md 1.5 tells it, one box and one point at a time."""

    def iou(a: list[float], b: list[float]) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
        return width * height / (areas - width * height)

    best = [(0.0, -1)] * len(points)
    for number, box in enumerate(boxes.tolist()):
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        found = []
        for stride in strides.unique().tolist():
            level = [index for index in range(len(points)) if strides[index] == stride]
            found += sorted(level, key=lambda index: math.dist(points[index].tolist(), centre))[:9]
        ious = {}
        for index in found:
            (x, y), half = points[index].tolist(), float(strides[index]) * octave_scale / 2
            ious[index] = iou([x - half, y - half, x + half, y + half], box)
        threshold = statistics.mean(ious.values()) + statistics.stdev(ious.values())
        for index, value in ious.items():
            x, y = points[index].tolist()
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if value >= threshold and inside and value > best[index][0]:
                best[index] = (value, number)
    return [number for _, number in best]


def test_the_matching_anchor_is_positive() -> None:
    assert assign([[4, 4, 12, 12]]) == [-1, -1, -1, -1, 0, -1, -1, -1, -1]


def test_a_contested_point_goes_to_the_highest_iou() -> None:
    assert assign([[5, 5, 12, 12], [4, 4, 12, 12]])[4] == 1
    assert assign([[4, 4, 12, 12], [5, 5, 12, 12]])[4] == 0


def test_of_equal_claims_the_first_box_wins() -> None:
    assert assign([[4, 4, 12, 12], [4, 4, 12, 12]])[4] == 0


def test_a_box_between_the_points_gets_none() -> None:
    assert set(assign([[9, 9, 11, 11]])) == {-1}


@pytest.mark.parametrize(("left", "expected"), [(7.98, 0), (7.995, -1)])
def test_a_point_must_lie_inside_by_a_hundredth_of_a_pixel(left: float, expected: int) -> None:
    assert assign([[left, 4, 15.995, 12]])[4] == expected


def test_the_deviation_is_the_unbiased_one() -> None:
    # Two candidates: mean + unbiased deviation exceeds both IoUs; the biased one would equal the larger.
    points, strides = anchor_points([(1, 2)], [8])
    assert atss(points, strides, torch.tensor([[-3.0, -3.0, 4.0, 4.0]]), octave_scale=1).tolist() == [-1, -1]


def test_a_single_point_is_its_own_threshold() -> None:
    points, strides = anchor_points([(1, 1)], [8])
    assert atss(points, strides, torch.tensor([[-3.0, -3.0, 4.0, 4.0]]), octave_scale=1).tolist() == [0]


def test_no_boxes_means_background() -> None:
    assert set(atss(*GRID, torch.zeros(0, 4)).tolist()) == {-1}


@pytest.mark.parametrize("octave_scale", [4, 8])
def test_it_agrees_with_the_slow_reference(octave_scale: int) -> None:
    points, strides = anchor_points([(32, 22), (16, 11), (8, 6), (4, 3), (2, 2)], STRIDES)
    boxes = random_boxes(7, seed=1)
    assigned = atss(points, strides, boxes, octave_scale=octave_scale).tolist()
    assert assigned == reference(points, strides, boxes, octave_scale)
    assert len(set(assigned)) > 3


def test_reordering_the_boxes_only_renumbers_them() -> None:
    points, strides = anchor_points([(32, 22), (16, 11), (8, 6)], STRIDES[:3])
    boxes, order = random_boxes(6, seed=2), torch.tensor([3, 5, 0, 2, 4, 1])
    plain, shuffled = atss(points, strides, boxes), atss(points, strides, boxes[order])
    renumbered = torch.where(shuffled >= 0, order[shuffled.clamp(min=0)], -1)
    assert torch.equal(plain, renumbered)


def test_a_batch_is_its_images_one_by_one() -> None:
    points, strides = anchor_points([(32, 22), (16, 11), (8, 6)], STRIDES[:3])
    targets = [
        Target(boxes=random_boxes(count, seed=count), labels=torch.zeros(count, dtype=torch.int64))
        for count in (3, 0, 5)
    ]
    batch = assign_batch(points, strides, targets)
    for row, target, start in zip(batch, targets, (0, 3, 3), strict=True):
        alone = atss(points, strides, target.boxes)
        assert torch.equal(row, torch.where(alone >= 0, alone + start, -1))
