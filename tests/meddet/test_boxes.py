"""Known answers and laws of meddet.boxes."""

import pytest
import torch

from meddet.boxes import anchor_points, decode, encode, integral, level_sizes


def test_points_are_row_major_and_without_offset() -> None:
    points, strides = anchor_points([(2, 3), (1, 2)], [8, 16])
    assert points.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]]
    assert strides.tolist() == [8] * 6 + [16] * 2


def test_a_square_of_512_has_5456_points() -> None:
    points, strides = anchor_points([(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)], [8, 16, 32, 64, 128])
    assert points.shape == (5456, 2)
    assert level_sizes(strides) == [4096, 1024, 256, 64, 16]


def test_levels_and_strides_must_match() -> None:
    with pytest.raises(ValueError, match="expected one stride per level, got 1 sizes and 2 strides"):
        anchor_points([(2, 2)], [8, 16])


def test_integral_of_known_distributions() -> None:
    uniform = torch.zeros(17)
    peaked = torch.zeros(17)
    peaked[1], peaked[2] = 1.0, 2.0
    sure = torch.full((17,), -50.0)
    sure[3] = 50.0
    distances = integral(torch.stack((uniform, peaked, sure, uniform)))
    torch.testing.assert_close(distances, torch.tensor([8.0, 5.9941196, 3.0, 8.0]))


def test_decode_by_hand() -> None:
    boxes = decode(torch.tensor([[16.0, 8.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert boxes.tolist() == [[15, 6, 19, 12]]


def test_decode_undoes_encode() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 2, generator=generator) * 100
    corners = torch.rand(3, 50, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + torch.rand(3, 50, 2, generator=generator) * 50), dim=-1)
    torch.testing.assert_close(decode(points, encode(points, boxes)), boxes)


def test_distances_are_negative_outside_a_box() -> None:
    assert encode(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, -1.0, 3.0, 1.0]])).tolist() == [[-1, 1, 3, 1]]
