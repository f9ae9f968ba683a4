import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddet.data.transforms import (
    Change,
    boxes_to_image,
    boxes_to_view,
    centred_region,
    cover,
    draw_change,
    move,
    prepare,
    recolour,
    standardise,
    target_in_view,
    view,
)
from meddet.structures import Region, Target

IMAGE = torch.rand(1, 40, 60, generator=torch.Generator().manual_seed(0))
STILL = Change(
    shift_x=0.0, shift_y=0.0, scale=1.0, gamma=1.0, bias_x=0.0, bias_y=0.0, blur=0.0, noise=0.0, marks=False, seed=0
)
NO_BOX = torch.zeros(0, 4)


def test_the_whole_image_at_its_own_size_is_itself() -> None:
    assert torch.equal(view(IMAGE, Region(0.0, 0.0, 60.0, 40.0), (40, 60)), IMAGE)


def test_a_crop_is_the_pixels_there_and_zero_outside() -> None:
    seen = view(IMAGE, Region(-10.0, 5.0, 20.0, 25.0), (20, 30))
    assert torch.equal(seen[:, :, 10:], IMAGE[:, 5:25, :20])
    assert not seen[:, :, :10].any()


def test_a_bright_disc_lands_inside_its_mapped_box() -> None:
    image = torch.zeros(1, 100, 100)
    image[:, 40:48, 30:50] = 1
    region, size = Region(10.0, 20.0, 90.0, 80.0), (120, 160)
    x1, y1, x2, y2 = boxes_to_view(torch.tensor([[30.0, 40.0, 50.0, 48.0]]), region, size)[0].int().tolist()
    seen = view(image, region, size)[0]
    assert seen[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 0.9
    assert seen.sum() == pytest.approx(4 * 160, rel=0.02)


@given(
    region=st.builds(
        lambda x, y, w, h: Region(float(x), float(y), float(x + w), float(y + h)),
        st.integers(-50, 50), st.integers(-50, 50), st.integers(8, 500), st.integers(8, 500),
    ),
    corners=st.lists(st.floats(0, 400, width=32), min_size=4, max_size=4),
)  # fmt: skip
def test_boxes_come_back(region: Region, corners: list[float]) -> None:
    boxes = torch.tensor([corners])
    back = boxes_to_image(boxes_to_view(boxes, region, (256, 176)), region, (256, 176))
    assert torch.allclose(back, boxes, atol=1e-2)


def test_boxes_with_their_centre_outside_are_dropped_and_others_clipped() -> None:
    boxes = torch.tensor([[-5.0, 10.0, 15.0, 20.0], [-20.0, 0.0, 10.0, 10.0], [90.0, 90.0, 105.0, 105.0]])
    kept = target_in_view(Target(boxes, torch.tensor([0, 1, 1])), Region(0.0, 0.0, 100.0, 100.0), (50, 50))
    assert kept.boxes.tolist() == [[0.0, 5.0, 7.5, 10.0], [45.0, 45.0, 50.0, 50.0]]
    assert kept.labels.tolist() == [0, 1]


def test_an_image_without_discs_stays_without() -> None:
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert target_in_view(empty, Region(0.0, 0.0, 10.0, 10.0), (32, 32)).boxes.shape == (0, 4)


def test_a_standardised_view_has_mean_0_and_deviation_1_whatever_the_scanner() -> None:
    once = standardise(IMAGE)
    assert once.shape == (3, 40, 60)
    assert once.mean().item() == pytest.approx(0, abs=1e-5)
    assert once.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert torch.allclose(once, standardise(IMAGE * 0.3 + 0.1), atol=1e-4)
    assert standardise(torch.full((1, 8, 8), 0.7)).abs().max() < 0.01


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (50, 50)])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_cover_covers(width: int, height: int, aspect: float) -> None:
    region = cover(width, height, aspect)
    assert region.x1 <= 0
    assert region.y1 <= 0
    assert region.x2 >= width
    assert region.y2 >= height
    assert region.width / region.height == pytest.approx(aspect, rel=0.03)
    assert min(region.width - width, region.height - height) <= 1


def test_no_change_changes_nothing() -> None:
    region = centred_region(30.0, 20.0, 24.0, 1.5)
    assert move(region, STILL, NO_BOX) == region
    assert torch.equal(recolour(IMAGE, STILL), IMAGE)


def test_a_change_is_a_function_of_its_generator() -> None:
    limits = {"shift": 0.1, "scale": 0.2, "gamma": 0.3, "bias": 0.2, "blur": 0.5, "noise": 0.4, "marks": 0.5}
    first, second = (draw_change(np.random.default_rng([1, 2, 3]), **limits) for _ in range(2))
    other = draw_change(np.random.default_rng([1, 2, 4]), **limits)
    assert first == second != other
    assert torch.equal(recolour(IMAGE, first), recolour(IMAGE, second))
    for change in (first, other):
        assert max(abs(change.shift_x), abs(change.shift_y)) <= 0.1
        assert 0.8 <= change.scale <= 1.2
        assert abs(np.log(change.gamma)) <= 0.3
        assert 0 <= change.noise <= 0.4
        assert max(abs(change.bias_x), abs(change.bias_y)) <= 0.2
        assert abs(change.blur) <= 0.5


def test_a_shift_stops_where_a_box_would_leave() -> None:
    boxes = torch.tensor([[40.0, 22.0, 50.0, 26.0], [42.0, 70.0, 52.0, 74.0]])
    region = Region(0.0, 0.0, 100.0, 100.0)
    assert move(region, replace(STILL, shift_y=0.3), boxes) == Region(0.0, 22.0, 100.0, 122.0)
    assert move(region, replace(STILL, shift_x=-0.9, scale=0.6), boxes) == Region(-8.0, 20.0, 52.0, 80.0)
    assert move(region, replace(STILL, shift_y=0.3, scale=0.4), boxes) == Region(30.0, 60.0, 70.0, 100.0)


def test_the_gain_runs_from_edge_to_edge() -> None:
    flat = torch.full((1, 21, 31), 0.5)
    seen = recolour(flat, replace(STILL, bias_x=math.log(2)))
    assert seen[0, 3, [0, 15, 30]].tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert torch.allclose(seen[0, 0], seen[0, 20])


def test_a_blur_spreads_a_point_and_keeps_its_sum_and_sharpening_deepens_an_edge() -> None:
    point = torch.zeros(1, 31, 31)
    point[0, 15, 15] = 1
    spread = recolour(point, replace(STILL, blur=1.0))
    assert spread.sum().item() == pytest.approx(1, abs=1e-4)
    assert 0.1 < spread[0, 15, 15] < 0.2
    step = torch.full((1, 31, 31), 0.2)
    step[:, :, 16:] = 0.8
    sharp = recolour(step, replace(STILL, blur=-1.0))
    assert sharp.max() > 0.85
    assert sharp[0, 15, :12].tolist() == pytest.approx([0.2] * 12, abs=1e-6)


def test_prepare_is_view_then_standardise() -> None:
    region = Region(5.0, 5.0, 35.0, 25.0)
    assert torch.equal(prepare(IMAGE, region, (32, 48)), standardise(view(IMAGE, region, (32, 48))))
