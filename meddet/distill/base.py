"""What every distillation method offers to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet import processes
from meddet.structures import Predictions, Target


@dataclass(frozen=True)
class Outputs:
    """What a detector made of a batch.

    `features` are P3..P7, `predictions` what its head says. The loop doesn't run the teachers' heads, which would cost
    more than the student: their predictions are None.
    """

    features: tuple[Float[Tensor, "B C _ _"], ...]
    predictions: Predictions | None


class Distiller(nn.Module, ABC):
    """A distillation method: its trainable parts and its losses.

    In every step the loop calls `student_losses`, updates student and `student_parameters`, then calls
    `critic_losses` and updates `critic_parameters`, where there are any. Both run under the loop's autocast.
    """

    @property
    def detection_weight(self) -> float:
        """Give the factor of the student's own detection loss in the total."""
        return 1.0

    @abstractmethod
    def student_losses(
        self, student: Outputs, teachers: Sequence[Outputs], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compare the student with its teachers.

        Args:
            student: with gradient.
            teachers: without, in the order of params.yaml.
            targets: what is annotated on the batch.

        Returns:
            Weighted float32 terms, the same names in every step, to be added to the detection loss.
        """

    def critic_losses(
        self,
        student: Outputs,  # noqa: ARG002
        teachers: Sequence[Outputs],  # noqa: ARG002
        targets: Sequence[Target],  # noqa: ARG002
    ) -> dict[str, Float[Tensor, ""]]:
        """Judge the batch that `student_losses` has just seen; the gradient reaches the critic alone."""
        return {}

    def critic_parameters(self) -> list[nn.Parameter]:
        """List the parameters that `critic_losses` trains."""
        return []

    def student_parameters(self) -> list[nn.Parameter]:
        """List the parameters that are trained together with the student."""
        critics = {id(parameter) for parameter in self.critic_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in critics]

    def fault(self, rows: Sequence[Mapping[str, int | float]]) -> str | None:  # noqa: ARG002
        """Say what is hopelessly wrong with the training, judged by its rows of numbers so far; None if nothing is."""
        return None

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Give numbers of the last step worth logging beside the losses, the same names in every step."""


def deviation(level: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Measure the standard deviation of a map's values over everything, in float32 and without gradient.

    Teachers' levels differ in scale; divided by this number, one weight means the same at every level. Where processes
    share a batch, it is the whole batch's: its variance is the mean of the parts' plus that of their means.
    """
    values = level.detach().float()
    if processes.count() == 1:
        return values.std(correction=0).clamp(min=1e-6)
    variances, means = processes.gathered(torch.stack(torch.var_mean(values, correction=0))).unbind(dim=1)
    return (variances.mean() + means.var(correction=0)).sqrt().clamp(min=1e-6)


def named_by_level(name: str, values: Float[Tensor, " L"]) -> dict[str, float]:
    """Name one number per level: name_p3, name_p4, and so on."""
    return {f"{name}_p{level}": value for level, value in enumerate(values.tolist(), start=3)}
