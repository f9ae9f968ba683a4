"""The training loops: `fit_locator`, `fit_detector` and `fit_student`, side by side.

All are functions of their arguments alone: the batch of a step is drawn from (seed, step), so that a run resumed from
a checkpoint is the run that was cut off. `log` gets one row of numbers per step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from meddet.checkpoint import Checkpoints
from meddet.data.batches import Batch, Batches
from meddet.distill.base import Distiller, Outputs
from meddet.losses import gfl_losses
from meddet.models.detector import Detector
from meddet.models.locator import Locator, expected_points
from meddet.optim import adamw, rate_factor, set_rate
from meddet.structures import Predictions, Target

_HEAT_SIGMA = 1.0

Row = dict[str, int | float]
Log = Callable[[int, Row], None]
Interrupted = Callable[[], bool]


class Interruption(Exception):  # noqa: N818 - not an error: the training stopped because it was asked to
    """The training was asked to stop; its last step is in a checkpoint."""


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


def fit_locator(locator: Locator, batches: Batches, *, steps: int, learning_rate: float, log: Log) -> list[Row]:
    """Train the locator on square views of whole images, each with two boxes or more; return one row per step.

    The loss is the cross-entropy of each heat map with a Gaussian round its point, plus the L1 distance of its mean.

    Errors:
        FloatingPointError: a loss term is not finite.
    """
    optimiser = adamw(locator.parameters(), learning_rate=learning_rate, weight_decay=0.0)
    rows: list[Row] = []
    locator.train()
    for step in range(steps):
        batch = batches.batch(step)
        points = torch.stack([column_ends(target) for target in batch.targets]) / batches.size[0]
        logits = locator(batch.images[:, :1])
        entropy = nnf.cross_entropy(logits.flatten(2).transpose(1, 2), _heat(points, logits).flatten(2).transpose(1, 2))
        distance = (expected_points(logits) - points).abs().mean()
        _check_finite({"entropy": entropy, "distance": distance}, step, batch.image_ids)
        set_rate(optimiser, learning_rate * rate_factor(step, steps=steps, warmup_steps=steps // 20))
        optimiser.zero_grad()
        (entropy + 10 * distance).backward()
        optimiser.step()
        rows.append({"step": step + 1, "loss": entropy.item(), "distance": distance.item()})
        log(step, rows[-1])
    locator.eval()
    return rows


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
    fabric = Fabric(accelerator="auto", devices=1, precision=optimisation.precision)
    plain_optimiser = _optimiser(detector.parameters(), optimisation)
    detector = detector.to(memory_format=torch.channels_last).train()
    model, optimiser = fabric.setup(_Tensors(detector), plain_optimiser)
    run = _Run(checkpoints, {"detector": detector}, {"detector": plain_optimiser}, optimisation, log, interrupted)
    for step in run.steps():
        batch = _on(fabric, batches.batch(step))
        _, predictions = _split(model(batch.images))
        terms = gfl_losses(predictions, batch.targets, octave_scale=octave_scale)
        _check_finite(terms, step, batch.image_ids)
        rate = optimisation.learning_rate * _factor(step, optimisation)
        _update(fabric, optimiser, terms, rate=rate, clip_norm=optimisation.clip_norm)
        run.done(step, _row(terms))
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

    Errors: as `fit_detector`.
    """
    fabric = Fabric(accelerator="auto", devices=1, precision=optimisation.precision)
    distiller = distiller.to(fabric.device).train()
    plain_optimiser = _optimiser([*student.parameters(), *distiller.student_parameters()], optimisation)
    optimisers: dict[str, Optimizer] = {"student": plain_optimiser}
    student = student.to(memory_format=torch.channels_last).train()
    model, optimiser = fabric.setup(_Tensors(student), plain_optimiser)
    frozen = [_freeze(teacher, fabric.device) for teacher in teachers]
    if critic_learning_rate is not None:
        critic = adamw(distiller.critic_parameters(), learning_rate=critic_learning_rate, weight_decay=0.0)
        optimisers["critic"] = critic
    modules = {"student": student, "distiller": distiller}
    run = _Run(checkpoints, modules, optimisers, optimisation, log, interrupted)
    for step in run.steps():
        batch = _on(fabric, batches.batch(step))
        with fabric.autocast():
            taught = [_teach(teacher, batch.images) for teacher in frozen]
            features, predictions = _split(model(batch.images))
            learnt = Outputs(features, predictions)
            terms = gfl_losses(predictions, batch.targets, octave_scale=octave_scale)
            terms = {name: distiller.detection_weight * term for name, term in terms.items()}
            terms |= distiller.student_losses(learnt, taught, batch.targets)
        _check_finite(terms, step, batch.image_ids)
        factor = _factor(step, optimisation)
        rate = optimisation.learning_rate * factor
        _update(fabric, optimiser, terms, rate=rate, clip_norm=optimisation.clip_norm)
        critic_row: Row = {}
        if critic_learning_rate is not None:
            with fabric.autocast():
                critic_terms = distiller.critic_losses(learnt, taught, batch.targets)
            _check_finite(critic_terms, step, batch.image_ids)
            rate = critic_learning_rate * factor
            _update(fabric, critic, critic_terms, rate=rate, clip_norm=optimisation.clip_norm)
            critic_row = {name: term.item() for name, term in critic_terms.items()}
        run.done(step, _row(terms) | critic_row | distiller.metrics())
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


class _Run:
    """The bookkeeping of a loop: where it resumes, its rows, its checkpoints."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Optimizer],
        optimisation: Optimisation,
        log: Log,
        interrupted: Interrupted,
    ) -> None:
        self.checkpoints = checkpoints
        self.parts: dict[str, Any] = {**modules, **{f"{name}_optimiser": o for name, o in optimisers.items()}}
        self.optimisation = optimisation
        self.log = log
        self.interrupted = interrupted
        self.rows: list[Row] = []

    def steps(self) -> range:
        restored = self.checkpoints.restore()
        if restored is None:
            return range(self.optimisation.steps)
        step, state = restored
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.rows = list(state["rows"])
        print(f"resuming at step {step} of {self.optimisation.steps}", flush=True)
        return range(step, self.optimisation.steps)

    def done(self, step: int, row: Row) -> None:
        self.rows.append({"step": step + 1, **row})
        self.log(step, row)
        asked = self.interrupted()
        if asked or ((step + 1) % self.optimisation.checkpoint_steps == 0 and step + 1 < self.optimisation.steps):
            state = {name: part.state_dict() for name, part in self.parts.items()}
            self.checkpoints.save(step + 1, {**state, "rows": self.rows})
        if asked:
            raise Interruption(f"stopped after step {step + 1}; run again to go on from there")

    def finish(self) -> list[Row]:
        for part in self.parts.values():
            if isinstance(part, nn.Module):
                part.eval().cpu()
        return self.rows


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


def _update(fabric: Fabric, optimiser: Any, terms: Mapping[str, Tensor], *, rate: float, clip_norm: float) -> None:
    set_rate(optimiser, rate)
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(torch.stack(list(terms.values())).sum())
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip_norm)
    optimiser.step()


def _check_finite(terms: Mapping[str, Tensor], step: int, image_ids: Sequence[int]) -> None:
    for name, term in terms.items():
        if not bool(torch.isfinite(term)):
            images = f" on images {', '.join(map(str, image_ids))}" if image_ids else ""
            raise FloatingPointError(f"loss term {name} is {term.item()} at step {step + 1}{images}; lower the rate")


def _row(terms: Mapping[str, Tensor]) -> Row:
    row = {name: term.item() for name, term in terms.items()}
    return {"loss": sum(row.values()), **row}


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


def _factor(step: int, optimisation: Optimisation) -> float:
    return rate_factor(step, steps=optimisation.steps, warmup_steps=optimisation.warmup_steps)
