import pytest
import torch

from meddet.models.backbones import BACKBONES

PARAMETERS = {"mobilenet_v2": 2_223_872, "resnet50": 23_508_032, "resnet101": 42_500_160, "resnet152": 58_143_808}


def test_every_backbone_has_a_known_size() -> None:
    assert set(PARAMETERS) == set(BACKBONES)


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        backbone = BACKBONES[name]()
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 33), (100, 71)])
def test_levels_have_strides_8_16_32(name: str, height: int, width: int) -> None:
    with torch.device("meta"):
        backbone = BACKBONES[name]()
        levels = backbone(torch.empty(2, 3, height, width))
    assert tuple(level.shape[1] for level in levels) == backbone.channels
    for level, stride in zip(levels, (8, 16, 32), strict=True):
        assert level.shape[-2:] == (-(-height // stride), -(-width // stride))


def test_residual_branches_start_at_zero() -> None:
    backbone = BACKBONES["resnet50"]()
    last = [norm.weight for name, norm in backbone.named_modules() if name.endswith("bn3")]
    assert len(last) == 16
    assert all(bool((weight == 0).all()) for weight in last)
