"""LWFF's gates, its start, and the shares that it reports."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from meddet.distill.lwff import GATES, LWFF, Gate, Start


def maps(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, 4, 3, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("gate", list(GATES))
def test_every_gate_is_open_at_the_start(gate: Gate) -> None:
    teachers = maps()
    fused, shares = LWFF(8, 3, anchor=2, gate=gate, start="anchor")(teachers)
    torch.testing.assert_close(fused, teachers[2])
    assert shares.tolist() == [0, 0, 1]


def test_the_sigmoid_start_is_exact() -> None:
    teachers = maps()
    assert torch.equal(LWFF(8, 3, anchor=0, gate="sigmoid", start="anchor")(teachers)[0], teachers[0])


def test_it_can_start_from_the_mean() -> None:
    teachers = maps()
    fused, shares = LWFF(8, 3, anchor=0, gate="sigmoid", start="mean")(teachers)
    torch.testing.assert_close(fused, torch.stack(teachers).mean(dim=0))
    assert shares.sum().item() == pytest.approx(1)
    assert shares.min() > 0.2


@pytest.mark.parametrize(
    ("gate", "expected"), [("sigmoid", [1.46211715, 1.0]), ("linear", [2.0, 1.0]), ("softmax", [1.46211715, 0.5378828])]
)
def test_gates_by_hand(gate: Gate, expected: list[float]) -> None:
    raw = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1, 1)
    torch.testing.assert_close(GATES[gate](raw).flatten(), torch.tensor(expected))


@pytest.mark.parametrize("start", ["anchor", "mean"])
def test_it_is_one_convolution_of_the_weighted_concatenation(start: Start) -> None:
    torch.manual_seed(0)
    fusion, teachers = LWFF(8, 3, anchor=1, gate="sigmoid", start=start), maps()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    alphas = [
        2 * torch.sigmoid(F.conv2d(level.mean(dim=(2, 3), keepdim=True), weigh.weight, weigh.bias))
        for level, weigh in zip(teachers, fusion.weigh, strict=True)
    ]
    weighted = torch.cat([level * alpha for level, alpha in zip(teachers, alphas, strict=True)], dim=1)
    weight = torch.cat([convolution.weight for convolution in fusion.fuse], dim=1)
    torch.testing.assert_close(fusion(teachers)[0], F.conv2d(weighted, weight, fusion.fuse[0].bias))


def test_the_paper_has_394240_parameters_per_level() -> None:
    fusion = LWFF(256, 3, anchor=0, gate="sigmoid", start="anchor")
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 394240
