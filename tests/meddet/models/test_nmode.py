import math

import pytest
import torch
from torchdiffeq import odeint

from meddet.models.nmode import EQUATIONS, SOLVERS, NmODE, integrate

# methods.md 4.4, rk4 with 400 steps.
GAMMAS = [0.0, 0.25, 0.5, 1.0, 1.25, math.pi / 2, 1.75, 2.0, 2.5, 3.0, -0.5, 4.0]
GOLDEN_ROWS = """
nmode  1 0 .04837805 .21948657 .59177549 .61011810 .53621622 .47172719 .36946618 .15983536 .01127381 .10703109 .53026296
nmode2 1 .55313634 .45808018 .31497009 .05370455 .00644446 0 .00066162 .02507208 .49643187 .57810680 .55487571 .10949770
nmode2 3 .87091153 .70279792 .47753857 .08361391 .01005246 0 .00103431 .06177222 .89037998 .92473021 .91778322 .16834983
"""
GOLDEN = {
    (equation, float(duration)): [float(value) for value in values]
    for equation, duration, *values in (row.split() for row in GOLDEN_ROWS.split("\n") if row)
}
ORDERS = {"euler": 1, "heun": 2, "rk4": 4}
BOTH = pytest.mark.parametrize("equation", sorted(EQUATIONS))
KINDS = pytest.mark.parametrize("solver", ["fast", *SOLVERS])


def period(count: int) -> torch.Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)


@pytest.mark.parametrize(("equation", "duration"), GOLDEN)
def test_golden_values(equation: str, duration: float) -> None:
    gamma = torch.tensor(GAMMAS, dtype=torch.float64)
    y = integrate(gamma, equation=EQUATIONS[equation], solver="rk4", steps=round(400 * duration), duration=duration)
    torch.testing.assert_close(y, torch.tensor(GOLDEN[equation, duration], dtype=torch.float64), atol=1e-8, rtol=0)


@BOTH
def test_fast_has_the_golden_values(equation: str) -> None:
    y = NmODE(equation, "fast")(torch.tensor(GAMMAS))
    torch.testing.assert_close(y, torch.tensor(GOLDEN[equation, 1.0]), atol=3e-6, rtol=0)


def test_every_solver_has_an_order() -> None:
    assert set(ORDERS) == set(SOLVERS)


@BOTH
@pytest.mark.parametrize(("solver", "order"), ORDERS.items())
def test_convergence_order(equation: str, solver: str, order: int) -> None:
    gamma = period(500)
    exact = integrate(gamma, equation=EQUATIONS[equation], solver="rk4", steps=1000)
    steps = [16, 32, 64, 128]
    errors = [float((NmODE(equation, solver, n)(gamma) - exact).abs().mean()) for n in steps]
    slope = (math.log(errors[0]) - math.log(errors[-1])) / (math.log(steps[-1]) - math.log(steps[0]))
    assert slope == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("equation", "solver", "steps", "largest"),
    [
        ("nmode2", "rk4", 4, 2.4e-5),
        ("nmode2", "rk4", 2, 3.9e-4),
        ("nmode2", "heun", 4, 6.1e-3),
        ("nmode2", "euler", 4, 4.6e-2),
        ("nmode", "rk4", 4, 1.0e-4),
        ("nmode", "euler", 4, 4.7e-2),
    ],
)
def test_errors_of_the_method_notes(equation: str, solver: str, steps: int, largest: float) -> None:
    gamma = period(2000)
    exact = integrate(gamma, equation=EQUATIONS[equation], solver="rk4", steps=400)
    error = (NmODE(equation, solver, steps)(gamma) - exact).abs().max()
    assert float(error) == pytest.approx(largest, rel=0.05)


@BOTH
def test_rk4_agrees_with_dopri5(equation: str) -> None:
    gamma = period(200)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    rate = EQUATIONS[equation].rate
    reference = odeint(lambda _, y: rate(y, gamma), torch.zeros_like(gamma), times, rtol=1e-9, atol=1e-9)[-1]
    y = integrate(gamma, equation=EQUATIONS[equation], solver="rk4", steps=64)
    torch.testing.assert_close(y, reference, atol=1e-8, rtol=0)


@BOTH
def test_fast_agrees_with_the_reference_in_value_and_slope(equation: str) -> None:
    exact = torch.linspace(-7, 13, 100_001, dtype=torch.float64, requires_grad=True)
    fast = exact.detach().float().requires_grad_()
    reference = NmODE(equation, "rk4", 64)(exact)
    value = NmODE(equation, "fast")(fast)
    reference.sum().backward()
    value.sum().backward()
    assert float((value - reference).detach().abs().max()) < 1e-5
    assert exact.grad is not None and fast.grad is not None
    assert float((fast.grad - exact.grad).abs().max()) < 1e-4


@BOTH
@KINDS
def test_gradcheck(equation: str, solver: str) -> None:
    gamma = torch.linspace(-4, 6, 41, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(NmODE(equation, solver, 3), gamma, atol=1e-6)


@BOTH
@KINDS
def test_slope_is_that_of_the_plain_computation(equation: str, solver: str) -> None:
    block = NmODE(equation, solver, 4)
    gamma = period(50).requires_grad_()
    (known,) = torch.autograd.grad(block(gamma).sum(), gamma)
    (unrolled,) = torch.autograd.grad(block._value(gamma).sum(), gamma)
    torch.testing.assert_close(known, unrolled, atol=1e-12, rtol=0)


@BOTH
@KINDS
def test_period_is_pi(equation: str, solver: str) -> None:
    gamma = period(300)
    block = NmODE(equation, solver)
    for shift in (-3, 1, 7):
        torch.testing.assert_close(block(gamma + shift * math.pi), block(gamma), atol=1e-7, rtol=0)


@BOTH
def test_bounds_and_known_maximum(equation: str) -> None:
    y = NmODE(equation, "fast")(period(3000).float())
    assert float(y.min()) >= -1e-6
    assert float(y.max()) <= 1 - math.exp(-1)
    assert float(y.max()) == pytest.approx({"nmode": 0.6142, "nmode2": 0.5838}[equation], abs=1e-4)


@KINDS
def test_nothing_to_store(solver: str) -> None:
    block = NmODE("nmode2", solver)
    assert block.state_dict() == {}
    assert list(block.parameters()) == []


@KINDS
def test_memory_order_does_not_matter(solver: str) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(2, 5, 3, 4, generator=generator).requires_grad_()
    last = plain.detach().to(memory_format=torch.channels_last).requires_grad_()
    block = NmODE("nmode2", solver)
    a, b = block(plain), block(last)
    assert torch.equal(a, b)
    assert b.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn(2, 5, 3, 4, generator=generator)
    (a * weight).sum().backward()
    (b * weight).sum().backward()
    assert torch.equal(plain.grad, last.grad)


@BOTH
@KINDS
def test_bfloat16_is_the_rounded_float32(equation: str, solver: str) -> None:
    block = NmODE(equation, solver)
    gamma = torch.linspace(-9, 9, 4001).bfloat16().requires_grad_()
    wide = gamma.detach().float().requires_grad_()
    value, reference = block(gamma), block(wide)
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, reference.bfloat16())
    value.sum().backward()
    reference.sum().backward()
    assert torch.equal(gamma.grad, wide.grad.bfloat16())


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_and_infinity_show(solver: str, dtype: torch.dtype) -> None:
    y = NmODE("nmode2", solver)(torch.tensor([math.nan, math.inf, -math.inf, 0.0], dtype=dtype))
    assert y.isnan().tolist() == [True, True, True, False]


def test_empty_input() -> None:
    assert NmODE("nmode2", "fast")(torch.zeros(0, 3)).shape == (0, 3)


def test_faults_name_what_is_legal() -> None:
    with pytest.raises(ValueError, match=r"equation.*nmode2.*got 'nmode3'"):
        NmODE("nmode3", "fast")
    with pytest.raises(ValueError, match=r"solver.*rk4.*got 'rk5'"):
        NmODE("nmode2", "rk5")
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        NmODE("nmode2", "rk4", 0)
