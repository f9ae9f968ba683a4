"""The bookkeeping of a training loop: where it resumes, its rows, its checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from meddet import processes
from meddet.checkpoint import Checkpoints

Row = dict[str, int | float]
Log = Callable[[int, Row], None]
Interrupted = Callable[[], bool]


class Interruption(Exception):  # noqa: N818 - not an error: the training stopped because it was asked to
    """The training was asked to stop; its last step is in a checkpoint."""


class TrainingRun:
    """One training on its way: it restores what it was given, and keeps it.

    Where processes share it, the first one reads and writes the checkpoints, which know nothing of their number, and
    logs; all stop after the same step when one of them is asked to.

    Args:
        modules: what is trained.
        optimisers: what trains it.
        steps: of the whole training.
        checkpoint_steps: from one checkpoint to the next.
        checkpoints: where they are kept.
        log: gets one row of numbers per step.
        interrupted: says after every step whether to stop there.
    """

    def __init__(
        self,
        *,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Optimizer],
        steps: int,
        checkpoint_steps: int,
        checkpoints: Checkpoints,
        log: Log,
        interrupted: Interrupted,
    ) -> None:
        self.parts: dict[str, Any] = {**modules, **{f"{name}_optimiser": o for name, o in optimisers.items()}}
        self.total = steps
        self.checkpoint_steps = checkpoint_steps
        self.checkpoints = checkpoints
        self.log = log
        self.interrupted = interrupted
        self.rows: list[Row] = []

    def steps(self) -> range:
        """Restore the newest checkpoint, if there is one, and return the steps that are left, counted from 0."""
        restored = processes.from_first(self.checkpoints.restore() if processes.rank() == 0 else None)
        if restored is None:
            return range(self.total)
        step, state = restored
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        _set_random_state(state["random"])
        self.rows = list(state["rows"])
        if processes.rank() == 0:
            print(f"resuming at step {step} of {self.total}", flush=True)
        return range(step, self.total)

    def done(self, step: int, row: Row) -> None:
        """Keep a step's row, and a checkpoint where one is due.

        Errors:
            Interruption: `interrupted()` became true; this step is in a checkpoint.
        """
        self.rows.append({"step": step + 1, **row})
        if processes.rank() == 0:
            self.log(step, row)
        asked = processes.any_of(self.interrupted())
        due = (step + 1) % self.checkpoint_steps == 0 and step + 1 < self.total
        if (asked or due) and processes.rank() == 0:
            state = {name: part.state_dict() for name, part in self.parts.items()}
            self.checkpoints.save(step + 1, {**state, "random": _random_state(), "rows": self.rows})
        if asked:
            processes.from_first(None)  # Nobody leaves before the checkpoint is written.
            raise Interruption(f"stopped after step {step + 1}; run again to go on from there")

    def finish(self) -> list[Row]:
        """Put the modules into eval mode on the CPU and return one row per step."""
        for part in self.parts.values():
            if isinstance(part, nn.Module):
                part.eval().cpu()
        return self.rows


def finite_means(terms: Mapping[str, Tensor], step: int, image_ids: Sequence[int]) -> dict[str, Tensor]:
    """Return the means of loss terms over processes, and stop all of them at one that is not a number.

    Errors:
        FloatingPointError: the line names the term, the step and the images; where processes share the batch, those of
            the processes whose part it was.
    """
    means = processes.averaged(terms)
    for name, mean in means.items():
        if not bool(torch.isfinite(mean)):
            found = processes.from_all([] if bool(torch.isfinite(terms[name])) else list(image_ids))
            images = ", ".join(str(image_id) for part in found for image_id in part)
            raise FloatingPointError(
                f"loss term {name} is {mean.item()} at step {step + 1} on images {images}; lower the rate"
            )
    return means


def _random_state() -> dict[str, Tensor]:
    """Return torch's random state: of the CPU, and of the GPU in use if there is one."""
    state = {"cpu": torch.get_rng_state()}
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def _set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
