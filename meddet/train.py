"""The training loops of detectors: `fit_detector` and `fit_student`, side by side.

Both are functions of their arguments alone: the batch of a step is drawn from (seed, step), so that a run resumed from
a checkpoint is the run that was cut off. `log` gets one row of numbers per step.

Processes that torchrun has started share each batch. Normalisers, BatchNorm's statistics and gradients are the whole
batch's, so that their number changes rounding only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from meddet import processes
from meddet.checkpoint import Checkpoints
from meddet.data.batches import Batch, Batches
from meddet.distill.base import Distiller, Outputs
from meddet.losses import gfl_losses
from meddet.models.detector import Detector
from meddet.models.global_norm import make_norms_global
from meddet.optim import adamw, rate_factor, set_rate
from meddet.structures import Predictions, Target
from meddet.training_run import Interrupted, Log, Row, TrainingRun, finite_means


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast: peak rate of AdamW, linear warm-up and cosine, largest gradient norm."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    precision: Literal["32-true", "bf16-mixed"]
    checkpoint_steps: int


def fit_detector(
    detector: Detector,
    batches: Batches,
    *,
    optimisation: Optimisation,
    octave_scale: int,
    checkpoints: Checkpoints,
    log: Log,
    interrupted: Interrupted,
) -> list[Row]:
    """Train a detector on annotated images alone; return one row of loss terms per step.

    Errors:
        FloatingPointError: a loss term is not finite; the line names the term, the step and the images.
        Interruption: `interrupted()` became true; the last whole step is in a checkpoint.
    """
    fabric = processes.fabric(optimisation.precision)
    make_norms_global(detector, fabric.device)
    plain_optimiser = _optimiser(detector.parameters(), optimisation)
    detector = detector.to(memory_format=torch.channels_last).train()
    model, optimiser = fabric.setup(_Tensors(detector), plain_optimiser)
    run = TrainingRun(
        modules={"detector": detector},
        optimisers={"detector": plain_optimiser},
        steps=optimisation.steps,
        checkpoint_steps=optimisation.checkpoint_steps,
        checkpoints=checkpoints,
        log=log,
        interrupted=interrupted,
    )
    for step in run.steps():
        batch = _on(fabric, batches.batch(step, part=processes.rank(), parts=processes.count()))
        _, predictions = _split(model(batch.images))
        terms = gfl_losses(predictions, batch.targets, octave_scale=octave_scale)
        row = _row(finite_means(terms, step, batch.image_ids))
        rate = optimisation.learning_rate * _factor(step, optimisation)
        _update(fabric, optimiser, terms, rate=rate, clip_norm=optimisation.clip_norm)
        run.done(step, row)
    return run.finish()


def fit_student(
    student: Detector,
    teachers: Sequence[Detector],
    distiller: Distiller,
    batches: Batches,
    *,
    optimisation: Optimisation,
    critic_learning_rate: float | None,
    octave_scale: int,
    checkpoints: Checkpoints,
    log: Log,
    interrupted: Interrupted,
) -> list[Row]:
    """Train a student on annotated images and on what a distillation method asks of it; return a row per step.

    The teachers are frozen, in eval mode, and see the very views that the student sees. A method with a critic gets a
    critic step with an optimiser of its own after every student step; a method without one passes no rate for it.

    Errors: as `fit_detector`; a FloatingPointError, too, when the method finds the training hopeless.
    """
    fabric = processes.fabric(optimisation.precision)
    distiller = distiller.to(fabric.device).train()
    make_norms_global(student, fabric.device)
    plain_optimiser = _optimiser([*student.parameters(), *distiller.student_parameters()], optimisation)
    optimisers: dict[str, Optimizer] = {"student": plain_optimiser}
    student = student.to(memory_format=torch.channels_last).train()
    model, optimiser = fabric.setup(_Tensors(student), plain_optimiser)
    frozen = [_freeze(teacher, fabric.device) for teacher in teachers]
    if critic_learning_rate is not None:
        critic = adamw(distiller.critic_parameters(), learning_rate=critic_learning_rate, weight_decay=0.0)
        optimisers["critic"] = critic
    run = TrainingRun(
        modules={"student": student, "distiller": distiller},
        optimisers=optimisers,
        steps=optimisation.steps,
        checkpoint_steps=optimisation.checkpoint_steps,
        checkpoints=checkpoints,
        log=log,
        interrupted=interrupted,
    )
    for step in run.steps():
        batch = _on(fabric, batches.batch(step, part=processes.rank(), parts=processes.count()))
        with fabric.autocast():
            taught = [_teach(teacher, batch.images) for teacher in frozen]
            features, predictions = _split(model(batch.images))
            learnt = Outputs(features, predictions)
            terms = gfl_losses(predictions, batch.targets, octave_scale=octave_scale)
            terms = {name: distiller.detection_weight * term for name, term in terms.items()}
            terms |= distiller.student_losses(learnt, taught, batch.targets)
        row = _row(finite_means(terms, step, batch.image_ids))
        factor = _factor(step, optimisation)
        rate = optimisation.learning_rate * factor
        lone = distiller.student_parameters()
        _update(fabric, optimiser, terms, rate=rate, clip_norm=optimisation.clip_norm, lone=lone)
        if critic_learning_rate is not None:
            with fabric.autocast():
                critic_terms = distiller.critic_losses(learnt, taught, batch.targets)
            means = finite_means(critic_terms, step, batch.image_ids)
            row |= {name: mean.item() for name, mean in means.items()}
            rate, lone = critic_learning_rate * factor, distiller.critic_parameters()
            _update(fabric, critic, critic_terms, rate=rate, clip_norm=optimisation.clip_norm, lone=lone)
        row |= processes.averaged_numbers(distiller.metrics())
        if fault := distiller.fault([*run.rows, row]):
            seen = ", ".join(str(number) for part in processes.from_all(batch.image_ids) for number in part)
            raise FloatingPointError(f"{fault}; at step {step + 1} on images {seen}")
        run.done(step, row)
    return run.finish()


class _Tensors(nn.Module):
    """A detector whose forward returns plain tensors, which Fabric can cast: the features, then the predictions."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.detector.features(images)
        predictions = self.detector.head(features)
        return (*features, predictions.logits, predictions.distributions, predictions.points, predictions.strides)


def _optimiser(parameters: Any, optimisation: Optimisation) -> Optimizer:
    return adamw(parameters, learning_rate=optimisation.learning_rate, weight_decay=optimisation.weight_decay)


def _on(fabric: Fabric, batch: Batch) -> Batch:
    return Batch(
        batch.images.to(fabric.device),
        tuple(Target(t.boxes.to(fabric.device), t.labels.to(fabric.device)) for t in batch.targets),
        batch.image_ids,
    )


def _split(tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Predictions]:
    *features, logits, distributions, points, strides = tensors
    return tuple(features), Predictions(logits, distributions, points, strides)


def _freeze(teacher: Detector, device: torch.device) -> Detector:
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher.to(device).to(memory_format=torch.channels_last).eval()


def _teach(teacher: Detector, images: Tensor) -> Outputs:
    with torch.no_grad():
        return Outputs(tuple(teacher.features(images)), None)


def _update(
    fabric: Fabric,
    optimiser: Any,
    terms: Mapping[str, Tensor],
    *,
    rate: float,
    clip_norm: float,
    lone: Sequence[nn.Parameter] = (),
) -> None:
    """Take a step down the sum of the terms; `lone` are the parameters whose gradients DDP doesn't average."""
    set_rate(optimiser, rate)
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(torch.stack(list(terms.values())).sum())
    processes.average_gradients(lone)
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip_norm)
    optimiser.step()


def _row(terms: Mapping[str, Tensor]) -> Row:
    row = {name: term.item() for name, term in terms.items()}
    return {"loss": sum(row.values()), **row}


def _factor(step: int, optimisation: Optimisation) -> float:
    return rate_factor(step, steps=optimisation.steps, warmup_steps=optimisation.warmup_steps)
