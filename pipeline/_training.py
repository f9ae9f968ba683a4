"""What the training stages share: data in, checkpoints kept and dropped, weights and curve out."""

import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

import meddet
from meddet import processes
from meddet.checkpoint import Checkpoints, content_sum, held
from meddet.classes import CLASSES
from meddet.config import Augment, Params, Schedule
from meddet.data.batches import Batches, ImageSet, load_images
from meddet.data.coco import load_part
from meddet.data.transforms import cover, draw_change
from meddet.files import read_json, write_atomic, write_json
from meddet.models.detector import Detector, build_detector, save_detector
from meddet.structures import Region
from meddet.train import Optimisation, fit_detector
from meddet.training_run import Interruption, Row
from pipeline._stage import ARTIFACTS, OUT_OF_MEMORY, TERMINATED, Failure, is_out_of_memory, on_ending

COCO = ARTIFACTS / "coco.json"
SPLIT = ARTIFACTS / "split.json"
REGIONS = ARTIFACTS / "regions.json"
IMAGES = ARTIFACTS / "images"
CHECKPOINTS = Path(".ckpt")

# Seconds after which a second request to end isn't waited for.
_IMPATIENCE = 2
_SIZES = ("batch_size", "height", "width", "size")


def load_regions() -> dict[int, Region]:
    """Read artifacts/regions.json."""
    return {int(image_id): Region(*corners) for image_id, corners in read_json(REGIONS).items()}


def load_part_images(part: str) -> ImageSet:
    """Load the images of train, validation or test with their annotations and regions."""
    return load_images(IMAGES, load_part(COCO, SPLIT, part), load_regions())


def load_whole_images(part: str) -> ImageSet:
    """Load the images of a part with regions that show each image whole, squared."""
    samples = load_part(COCO, SPLIT, part)
    return load_images(IMAGES, samples, {s.image_id: cover(s.width, s.height, aspect=1.0) for s in samples})


def draw(augment: Augment) -> Callable[..., Any]:
    """Return the function that draws a training change."""
    return partial(draw_change, **augment.model_dump())


def training_batches(params: Params, schedule: Schedule) -> Batches:
    """Return the training batches of a schedule."""
    size = (params.view.height, params.view.width)
    return Batches(load_part_images("train"), size, schedule.batch_size, schedule.seed, draw(params.augment))


def new_detector(backbone: str, params: Params, images: ImageSet) -> tuple[Detector, dict[str, Any]]:
    """Build a detector whose first boxes have the mean disc's size; return it with its constructor arguments."""
    model = params.model
    arguments: dict[str, Any] = {
        "backbone": backbone,
        "channels": model.channels,
        "num_classes": len(CLASSES),
        "ode": model.ode,
        "solver": model.solver,
        "ode_steps": model.ode_steps,
    }
    detector = build_detector(**arguments)
    detector.head.set_initial_size(*mean_disc(images, (params.view.height, params.view.width)))
    return detector, arguments


def mean_disc(images: ImageSet, size: tuple[int, int]) -> tuple[float, float]:
    """Return the mean width and height in view pixels of the annotated boxes.

    Errors:
        ValueError: no image has a box.
    """
    sides = [
        (box[2:] - box[:2]) * box.new_tensor([size[1] / region.width, size[0] / region.height])
        for sample, region in zip(images.samples, images.regions, strict=True)
        for box in sample.target.boxes
    ]
    if not sides:
        raise ValueError(f"{COCO}: expected at least one box among the training images, found none")
    width, height = (sum(side[axis].item() for side in sides) / len(sides) for axis in (0, 1))
    return width, height


def optimisation(schedule: Schedule) -> Optimisation:
    """Return a schedule as the training loop takes it."""
    return Optimisation(**schedule.model_dump(exclude={"seed", "batch_size"}))


@dataclass(frozen=True)
class Session:
    """What a training loop needs from outside."""

    checkpoints: Checkpoints
    log: Callable[[int, Row], None]
    interrupted: Callable[[], bool]
    writes: bool
    """Whether this process writes the outputs: of several, the first one does."""


@contextmanager
def training(stage: str, params: Params, *, sections: Sequence[str], inputs: Sequence[Path]) -> Iterator[Session]:
    """Hold the checkpoints of a stage's training, show its progress, and end it gracefully when asked to.

    The parameters in `sections`, the content of `inputs`, the code that is loaded and the versions of what computes
    determine the training: a checkpoint of another one is never picked up. A resumed training gives the bits of an
    uninterrupted one on the same number of threads. The checkpoints are deleted when the body, which also writes the
    outputs, has succeeded. Of several processes, the first one holds the checkpoints and shows the progress.

    Args:
        stage: names the checkpoints' folder.
        params: of the project.
        sections: dotted names, as dvc.yaml lists them.
        inputs: files and folders.
    """
    values = _values(params, sections)
    identity = values | {path.as_posix(): content_sum(path) for path in inputs} | _code() | _versions()
    (steps,) = (value for name, value in values.items() if name.endswith(".steps"))
    asked: list[float] = []

    def ask(_: int, __: FrameType | None) -> None:
        # A killed parent with threads sends its signal several times at once; only a later one is impatience.
        if bar.n >= steps or (asked and time.monotonic() > asked[0] + _IMPATIENCE):
            sys.exit(TERMINATED)
        asked.append(time.monotonic())

    try:
        first = processes.rank() == 0
        holding = held(CHECKPOINTS / stage, identity) if first else nullcontext(Checkpoints(CHECKPOINTS / stage))
        with (
            holding as checkpoints,
            tqdm(total=steps, desc=stage, unit="step", mininterval=1, dynamic_ncols=True, disable=not first) as bar,
            on_ending(ask),
        ):
            yield Session(checkpoints, partial(show, bar), lambda: bool(asked), writes=first)
            if first:
                checkpoints.delete()
    except Interruption as interruption:
        raise Failure(TERMINATED, f"{stage}: {interruption}") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sizes = ", ".join(f"{name} {value}" for name, value in values.items() if name.split(".")[-1] in _SIZES)
        raise Failure(OUT_OF_MEMORY, f"{stage}: memory ran out; lower one of {sizes} in params.yaml") from None


def train_detector(
    backbone: str, params: Params, schedule: Schedule, *, section: str, folder: Path, curve: Path
) -> None:
    """Train a detector without teachers and write its weights, its curve (.csv) and a summary beside it (.json).

    Args:
        backbone: its name.
        params: of the project.
        schedule: of this training.
        section: the schedule's dotted name in the parameters.
        folder: of the weights.
        curve: path of the curve.
    """
    torch.manual_seed(schedule.seed)
    batches = training_batches(params, schedule)
    detector, arguments = new_detector(backbone, params, batches.images)
    sections = ["view", "model", "augment", section]
    stage = section.replace(".", "-")
    with training(stage, params, sections=sections, inputs=[COCO, SPLIT, REGIONS, IMAGES]) as session:
        rows = fit_detector(
            detector,
            batches,
            optimisation=optimisation(schedule),
            octave_scale=params.model.octave_scale,
            checkpoints=session.checkpoints,
            log=session.log,
            interrupted=session.interrupted,
        )
        if session.writes:
            save_detector(folder, detector, arguments=arguments, input_size=batches.size)
            write_curve(curve, rows)
            write_summary(curve.with_suffix(".json"), rows)


def write_curve(path: Path, rows: list[Row]) -> None:
    """Write one CSV line per step, rounded so that a reader sees digits that mean something."""
    write_atomic(path, pd.DataFrame(rows).round(6).to_csv(index=False).encode())


def write_summary(path: Path, rows: list[Row]) -> None:
    """Write the means of the last tenth of the steps."""
    means = pd.DataFrame(rows).drop(columns="step").tail(max(len(rows) // 10, 1)).mean()
    write_json(path, {str(name): round(float(value), 6) for name, value in means.items()})


def show(bar: "tqdm[Any]", step: int, row: Row) -> None:
    """Move a progress bar to the end of a step and show its loss, if anybody still reads it."""
    with suppress(BrokenPipeError):
        bar.update(step + 1 - bar.n)
        bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)


def _values(params: Params, sections: Sequence[str]) -> dict[str, Any]:
    every = _flat(params.model_dump(mode="json", by_alias=True), "")
    starts = tuple(f"{section}." for section in sections)
    return {name: value for name, value in every if f"{name}.".startswith(starts)}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{name}.{key}" if name else key)


def _code() -> dict[str, str]:
    """Return the sums of the project's files that this process has loaded."""
    packages = (Path(meddet.__file__).parent, Path(__file__).parent)
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    loaded = sorted({Path(file) for file in files if file})
    return {
        file.relative_to(package.parent).as_posix(): content_sum(file)
        for package in packages
        for file in loaded
        if file.is_relative_to(package)
    }


def _versions() -> dict[str, str]:
    """Return the versions of what computes."""
    libraries = {name: importlib.metadata.version(name) for name in ("lightning", "numpy", "torch", "torchvision")}
    return {"python": platform.python_version(), **libraries}
