"""nmODE and nmODE^2 in ONNX: one look-up in a fine table where torch evaluates a cubic of a coarse one.

ONNX Runtime and OpenVINO run each operation of the cubic (four look-ups, ten products and sums) as a pass through
memory of its own; the nearest of 2^16 values is one look-up. In one run on one thread it lowered nmODE^2's share of the
student's time from 6.3 to 4.0 % in ONNX Runtime and from 8.7 to 4.3 % in OpenVINO.
Its error is half a cell times the slope: below 4e-5 for the gammas of a tower, a hundredth of the tolerance on scores.
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet.models.cubic_table import interpolate
from meddet.models.detector import Detector
from meddet.models.nmode import NmODE, table_of

NUM_CELLS = 2**16

Model = TypeVar("Model", bound=nn.Module)


class NearestNmODE(nn.Module):
    """Map gamma to y(1), elementwise: the value at the nearest knot of a period."""

    table: Tensor

    def __init__(self, equation: str) -> None:
        super().__init__()
        knots = torch.arange(NUM_CELLS, dtype=torch.float64, device="cpu") * (math.pi / NUM_CELLS)
        values = interpolate(knots, table_of(equation).double(), period=math.pi)
        self.register_buffer("table", values.float(), persistent=False)

    def forward(self, gamma: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Look up. NUM_CELLS is a power of two, so any index is legal, and `gather` is what ONNX Runtime is fast at."""
        cell = torch.floor(gamma * (NUM_CELLS / math.pi) + 0.5).long() & (NUM_CELLS - 1)
        return self.table.gather(0, cell.reshape(-1)).view(gamma.shape)


def for_export(detector: Detector) -> Detector:
    """Copy a detector with every `fast` NmODE as one look-up; an integrating solver stays what it is."""
    return with_nmode(detector, lambda block: NearestNmODE(block.equation) if block.solver == "fast" else block)


def with_nmode(model: Model, make: Callable[[NmODE], nn.Module]) -> Model:
    """Copy a model with something else in each place of NmODE."""
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NmODE):
                setattr(parent, name, make(child))
    return twin
