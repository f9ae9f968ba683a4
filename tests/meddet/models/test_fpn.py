import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meddet.models.fpn import FPN


def test_parameters_of_the_paper_student_and_of_resnet() -> None:
    laterals = {(32, 96, 1280): 361_216, (512, 1024, 2048): 918_272}
    for in_channels, lateral in laterals.items():
        with torch.device("meta"):
            neck = FPN(in_channels, 256)
        assert sum(parameter.numel() for parameter in neck.parameters()) == lateral + 2_950_400


@pytest.mark.parametrize("sizes", [((8, 8), (4, 4), (2, 2)), ((13, 9), (7, 5), (4, 3)), ((1, 1), (1, 1), (1, 1))])
def test_sizes_are_rounded_up(sizes: tuple[tuple[int, int], ...]) -> None:
    neck = FPN((3, 4, 5), 6)
    levels = neck([torch.zeros(2, channels, *size) for channels, size in zip((3, 4, 5), sizes, strict=True)])
    (height, width) = sizes[-1]
    p6 = (-(-height // 2), -(-width // 2))
    p7 = (-(-p6[0] // 2), -(-p6[1] // 2))
    assert [tuple(level.shape) for level in levels] == [(2, 6, *size) for size in (*sizes, p6, p7)]


def test_top_down_sum_by_hand() -> None:
    neck = FPN((1, 1, 1), 1)
    for module in neck.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
    c3, c4, c5 = torch.rand(1, 1, 5, 6), torch.rand(1, 1, 3, 3), torch.rand(1, 1, 2, 2)
    p3, p4, p5, p6, p7 = neck([c3, c4, c5])
    expected_p4 = c4 + F.interpolate(c5, size=(3, 3), mode="nearest")
    torch.testing.assert_close(p5, c5)
    torch.testing.assert_close(p4, expected_p4)
    torch.testing.assert_close(p3, c3 + F.interpolate(expected_p4, size=(5, 6), mode="nearest"))
    torch.testing.assert_close(p6, c5[..., ::2, ::2])
    torch.testing.assert_close(p7, p6[..., ::2, ::2])


def test_no_activation_before_p7() -> None:
    neck = FPN((1, 1, 1), 1)
    for module in neck.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
    *_, p7 = neck([-torch.ones(1, 1, 8, 8), -torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 2, 2)])
    assert p7.tolist() == [[[[-1]]]]


def test_xavier_uniform_start() -> None:
    neck = FPN((32, 96, 1280), 64)
    for module in neck.modules():
        if isinstance(module, nn.Conv2d):
            fans = (module.in_channels + module.out_channels) * module.kernel_size[0] ** 2
            bound = math.sqrt(6 / fans)
            largest = float(module.weight.detach().abs().max())
            assert 0.98 * bound < largest <= bound
            assert module.bias is not None and float(module.bias.detach().abs().max()) == 0
