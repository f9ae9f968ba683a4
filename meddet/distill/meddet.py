"""The method of MedDet: align (AFA), fuse (LWFF) and imitate adversarially (AATM); eq. 14, arXiv:2409.00204."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from meddet.distill.aatm import AATM, pooled
from meddet.distill.afa import AFA
from meddet.distill.base import Distiller, Outputs, deviation, named_by_level
from meddet.distill.lwff import LWFF, Gate, Start
from meddet.losses import gfl_losses
from meddet.structures import STRIDES, Predictions, Target

Head = Callable[[Sequence[Tensor]], Predictions]

COLLAPSE_SHARE = 0.01
COLLAPSE_STEPS = 50


class FusedTarget(nn.Module):
    """T of one level: align every teacher's map to the student's, then fuse them."""

    def __init__(self, channels: int, num_teachers: int, *, anchor: int, gate: Gate, start: Start) -> None:
        super().__init__()
        self.align = nn.ModuleList(AFA(channels, channels) for _ in range(num_teachers))
        self.fuse = LWFF(channels, num_teachers, anchor=anchor, gate=gate, start=start)

    def forward(
        self, features: Sequence[Float[Tensor, "B C _ _"]], size: tuple[int, int]
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " K"]]:
        """Give T in `size` (height, width), and each teacher's share of it."""
        fused: tuple[Tensor, Tensor] = self.fuse(
            [align(feature, size) for align, feature in zip(self.align, features, strict=True)]
        )
        return fused


class MedDetDistiller(Distiller):
    """Learn from several teachers at once through a fused target T.

    T_i = LWFF(AFA_T(F_1i), AFA_T(F_2i), ...) of level i, and the total is
    scale * (sigma * L_det + tau * L_dist + (1 - sigma - tau) * L_adv), where
    L_dist = sum over levels of mean (T_i / std(T_i) - G_i(AFA_S(S_i)))^2.

    Differs from the paper: T is detached in L_dist and L_adv, or teacher and student could agree on a constant. What
    trains AFA_T and LWFF is the task anchor instead: the GFL loss of T through one teacher's frozen head. Each level of
    T is divided by its standard deviation in the batch, so that tau weighs all levels alike.

    Args:
        channels: of P3..P7, of teachers and student.
        num_teachers: at least 1.
        anchor: index of the teacher whose head judges T.
        anchor_head: that head; its parameters require no gradient.
        sigma: weight of the detection loss, which the loop multiplies by `detection_weight`.
        tau: weight of the feature loss.
        scale: common factor of the three.
        adversarial_warmup_steps: student steps before the adversarial loss counts; discriminators learn from the first.
        anchor_weight: of the task anchor's loss; 0 leaves T as it starts and saves the head's pass.
        gate: of LWFF.
        start: of LWFF.
        octave_scale: of the assignment in the task anchor's loss.
        anchor_interval: student steps from one task anchor to the next.

    Errors:
        ValueError: sigma + tau is more than 1.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        channels: int,
        num_teachers: int,
        anchor: int,
        anchor_head: Head,
        sigma: float,
        tau: float,
        scale: float,
        adversarial_warmup_steps: int,
        anchor_weight: float,
        gate: Gate,
        start: Start,
        octave_scale: int,
        anchor_interval: int = 1,
    ) -> None:
        super().__init__()
        if sigma + tau > 1:
            raise ValueError(f"distill.method: expected sigma + tau to be at most 1, got {sigma} + {tau}")
        self.sigma, self.tau, self.scale = sigma, tau, scale
        self.adversarial_warmup_steps = adversarial_warmup_steps
        self.anchor_weight, self.anchor_interval = anchor_weight, anchor_interval
        self.octave_scale = octave_scale
        # In a tuple, so that it stays the teacher's and is not registered as a part of this module.
        self.anchor_head = (anchor_head,)

        levels = range(len(STRIDES))
        self.align_student = nn.ModuleList(AFA(channels, channels) for _ in levels)
        self.targets = nn.ModuleList(
            FusedTarget(channels, num_teachers, anchor=anchor, gate=gate, start=start) for _ in levels
        )
        self.aatm = AATM(channels, len(STRIDES))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._reals: list[Tensor] = []
        self._fakes: list[Tensor] = []
        self._logged: dict[str, Tensor] = {}

    @property
    def detection_weight(self) -> float:
        """Give scale * sigma, the factor of the detection loss in eq. 14."""
        return self.scale * self.sigma

    def student_losses(
        self, student: Outputs, teachers: Sequence[Outputs], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """Give `dist`, `adv` (0 during its warm-up) and `anchor` (0 in the steps between two anchors), weighted."""
        step = int(self.steps)
        self.steps += 1
        anchored = self.anchor_weight > 0 and step % self.anchor_interval == 0
        with torch.set_grad_enabled(anchored and torch.is_grad_enabled()):
            fused, shares = self.fused_target(teachers, [level.shape[-2:] for level in student.features])
        fixed = [level.detach().float() for level in fused]
        reals = [level / deviation(level) for level in fixed]
        aligned = [align(level) for align, level in zip(self.align_student, student.features, strict=True)]
        fakes = self.aatm(aligned)

        distances = torch.stack([F.mse_loss(fake.float(), real) for fake, real in zip(fakes, reals, strict=True)])
        pooled_fakes = [pooled(fake) for fake in fakes]
        adversarial = self.aatm.adversarial_loss(pooled_fakes)
        adversarial_weight = 1 - self.sigma - self.tau if step >= self.adversarial_warmup_steps else 0.0
        anchor = self._anchor_loss(fused, targets) if anchored else distances.new_zeros(())

        self._reals = [pooled(real) for real in reals]
        self._fakes = [fake.detach() for fake in pooled_fakes]
        variance = torch.stack([level.var(dim=(0, 2, 3), correction=0).mean() for level in fixed])
        self._logged |= {
            "distances": distances.detach(),
            "adversarial": adversarial.detach(),
            "shares": shares.detach(),
            "variance": variance.mean(),
        }
        return {
            "dist": self.scale * self.tau * distances.sum(),
            "adv": self.scale * adversarial_weight * adversarial,
            "anchor": self.anchor_weight * anchor,
        }

    def critic_losses(
        self,
        student: Outputs,  # noqa: ARG002
        teachers: Sequence[Outputs],  # noqa: ARG002
        targets: Sequence[Target],  # noqa: ARG002
    ) -> dict[str, Float[Tensor, ""]]:
        """Give `critic`, the discriminators' loss on the maps that `student_losses` has just made."""
        assert self._reals, "student_losses comes first: it makes what the critic judges"
        loss, real_accuracy, fake_accuracy = self.aatm.critic_loss(self._reals, self._fakes)
        self._logged |= {"real_accuracy": real_accuracy, "fake_accuracy": fake_accuracy}
        return {"critic": loss}

    def critic_parameters(self) -> list[nn.Parameter]:
        """List the discriminators' parameters."""
        return list(self.aatm.discriminators.parameters())

    def fault(self, rows: Sequence[Mapping[str, int | float]]) -> str | None:
        """Say that the discriminators have won for good, and the generators learn nothing from them any more.

        That is so when their loss has been less than 1 % of what guessing costs (2 ln 2 per level) for 50 steps in a
        row in which the adversarial loss counted. A perfect discriminator is how adversarial training fails
        (arXiv:1701.04862); in a sound run the loss stays near guessing (quick: never less than 0.99 of it).
        """
        recent = rows[-COLLAPSE_STEPS:]
        limit = COLLAPSE_SHARE * 2 * math.log(2) * len(STRIDES)
        if len(recent) < COLLAPSE_STEPS or any(row["adv"] == 0 or row["critic"] >= limit for row in recent):
            return None
        return (
            f"loss term critic is {recent[-1]['critic']:.3g}, below {limit:.3g} for {COLLAPSE_STEPS} steps: the "
            "discriminators have won; lower distill.method.critic_learning_rate"
        )

    def metrics(self) -> dict[str, float]:
        """Give the last step's unweighted terms, the critic's accuracy, and how T is doing.

        `target_variance` is the variance of T over images and positions, averaged over channels and levels: near 0, T
        has collapsed. `share_k` is the k-th teacher's part in T, averaged over levels.
        """
        logged = self._logged
        scalars = {
            "adversarial": logged["adversarial"],
            "real_accuracy": logged["real_accuracy"],
            "fake_accuracy": logged["fake_accuracy"],
            "target_variance": logged["variance"],
        }
        return {
            **named_by_level("distance", logged["distances"]),
            **{name: float(value) for name, value in scalars.items()},
            **{f"share_{teacher}": share for teacher, share in enumerate(logged["shares"].tolist())},
        }

    def fused_target(
        self, teachers: Sequence[Outputs], sizes: Sequence[Sequence[int]]
    ) -> tuple[list[Float[Tensor, "B C _ _"]], Float[Tensor, " K"]]:
        """Align and fuse the teachers' maps.

        Args:
            teachers: as many as the method was built for.
            sizes: height and width of the student's levels.

        Returns:
            T of every level, and each teacher's share of it, averaged over levels.
        """
        by_level = zip(self.targets, zip(*(teacher.features for teacher in teachers), strict=True), sizes, strict=True)
        levels, shares = zip(
            *(target(maps, (height, width)) for target, maps, (height, width) in by_level), strict=True
        )
        return list(levels), torch.stack(shares).mean(dim=0)

    def _anchor_loss(self, fused: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        (head,) = self.anchor_head
        losses = gfl_losses(head(fused), targets, octave_scale=self.octave_scale)
        return torch.stack(list(losses.values())).sum()
