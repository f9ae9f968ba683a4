"""What `test_parallel.py` trains, alone or as one of torchrun's processes: `parallel_training.py FOLDER CASE...`.

A case leaves FOLDER/CASE.pt, written by the first process: rows and weights, or the line it ended with. Its checkpoints
lie in a folder of the case's first word.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from meddet import processes
from meddet.checkpoint import Checkpoints
from meddet.data.batches import Batch, Batches, ImageSet
from meddet.data.coco import Sample
from meddet.data.transforms import draw_change
from meddet.distill.meddet import MedDetDistiller
from meddet.models.detector import Detector, build_detector
from meddet.models.global_norm import make_norms_global
from meddet.structures import Region, Target
from meddet.train import Optimisation, fit_detector, fit_student
from meddet.training_run import Interruption, Row

SIZE = (64, 48)
STEPS = 4
OPTIMISATION = Optimisation(
    steps=STEPS,
    learning_rate=0.001,
    weight_decay=0.05,
    warmup_steps=1,
    clip_norm=1.0,
    precision="32-true",
    checkpoint_steps=100,
)
Stop = Callable[[], bool]
Result = tuple[list[Row], dict[str, torch.Tensor]]


def batches(kind: type[Batches] = Batches) -> Batches:
    """Views with 0 to 3 boxes, so that the parts of a batch differ in their normalisers."""
    rng = np.random.default_rng(0)
    samples, images = [], []
    for image_id in range(1, 7):
        corners = rng.uniform(4, 20, (image_id % 4, 2))
        boxes = torch.tensor(np.concatenate([corners, corners + rng.uniform(12, 24, corners.shape)], axis=1))
        labels = torch.tensor(rng.integers(0, 2, len(boxes)), dtype=torch.int64)
        target = Target(boxes.float().reshape(-1, 4), labels)
        samples.append(Sample(image_id, f"{image_id}.png", f"p{image_id}", 48, 64, target, (), None))
        images.append(rng.integers(0, 65535, SIZE).astype(np.uint16))
    draw = partial(draw_change, shift=0.02, scale=0.02, gamma=0.05, bias=0.05, blur=0.0, noise=0.02, marks=0.0)
    regions = (Region(0.0, 0.0, 48.0, 64.0),) * len(samples)
    return kind(ImageSet(tuple(samples), tuple(images), regions), SIZE, 4, 5, draw)


class Broken(Batches):
    """Batches where the view of image 3 is not a number."""

    def batch(self, step: int, *, part: int = 0, parts: int = 1) -> Batch:
        batch = super().batch(step, part=part, parts=parts)
        for place, image_id in enumerate(batch.image_ids):
            if image_id == 3:
                batch.images[place] = float("nan")
        return batch


def detector(seed: int) -> Detector:
    """Build a detector whose BatchNorm is in evaluation mode for good."""
    torch.manual_seed(seed)
    built = build_detector(
        backbone="mobilenet_v2", channels=32, num_classes=2, ode="nmode2", solver="fast", ode_steps=4
    )
    built.head.set_initial_size(20.0, 20.0)
    _fix_norms(built)
    return built


def _fix_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            _fix_norms(child)


def plain(folder: Path, *, stop: Stop, kind: type[Batches] = Batches) -> Result:
    model = detector(0)
    rows = fit_detector(
        model,
        batches(kind),
        optimisation=OPTIMISATION,
        octave_scale=8,
        checkpoints=Checkpoints(folder),
        log=lambda *_: None,
        interrupted=stop,
    )
    return rows, model.state_dict()


def taught(folder: Path, *, stop: Stop) -> Result:
    teachers = [detector(seed).eval() for seed in (7, 8)]
    student = detector(0)
    torch.manual_seed(1)
    distiller = MedDetDistiller(
        channels=32,
        num_teachers=2,
        anchor=0,
        anchor_head=teachers[0].head,
        sigma=0.5,
        tau=0.4,
        scale=2.0,
        adversarial_warmup_steps=1,
        anchor_weight=1.0,
        gate="sigmoid",
        start="anchor",
        octave_scale=8,
        anchor_interval=2,
    )
    rows = fit_student(
        student,
        teachers,
        distiller,
        batches(),
        optimisation=OPTIMISATION,
        critic_learning_rate=0.001,
        octave_scale=8,
        checkpoints=Checkpoints(folder),
        log=lambda *_: None,
        interrupted=stop,
    )
    return rows, nn.ModuleDict({"student": student, "distiller": distiller}).state_dict()


def norm(_: Path) -> Result:
    """Pass a batch forth and back through BatchNorm, each process its part; gather what it did."""
    torch.manual_seed(0)
    images, weights = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    layers = nn.Sequential(nn.BatchNorm2d(5)).double()
    nn.init.normal_(layers[0].weight)
    make_norms_global(layers, torch.device("cpu"))
    part = slice(processes.rank(), None, processes.count())
    inputs = images[part].clone().requires_grad_()
    output = layers(inputs)
    (output * weights[part]).sum().backward()
    assert inputs.grad is not None
    whole = {
        name: processes.gathered(value).transpose(0, 1).flatten(0, 1)
        for name, value in {"output": output, "gradient": inputs.grad}.items()
    }
    by_parameter = {f"d{name}": processes.total(parameter.grad) for name, parameter in layers.named_parameters()}
    return [], {**whole, **by_parameter, **layers.state_dict()}


def never() -> bool:
    return False


def last_is_asked_after(steps: int) -> Stop:
    """Ask the last process alone to stop."""
    seen = iter(range(1, STEPS + 1))
    return lambda: next(seen) == steps and processes.rank() == processes.count() - 1


CASES: dict[str, Callable[[Path], Result]] = {
    "norm": norm,
    "plain": partial(plain, stop=never),
    "gan": partial(taught, stop=never),
    "two-cut": partial(taught, stop=last_is_asked_after(2)),
    "two-resumed": partial(taught, stop=never),
    "moved-cut": partial(taught, stop=last_is_asked_after(2)),
    "moved-resumed": partial(taught, stop=never),
    "broken": partial(plain, stop=never, kind=Broken),
}


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        try:
            result: object = CASES[name](folder / name.split("-")[0])
        except (Interruption, FloatingPointError) as error:
            result = str(error)
        if processes.rank() == 0:
            torch.save(result, folder / f"{name}.pt")


if __name__ == "__main__":
    main()
