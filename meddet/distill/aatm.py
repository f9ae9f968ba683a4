"""AATM: generators make teacher-like maps, discriminators tell them from the teachers' (eq. 1, arXiv:2409.00204)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

SLOPE = 0.2


def generator(channels: int) -> nn.Sequential:
    """Build one level's generator, the generation block of MGD (arXiv:2205.01529) without masking."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )


def discriminator(channels: int) -> nn.Sequential:
    """Build one level's discriminator: three fully connected layers, from a map's channel means to one logit."""
    return nn.Sequential(
        nn.Linear(channels, 128),
        nn.LeakyReLU(SLOPE),
        nn.Linear(128, 64),
        nn.LeakyReLU(SLOPE),
        nn.Linear(64, 1),
    )


class AATM(nn.Module):
    """Adversarial Adaptive Teaching: a generator and a discriminator for every level.

    Losses are summed over levels and averaged over images, in float32 whatever the autocast.

    Differs from the paper: the generators' loss is non-saturating, -log D(G(S)), since log(1 - D) has hardly a
    gradient as long as the discriminator wins; discriminators see channel means, so that any map size will do.
    """

    def __init__(self, channels: int, num_levels: int) -> None:
        super().__init__()
        self.generators = nn.ModuleList(generator(channels) for _ in range(num_levels))
        self.discriminators = nn.ModuleList(discriminator(channels) for _ in range(num_levels))

    def forward(self, levels: Sequence[Float[Tensor, "B C _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        """Generate a teacher-like map from the student's aligned map of every level."""
        return [generate(level) for generate, level in zip(self.generators, levels, strict=True)]

    def adversarial_loss(self, fakes: Sequence[Float[Tensor, "B C"]]) -> Float[Tensor, ""]:
        """Measure how poorly generated maps pass for real ones; the discriminators get no gradient.

        Args:
            fakes: channel means (`pooled`) of the generated maps.
        """
        logits = []
        with torch.autocast(fakes[0].device.type, enabled=False):
            for judge, fake in zip(self.discriminators, fakes, strict=True):
                fixed = {name: parameter.detach() for name, parameter in judge.named_parameters()}
                logits.append(functional_call(judge, fixed, (fake,)))
            return torch.stack([F.softplus(-logit).mean() for logit in logits]).sum()

    def critic_loss(
        self, reals: Sequence[Float[Tensor, "B C"]], fakes: Sequence[Float[Tensor, "B C"]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """Measure how poorly the discriminators tell real from generated maps.

        Args:
            reals: channel means of the teachers' maps, without gradient.
            fakes: of the generated maps, without gradient.

        Returns:
            The loss, and the shares of real and of generated maps that were recognised, over all levels.
        """
        with torch.autocast(reals[0].device.type, enabled=False):
            real = torch.stack([judge(level) for judge, level in zip(self.discriminators, reals, strict=True)])
            fake = torch.stack([judge(level) for judge, level in zip(self.discriminators, fakes, strict=True)])
            loss = (F.softplus(-real) + F.softplus(fake)).mean(dim=(1, 2)).sum()
        return loss, (real > 0).float().mean(), (fake < 0).float().mean()


def pooled(level: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C"]:
    """Average a map over its positions, in float32."""
    return level.float().mean(dim=(2, 3))
