import pytest
from torch import nn

from meddet.optim import adamw, rate_factor, set_rate


def test_the_rate_rises_then_falls_to_zero() -> None:
    factors = [rate_factor(step, steps=100, warmup_steps=10) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_only_matrices_and_kernels_decay() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, plain = adamw(network.parameters(), learning_rate=0.1, weight_decay=0.05).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert decayed["weight_decay"] == 0.05
    assert [p.ndim for p in plain["params"]] == [1, 1, 1]
    assert plain["weight_decay"] == 0


def test_frozen_parameters_are_left_out_and_the_rate_is_set() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    optimiser = adamw(network.parameters(), learning_rate=0.1, weight_decay=0.0)
    set_rate(optimiser, 0.01)
    assert [(len(g["params"]), g["lr"]) for g in optimiser.param_groups] == [(1, 0.01)]
