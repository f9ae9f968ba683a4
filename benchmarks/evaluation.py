"""Time and memory of the intervals of many images: matching once, then 2,000 resamples. Research use only.

python -m benchmarks.evaluation --images 10000 --out out/evaluation.json

Two images of each patient with six discs; of each disc three detections of either class, some shifted far, some of the
wrong class, none on one image in fifty. What is timed is what `evaluate` computes of one model: the block "detection"
(seven numbers of two classes, of their mean and without classes), the block "froc", and what promotion is decided by.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddet.classes import LEVELS
from meddet.evaluate.bootstrap import draw_patients
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.froc import froc
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally
from meddet.files import write_json
from meddet.structures import Detections, Target

NOTICE = "Research use only; synthetic detections say nothing about clinical performance."
_DISCS, _BOXES_OF_DISC = 6, 3
_THRESHOLDS = {"protrusion": 0.5, "non-protrusion": 0.5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the detections, match and resample them; print and write the seconds and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    scored = synthetic(options.images, seed=0)
    detections = sum(len(each.scores) for each in scored.detections)
    result: dict[str, Any] = {"images": options.images, "detections": detections, "resamples": options.resamples}
    result["memory_before_mb"] = _peak_memory_mb()
    used_before = time.process_time()
    counted, result["matching_s"] = _timed(lambda: tally(scored))
    draws, result["drawing_s"] = _timed(
        lambda: draw_patients(len(counted.patients), resamples=options.resamples, seed=0)
    )
    steps = {"detection": counted.detection, "froc": partial(froc, counted), "gate": counted.numbers}
    for name, step in steps.items():
        _, result[f"resampling_{name}_s"] = _timed(partial(step, draws))
    result["total_s"] = sum(value for name, value in result.items() if name.endswith("_s"))
    result["of_processor_s"] = time.process_time() - used_before
    result["peak_memory_mb"] = _peak_memory_mb()
    for name, value in result.items():
        print(f"{name}: {value:,.1f}" if isinstance(value, float) else f"{name}: {value:,}")
    print(NOTICE)
    write_json(options.out, {**result, "notice": NOTICE})
    return 0


def synthetic(images: int, *, seed: int) -> Scored:
    """Make a test part and a middling model; every number is drawn from the seed."""
    random = np.random.default_rng(seed)
    truth = [_image(random) for _ in range(images)]
    return Scored(
        test_md5="0" * 32,
        data_md5="synthetic",
        image_ids=tuple(range(images)),
        patients=tuple(f"{image // 2:06d}" for image in range(images)),
        groups=({},) * images,
        targets=tuple(target for target, _ in truth),
        levels=(LEVELS,) * images,
        detections=tuple(found for _, found in truth),
        thresholds=_THRESHOLDS,
        score_threshold=0.05,
        nms_iou=0.6,
        named=tuple(("",) * len(found.scores) for _, found in truth),
        calibration=UNCALIBRATED,
        conformal=Conformal(0.1, None, 0),
    )


def _image(random: np.random.Generator) -> tuple[Target, Detections]:
    corner = np.stack([random.uniform(200, 240, _DISCS), 100.0 + 40 * np.arange(_DISCS)], axis=1)
    boxes = np.concatenate([corner, corner + random.uniform((30, 12), (50, 20), (_DISCS, 2))], axis=1)
    labels = random.integers(0, 2, _DISCS)
    number = 0 if random.uniform() < 0.02 else _DISCS * _BOXES_OF_DISC
    spread = random.choice([1.0, 3.0, 12.0], (number, 1))
    found = np.repeat(boxes, _BOXES_OF_DISC, axis=0)[:number] + spread * random.normal(size=(number, 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
    is_right = random.uniform(size=number) < 0.7
    guesses = np.where(is_right, np.repeat(labels, _BOXES_OF_DISC)[:number], random.integers(0, 2, number))
    scores = 0.05 + 0.95 / (1 + np.exp(spread[:, 0] / 6 - random.normal(size=number)))
    order = np.argsort(-scores)
    target = Target(torch.from_numpy(boxes).float(), torch.from_numpy(labels))
    boxes_found, falling = torch.from_numpy(found[order]).float(), torch.from_numpy(scores[order]).float()
    return target, Detections(boxes_found, falling, torch.from_numpy(guesses[order]))


def _timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    start = time.monotonic()
    return compute(), time.monotonic() - start


def _peak_memory_mb() -> float:
    """The most that this process has held so far; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
