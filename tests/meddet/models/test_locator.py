import math
from pathlib import Path

import pytest
import torch

from meddet.data.transforms import cover
from meddet.models.locator import (
    Locator,
    LocatorSettings,
    expected_points,
    load_locator,
    locate,
    points_of,
    region_between,
    region_of,
    save_locator,
    whole_view,
)

SETTINGS = LocatorSettings(size=64, width=4, zoom=2.2, margin=1.5, aspect=0.5)


def test_the_mean_of_a_sharp_heat_map_is_its_cell() -> None:
    logits = torch.full((1, 2, 8, 8), -50.0)
    logits[0, 0, 2, 5] = 50
    logits[0, 1, 7, 0] = 50
    assert torch.allclose(expected_points(logits), torch.tensor([[[5.5 / 8, 2.5 / 8], [0.5 / 8, 7.5 / 8]]]))


def test_the_region_is_centred_on_the_column_with_its_margin() -> None:
    seen = cover(400, 400, aspect=1.0)
    points = torch.tensor([[0.5, 0.3], [0.5, 0.7]])
    region = region_of(points, seen, (400, 400), margin=1.5, aspect=0.5)
    assert (region.width, region.height) == (120, 240)
    assert ((region.x1 + region.x2) / 2, (region.y1 + region.y2) / 2) == (200, 200)


def test_the_region_is_shifted_into_the_image_and_never_larger_than_it() -> None:
    seen = cover(400, 400, aspect=1.0)
    points = torch.tensor([[0.1, 0.1], [0.1, 0.5]])
    region = region_of(points, seen, (400, 400), margin=1.5, aspect=0.5)
    assert (region.x1, region.y1) == (0, 0)
    assert region_of(points, seen, (400, 400), margin=8.0, aspect=0.5) == cover(400, 400, 0.5)


def test_a_wide_image_keeps_its_geometry() -> None:
    pixels = torch.zeros(1, 100, 200)
    image, seen = whole_view(pixels, 64)
    assert image.shape == (1, 64, 64)
    assert (seen.x1, seen.y1, seen.x2, seen.y2) == (0, -50, 200, 150)


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_the_map_has_a_quarter_of_the_side(size: int) -> None:
    assert Locator(4)(torch.zeros(2, 1, size, size)).shape == (2, 2, math.ceil(size / 4), math.ceil(size / 4))


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    locator = Locator(SETTINGS.width).eval()
    save_locator(tmp_path, locator, SETTINGS)
    loaded, settings = load_locator(tmp_path)
    pixels = torch.rand(1, 90, 70)
    assert settings == SETTINGS
    assert locate(points_of(loaded), pixels, settings) == locate(points_of(locator), pixels, SETTINGS)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    save_locator(tmp_path, Locator(4), LocatorSettings(size=64, width=8, zoom=2.2, margin=1.5, aspect=0.5))
    with pytest.raises(ValueError, match=r"model\.safetensors: expected the locator's weights"):
        load_locator(tmp_path)


def test_the_second_look_mends_what_the_first_saw_coarsely() -> None:
    ends = torch.tensor([[300.0, 100.0], [310.0, 300.0]])
    looks: list[int] = []

    def points(_: torch.Tensor) -> torch.Tensor:
        """Answer as a locator would that is wrong by 15 px of 600 in its first look and right in the second."""
        looks.append(len(looks))
        if len(looks) == 1:
            return (ends + 15) / 600
        near = region_between(ends + 15, (600, 600), margin=2.2, aspect=1.0)
        return (ends - torch.tensor([near.x1, near.y1])) / near.width

    found = locate(points, torch.rand(1, 600, 600), SETTINGS)
    assert len(looks) == 2
    assert found == region_between(ends, (600, 600), margin=1.5, aspect=0.5)
