"""Small random outputs of a student and three teachers, and the methods under test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from meddet.distill.base import Distiller, Outputs
from meddet.distill.fitnets import FitNets
from meddet.distill.meddet import MedDetDistiller
from meddet.models.gfl_head import GFLHead
from meddet.structures import Target

CHANNELS = 32
SIZES = [(8, 6), (4, 3), (2, 2), (1, 1), (1, 1)]
TARGETS = [
    Target(torch.tensor([[10.0, 12.0, 34.0, 30.0], [20.0, 40.0, 44.0, 60.0]]), torch.tensor([0, 1])),
    Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    Target(torch.tensor([[2.0, 3.0, 22.0, 21.0]]), torch.tensor([1])),
]


def features(seed: int, *, scale: float = 1.0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(len(TARGETS), CHANNELS, *size, generator=generator) for size in SIZES)


@pytest.fixture
def teachers() -> list[Outputs]:
    return [Outputs(features(seed, scale=seed), None) for seed in (1, 2, 3)]


@pytest.fixture
def student() -> Outputs:
    return Outputs(tuple(level.requires_grad_() for level in features(4)), None)


@pytest.fixture
def targets() -> list[Target]:
    return TARGETS


@pytest.fixture
def head() -> GFLHead:
    torch.manual_seed(0)
    trained = GFLHead(2, CHANNELS, activation=None).requires_grad_(False)
    trained.cls.weight *= 10  # fresh predictors are so small that what the head reads would hardly matter
    trained.reg.weight *= 10
    return trained


@pytest.fixture
def make_meddet(head: GFLHead) -> Callable[..., MedDetDistiller]:
    def make(**changes: Any) -> MedDetDistiller:
        torch.manual_seed(1)
        arguments: dict[str, Any] = {
            "channels": CHANNELS,
            "num_teachers": 3,
            "anchor": 1,
            "anchor_head": head,
            "sigma": 0.5,
            "tau": 0.4,
            "scale": 2.0,
            "adversarial_warmup_steps": 0,
            "anchor_weight": 1.0,
            "gate": "sigmoid",
            "start": "anchor",
            "octave_scale": 2,
        }
        return MedDetDistiller(**(arguments | changes))

    return make


@pytest.fixture(params=["meddet", "fitnets"])
def method(request: pytest.FixtureRequest, make_meddet: Callable[..., MedDetDistiller]) -> Distiller:
    return make_meddet() if request.param == "meddet" else FitNets(channels=CHANNELS, anchor=1, weight=2.0)
