"""What the training stages share: data in, checkpoints kept and dropped, weights and curve out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGTERM, signal
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel
from tqdm import tqdm

from meddet.checkpoint import Checkpoints, file_sum, fingerprint
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
from pipeline._stage import ARTIFACTS, TERMINATED, Failure

COCO = ARTIFACTS / "coco.json"
SPLIT = ARTIFACTS / "split.json"
REGIONS = ARTIFACTS / "regions.json"
IMAGES = ARTIFACTS / "images"


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


@contextmanager
def training(name: str, *, steps: int, identity: dict[str, Any], files: list[Path]) -> Iterator[Session]:
    """Hold the checkpoints of a training, show its progress, and end it gracefully on SIGTERM.

    `identity` (parameters) and `files` (inputs), with the library's code, name the checkpoint folder: a checkpoint of
    another training is never picked up. It is deleted when the body, which also writes the outputs, has succeeded.
    """
    checkpoints = Checkpoints(_folder(name, identity, files))
    asked: list[int] = []
    previous = signal(SIGTERM, lambda number, _: asked.append(number))
    try:
        with checkpoints.hold(), tqdm(total=steps, desc=name, unit="step", mininterval=1, dynamic_ncols=True) as bar:
            yield Session(checkpoints, partial(show, bar), lambda: bool(asked))
            checkpoints.delete()
    except Interruption as interruption:
        raise Failure(TERMINATED, f"{name}: {interruption}") from None
    finally:
        signal(SIGTERM, previous)


def train_detector(backbone: str, params: Params, schedule: Schedule, *, stage: str, folder: Path, curve: Path) -> None:
    """Train a detector without teachers and write its weights, its curve (.csv) and a summary beside it (.json)."""
    torch.manual_seed(schedule.seed)
    batches = training_batches(params, schedule)
    detector, arguments = new_detector(backbone, params, batches.images)
    identity = {"arguments": arguments, "schedule": schedule, "view": params.view, "augment": params.augment}
    with training(stage, steps=schedule.steps, identity=identity, files=[COCO, SPLIT, REGIONS]) as session:
        rows = fit_detector(
            detector,
            batches,
            optimisation=optimisation(schedule),
            octave_scale=params.model.octave_scale,
            checkpoints=session.checkpoints,
            log=session.log,
            interrupted=session.interrupted,
        )
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
    """Move a progress bar to the end of a step and show its loss."""
    bar.update(step + 1 - bar.n)
    bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)


def _folder(name: str, identity: dict[str, Any], files: list[Path]) -> Path:
    code = {str(path): file_sum(path) for path in sorted(Path("meddet").rglob("*.py"))}
    inputs = {str(path): file_sum(path) for path in files}
    key = fingerprint({"identity": _plain(identity), "code": code, "inputs": inputs})
    return Path(".ckpt") / name / key


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
