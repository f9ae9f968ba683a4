import math

import pytest
import torch

from meddet.models.cubic_table import hermite_table, interpolate, interpolate_with_slope

KNOTS = torch.arange(32, dtype=torch.float64) * (2 * math.pi / 32)
TABLE = hermite_table(KNOTS.sin(), KNOTS.cos(), period=2 * math.pi)


def test_knots_are_met_in_value_and_slope() -> None:
    value, slope = interpolate_with_slope(KNOTS + 6 * math.pi, TABLE, period=2 * math.pi)
    torch.testing.assert_close(value, KNOTS.sin(), atol=1e-12, rtol=0)
    torch.testing.assert_close(slope, KNOTS.cos(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("cells", "factor"), [(32, 16), (64, 16)])
def test_the_error_falls_with_the_fourth_power(cells: int, factor: int) -> None:
    x = torch.linspace(-9, 9, 5001, dtype=torch.float64)

    def error(count: int) -> float:
        knots = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        table = hermite_table(knots.sin(), knots.cos(), period=2 * math.pi)
        return float((interpolate(x, table, period=2 * math.pi) - x.sin()).abs().max())

    assert error(cells) < (2 * math.pi / cells) ** 4 / 384 * 1.01
    assert error(cells) / error(2 * cells) == pytest.approx(factor, rel=0.05)


def test_slope_is_the_derivative_of_the_interpolant() -> None:
    x = torch.linspace(-9, 9, 501, dtype=torch.float64, requires_grad=True)
    value = interpolate(x, TABLE, period=2 * math.pi)
    (derivative,) = torch.autograd.grad(value.sum(), x)
    known_value, slope = interpolate_with_slope(x.detach(), TABLE, period=2 * math.pi)
    torch.testing.assert_close(value, known_value)
    torch.testing.assert_close(derivative, slope)
