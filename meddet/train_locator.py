"""The training loop of the locator."""

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from meddet.checkpoint import Checkpoints
from meddet.data.batches import Batches
from meddet.models.locator import Locator, expected_points
from meddet.optim import adamw, rate_factor, set_rate
from meddet.structures import Target
from meddet.training_run import Interrupted, Log, Row, TrainingRun, finite_means

_HEAT_SIGMA = 1.0


def fit_locator(
    locator: Locator,
    batches: Batches,
    *,
    steps: int,
    learning_rate: float,
    checkpoint_steps: int,
    checkpoints: Checkpoints,
    log: Log,
    interrupted: Interrupted,
) -> list[Row]:
    """Train the locator on square views of whole images, each with two boxes or more; return one row per step.

    The loss is the cross-entropy of each heat map with a Gaussian round its point, plus the L1 distance of its mean.

    Errors:
        FloatingPointError: a loss term is not finite.
        Interruption: `interrupted()` became true; the last whole step is in a checkpoint.
    """
    optimiser = adamw(locator.parameters(), learning_rate=learning_rate, weight_decay=0.0)
    run = TrainingRun(
        modules={"locator": locator},
        optimisers={"locator": optimiser},
        steps=steps,
        checkpoint_steps=checkpoint_steps,
        checkpoints=checkpoints,
        log=log,
        interrupted=interrupted,
    )
    locator.train()
    for step in run.steps():
        batch = batches.batch(step)
        points = torch.stack([column_ends(target) for target in batch.targets]) / batches.size[0]
        logits = locator(batch.images[:, :1])
        entropy = nnf.cross_entropy(logits.flatten(2).transpose(1, 2), _heat(points, logits).flatten(2).transpose(1, 2))
        distance = (expected_points(logits) - points).abs().mean()
        finite_means({"entropy": entropy, "distance": distance}, step, batch.image_ids)
        set_rate(optimiser, learning_rate * rate_factor(step, steps=steps, warmup_steps=steps // 20))
        optimiser.zero_grad()
        (entropy + 10 * distance).backward()
        optimiser.step()
        run.done(step, {"loss": entropy.item(), "distance": distance.item()})
    return run.finish()


def column_ends(target: Target) -> Float[Tensor, "2 2"]:
    """Give the centres (x, y) of the highest and the lowest box."""
    centres = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    return torch.stack([centres[centres[:, 1].argmin()], centres[centres[:, 1].argmax()]])


def _heat(points: Tensor, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    xs = torch.arange(width, device=like.device) + 0.5 - points[..., 0, None] * width
    ys = torch.arange(height, device=like.device) + 0.5 - points[..., 1, None] * height
    squares = xs[:, :, None, :] ** 2 + ys[:, :, :, None] ** 2
    return (-squares / (2 * _HEAT_SIGMA**2)).flatten(2).softmax(-1).view_as(like)
