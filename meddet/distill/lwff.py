"""LWFF: learnt, weighted fusion of several teachers' features (eq. 7 to 9, arXiv:2409.00204)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Gate = Literal["sigmoid", "linear", "softmax"]
Start = Literal["anchor", "mean"]

# From the convolutions' outputs (teachers, B, C, 1, 1) to channel weights; all are 1 where the outputs are 0.
GATES: dict[Gate, Callable[[Float[Tensor, "K B C 1 1"]], Float[Tensor, "K B C 1 1"]]] = {
    "sigmoid": lambda raw: 2 * raw.sigmoid(),
    "linear": lambda raw: 1 + raw,
    "softmax": lambda raw: len(raw) * raw.softmax(dim=0),
}


class LWFF(nn.Module):
    """Learnable Weighted Feature Fusion of one level.

    Each teacher's channels are weighted by alpha = gate(Conv1x1(GAP(F))), then a 1x1 convolution of all of them gives
    the fused map.

    Differs from the paper: alpha is squashed by default (printed is a bare convolution, whose sign is free and which
    makes the result quadratic in F), and the start is defined: alpha = 1, and the fusion passes the anchor teacher
    alone or the mean.

    Args:
        channels: of every teacher's map and of the result.
        num_teachers: at least 1.
        anchor: index of the teacher that the start "anchor" passes.
        gate: 2 * sigmoid; linear; or softmax over teachers times their number.
        start: what the fused map is before training.
    """

    def __init__(self, channels: int, num_teachers: int, *, anchor: int, gate: Gate, start: Start) -> None:
        super().__init__()
        self.gate = GATES[gate]
        self.weigh = nn.ModuleList(nn.Conv2d(channels, channels, kernel_size=1) for _ in range(num_teachers))
        for parameter in self.weigh.parameters():
            nn.init.zeros_(parameter)
        # A convolution of a concatenation is the sum of one convolution per part: nothing is copied, and each summand
        # shows how much a teacher gives.
        shares = [1 / num_teachers if start == "mean" else float(teacher == anchor) for teacher in range(num_teachers)]
        self.fuse = nn.ModuleList(_multiple(channels, share) for share in shares)
        self.fuse[0].bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, teachers: Sequence[Float[Tensor, "B C H W"]]
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " K"]]:
        """Fuse the teachers' aligned maps.

        Returns:
            The fused map, and each teacher's share of it: the norm of its summand over the sum of norms.
        """
        pooled = [level.mean(dim=(2, 3), keepdim=True) for level in teachers]
        weights = self.gate(torch.stack([weigh(mean) for weigh, mean in zip(self.weigh, pooled, strict=True)]))
        summands = [fuse(level * weight) for fuse, level, weight in zip(self.fuse, teachers, weights, strict=True)]
        fused = sum(summands[1:], start=summands[0])
        norms = torch.stack([summand.detach().float().norm() for summand in summands])
        return fused, norms / norms.sum().clamp(min=1e-6)


def _multiple(channels: int, factor: float) -> nn.Conv2d:
    """Build a 1x1 convolution that multiplies by `factor`."""
    convolution = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(factor * torch.eye(channels)[:, :, None, None])
    return convolution
