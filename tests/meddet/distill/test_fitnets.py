"""FitNets' distance, by hand, and its adapters."""

import pytest
import torch
from torch import nn

from meddet.distill.base import Outputs
from meddet.distill.fitnets import FitNets
from meddet.structures import Target


def test_a_perfect_imitation_costs_nothing(teachers: list[Outputs], targets: list[Target]) -> None:
    method = FitNets(channels=32, anchor=2, weight=2.0)
    assert method.student_losses(teachers[2], teachers, targets)["dist"].item() == 0
    assert method.student_losses(teachers[0], teachers, targets)["dist"].item() > 0


def test_distances_are_in_variances_of_the_teacher(teachers: list[Outputs], targets: list[Target]) -> None:
    # A shift by two standard deviations on every level costs 4 per level.
    shifted = Outputs(tuple(level + 2 * level.std(correction=0) for level in teachers[0].features), None)
    method = FitNets(channels=32, anchor=0, weight=0.5)
    assert method.student_losses(shifted, teachers, targets)["dist"].item() == pytest.approx(0.5 * 5 * 4, rel=1e-4)
    assert method.metrics() == pytest.approx({f"distance_p{level}": 4 for level in range(3, 8)}, rel=1e-4)


def test_it_adapts_only_where_channels_differ() -> None:
    assert not list(FitNets(channels=32, anchor=0, weight=1.0).parameters())
    assert not list(FitNets(channels=32, anchor=0, weight=1.0, teacher_channels=32).parameters())
    adapters = FitNets(channels=32, anchor=0, weight=1.0, teacher_channels=64).adapters
    assert [adapter(torch.zeros(1, 32, 2, 2)).shape[1] for adapter in adapters] == [64] * 5
    assert all(isinstance(adapter, nn.Conv2d) for adapter in adapters)
