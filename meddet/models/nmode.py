"""nmODE and nmODE^2 as activations: gamma -> y(1), elementwise and without parameters (methods.md 4).

The equations are elementwise and autonomous, and y(0) = 0 is fixed, so y(1) is one scalar function Phi of gamma, with
period pi. Integrating solvers carry ds/dt beside dy/dt (s = dy/dgamma, forward sensitivity), which gives the exact
gradient of the discrete scheme from one saved tensor. `fast` reads Phi from a table of cubics instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from meddet.models.cubic_table import hermite_table, interpolate, interpolate_with_slope, select

NUM_CELLS = 256
TABLE_STEPS = 64


@dataclass(frozen=True)
class Equation:
    """A right-hand side dy/dt and its derivatives with respect to y and gamma."""

    rate: Callable[[Tensor, Tensor], Tensor]
    partials: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def nmode_rate(y: Float[Tensor, "*S"], gamma: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Compute y' = -y + sin^2(y + gamma) (Yi 2023)."""
    return torch.sin(y + gamma).square() - y


def nmode_partials(
    y: Float[Tensor, "*S"], gamma: Float[Tensor, "*S"]
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Differentiate `nmode_rate` by y and by gamma."""
    slope = torch.sin(2 * (y + gamma))
    return slope - 1, slope


def nmode2_rate(y: Float[Tensor, "*S"], gamma: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Compute y' = -y + sin^2(y + cos^2(y + gamma)). Eq. (4), arXiv:2409.00204."""
    return torch.sin(y + torch.cos(y + gamma).square()).square() - y


def nmode2_partials(
    y: Float[Tensor, "*S"], gamma: Float[Tensor, "*S"]
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Differentiate `nmode2_rate` by y and by gamma."""
    outer = torch.sin(2 * (y + torch.cos(y + gamma).square()))
    inner = torch.sin(2 * (y + gamma))
    return outer * (1 - inner) - 1, -outer * inner


EQUATIONS: dict[str, Equation] = {
    "nmode": Equation(nmode_rate, nmode_partials),
    "nmode2": Equation(nmode2_rate, nmode2_partials),
}

Rate = Callable[[Tensor], Tensor]


def euler(rate: Rate, y: Tensor, h: float) -> Tensor:
    """Step by h. Order 1."""
    return y + h * rate(y)


def heun(rate: Rate, y: Tensor, h: float) -> Tensor:
    """Step by h. Order 2."""
    k1 = rate(y)
    k2 = rate(y + h * k1)
    return y + h / 2 * (k1 + k2)


def rk4(rate: Rate, y: Tensor, h: float) -> Tensor:
    """Step by h. Order 4."""
    k1 = rate(y)
    k2 = rate(y + h / 2 * k1)
    k3 = rate(y + h / 2 * k2)
    k4 = rate(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


SOLVERS: dict[str, Callable[[Rate, Tensor, float], Tensor]] = {"euler": euler, "heun": heun, "rk4": rk4}


def integrate(
    gamma: Float[Tensor, "*S"], *, equation: Equation, solver: str, steps: int, duration: float = 1.0
) -> Float[Tensor, "*S"]:
    """Integrate from y(0) = 0 over `duration` in equal steps."""
    step = SOLVERS[solver]
    y = torch.zeros_like(gamma)
    for _ in range(steps):
        y = step(lambda y: equation.rate(y, gamma), y, duration / steps)
    return y


def integrate_with_slope(
    gamma: Float[Tensor, "*S"], *, equation: Equation, solver: str, steps: int
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Integrate (y, s) together, s' = f_y s + f_gamma: the derivative of the discrete scheme itself."""

    def rate(state: Tensor) -> Tensor:
        y, s = state
        by_y, by_gamma = equation.partials(y, gamma)
        return torch.stack([equation.rate(y, gamma), by_y * s + by_gamma])

    step = SOLVERS[solver]
    state = torch.zeros_like(gamma).expand(2, *gamma.shape)
    for _ in range(steps):
        state = step(rate, state, 1 / steps)
    y, s = state
    return y, s


@cache
def table_of(equation: str) -> Float[Tensor, "4 N"]:
    """Tabulate Phi by rk4 in float64; read in float32, it is within 2e-6 of Phi and its slope within 3e-5."""
    knots = torch.arange(NUM_CELLS, dtype=torch.float64, device="cpu") * (math.pi / NUM_CELLS)
    values, slopes = integrate_with_slope(knots, equation=EQUATIONS[equation], solver="rk4", steps=TABLE_STEPS)
    return hermite_table(values, slopes, period=math.pi)


@cache
def rounded_table(equation: str) -> Float[Tensor, "2 N"]:
    """Tabulate value and slope at every bfloat16 number, by its bits as a signed integer plus 2^15.

    Under autocast gamma has 16 bits, so that one look-up replaces the arithmetic: the values are the cubics', rounded.
    """
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32, device="cpu").to(torch.int16)
    gamma = bits.view(torch.bfloat16).float()
    return torch.stack(interpolate_with_slope(gamma, table_of(equation), period=math.pi)).bfloat16()


def bfloat16_index(gamma: BFloat16[Tensor, "*S"]) -> Int[Tensor, "*S"]:
    """Turn bits into the place in `rounded_table`."""
    return gamma.view(torch.int16).to(torch.int32) + 2**15


def widen(gamma: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Give at least float32."""
    return gamma if gamma.dtype == torch.float64 else gamma.float()


class _Elementwise(torch.autograd.Function):
    """A scalar function with its known slope; the slope is all that is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        value, slope = evaluate(gamma)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


class NmODE(nn.Module):
    """Map gamma to y(1), elementwise, y(0) = 0. No parameters, nothing in the state dict.

    Computes in float32 at least and returns the input's dtype (bfloat16 under autocast, as the next convolution reads).

    Args:
        equation: nmode2 (the paper's) or nmode, an entry of EQUATIONS.
        solver: fast (table, within 1e-4 of rk4 and 1e-3 in slope) or an entry of SOLVERS.
        steps: of an integrating solver; `fast` ignores it.
    """

    def __init__(
        self,
        equation: str,
        solver: str,
        steps: int = 4,
    ) -> None:
        super().__init__()
        if equation not in EQUATIONS:
            raise ValueError(f"expected an equation of {sorted(EQUATIONS)}, got {equation!r}")
        if solver != "fast" and solver not in SOLVERS:
            raise ValueError(f"expected a solver of {['fast', *sorted(SOLVERS)]}, got {solver!r}")
        if steps < 1:
            raise ValueError(f"expected at least 1 step, got {steps}")
        self.equation, self.solver, self.steps = equation, solver, steps
        self.table: Tensor | None
        self.rounded: Tensor | None
        self.register_buffer("table", table_of(equation) if solver == "fast" else None, persistent=False)
        self.register_buffer("rounded", rounded_table(equation) if solver == "fast" else None, persistent=False)

    def extra_repr(self) -> str:
        """Name equation, solver and steps."""
        return f"{self.equation}, {self.solver}" + ("" if self.solver == "fast" else f", steps={self.steps}")

    def forward(self, gamma: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Compute y(1)."""
        if gamma.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_exporting():
            return _Elementwise.apply(gamma, self._value_and_slope)
        return self._value(gamma)

    def _value(self, gamma: Tensor) -> Tensor:
        if self.table is None:
            wide = widen(gamma)
            value = integrate(wide, equation=EQUATIONS[self.equation], solver=self.solver, steps=self.steps)
        elif self.rounded is not None and gamma.dtype == torch.bfloat16:
            (value,) = select(self.rounded[:1], bfloat16_index(gamma))
        else:
            value = interpolate(widen(gamma), self.table, period=math.pi)
        return value.to(gamma.dtype)

    def _value_and_slope(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        if self.table is None:
            equation = EQUATIONS[self.equation]
            value, slope = integrate_with_slope(widen(gamma), equation=equation, solver=self.solver, steps=self.steps)
        elif self.rounded is not None and gamma.dtype == torch.bfloat16:
            value, slope = select(self.rounded, bfloat16_index(gamma))
        else:
            value, slope = interpolate_with_slope(widen(gamma), self.table, period=math.pi)
        return value.to(gamma.dtype), slope.to(gamma.dtype)
