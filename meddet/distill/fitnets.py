"""FitNets: plain feature imitation of one teacher (arXiv:1412.6550)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from meddet.distill.base import Distiller, Outputs, deviation, named_by_level
from meddet.structures import STRIDES, Target


class FitNets(Distiller):
    """Imitate one teacher's P3..P7: the mean squared error of every level, summed.

    Differs from the paper: all levels are imitated, not one, and the error is divided by the variance of the teacher's
    level, so that every level weighs the same.

    Args:
        channels: of the student's levels.
        anchor: index of the teacher that is imitated.
        weight: of the loss.
        teacher_channels: of the teacher's levels where they differ from the student's, which then go through a 1x1
            convolution; None where they don't.
    """

    def __init__(self, *, channels: int, anchor: int, weight: float, teacher_channels: int | None = None) -> None:
        super().__init__()
        self.anchor = anchor
        self.weight = weight
        adapts = teacher_channels is not None and teacher_channels != channels
        self.adapters = nn.ModuleList(
            nn.Conv2d(channels, teacher_channels or channels, kernel_size=1) if adapts else nn.Identity()
            for _ in STRIDES
        )
        self._distances = torch.zeros(len(STRIDES))

    def student_losses(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        targets: Sequence[Target],  # noqa: ARG002
    ) -> dict[str, Float[Tensor, ""]]:
        """Give `dist`, weighted."""
        imitated = [level.detach().float() for level in teachers[self.anchor].features]
        levels = zip(self.adapters, student.features, imitated, strict=True)
        distances = torch.stack(
            [F.mse_loss(adapt(mine).float(), theirs) / deviation(theirs) ** 2 for adapt, mine, theirs in levels]
        )
        self._distances = distances.detach()
        return {"dist": self.weight * distances.sum()}

    def metrics(self) -> dict[str, float]:
        """Give the last step's unweighted distance of every level."""
        return named_by_level("distance", self._distances)
