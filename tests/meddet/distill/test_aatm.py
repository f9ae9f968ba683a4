"""Generators and discriminators: sizes, known losses, and a game that the discriminator can win."""

import math

import pytest
import torch
from torch import Tensor

from meddet.distill.aatm import AATM, discriminator, generator, pooled


def vectors(seed: int, *, mean: float = 0.0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [mean + 0.1 * torch.randn(8, 16, generator=draw) for _ in range(2)]


def test_sizes_are_those_of_the_design() -> None:
    assert sum(parameter.numel() for parameter in generator(256).parameters()) == 1180160
    assert sum(parameter.numel() for parameter in discriminator(256).parameters()) == 41217


def test_undecided_discriminators_give_known_losses() -> None:
    module = AATM(16, 2)
    for parameter in module.discriminators.parameters():
        torch.nn.init.zeros_(parameter)
    assert module.adversarial_loss(vectors(0)).item() == pytest.approx(2 * math.log(2))
    assert module.critic_loss(vectors(0), vectors(1))[0].item() == pytest.approx(4 * math.log(2))


def test_losses_are_cross_entropies_with_logits() -> None:
    torch.manual_seed(0)
    module, reals, fakes = AATM(16, 2), vectors(0), vectors(1)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    critic = adversarial = torch.zeros(())
    for judge, real, fake in zip(module.discriminators, reals, fakes, strict=True):
        ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
        critic = critic + entropy(judge(real), ones) + entropy(judge(fake), zeros)
        adversarial = adversarial + entropy(judge(fake), ones)
    torch.testing.assert_close(module.critic_loss(reals, fakes)[0], critic)
    torch.testing.assert_close(module.adversarial_loss(fakes), adversarial)


def test_generated_maps_keep_their_size() -> None:
    levels = [torch.randn(2, 16, 5, 3), torch.randn(2, 16, 1, 1)]
    assert [fake.shape for fake in AATM(16, 2)(levels)] == [level.shape for level in levels]


def test_the_discriminator_learns_to_separate_fixed_real_from_fake() -> None:
    torch.manual_seed(0)
    module, reals, fakes = AATM(16, 2), vectors(0, mean=0.2), vectors(1, mean=-0.2)
    optimiser = torch.optim.AdamW(module.discriminators.parameters(), lr=0.005)
    before = module.critic_loss(reals, fakes)[0].item()
    for _ in range(40):
        optimiser.zero_grad()
        module.critic_loss(reals, fakes)[0].backward()
        optimiser.step()
    loss, real_accuracy, fake_accuracy = module.critic_loss(reals, fakes)
    assert loss.item() < 0.2 * before
    assert real_accuracy.item() == fake_accuracy.item() == 1


def test_fooling_leaves_the_discriminators_without_gradient() -> None:
    torch.manual_seed(0)
    module, fakes = AATM(16, 2), [fake.requires_grad_() for fake in vectors(0)]
    module.adversarial_loss(fakes).backward()
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(fake.grad is not None and fake.grad.abs().sum() > 0 for fake in fakes)


def test_pooling_is_the_mean_in_float32() -> None:
    level = torch.arange(4.0).reshape(1, 1, 2, 2).bfloat16()
    assert torch.equal(pooled(level), torch.tensor([[1.5]]))
