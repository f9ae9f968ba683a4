"""A toy data set: dark bars on bright noise. Small enough to overfit in seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meddet import bundle, export
from meddet.classes import LEVELS
from meddet.data.batches import Batches, ImageSet
from meddet.data.coco import Sample
from meddet.data.transforms import draw_change
from meddet.drift.features import FEATURES
from meddet.drift.reference import Rule, build_reference
from meddet.evaluate.calibration import Calibration
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.levels import Knots, LevelPrior
from meddet.models.detector import build_detector
from meddet.models.locator import Locator, LocatorSettings
from meddet.structures import Region, Target


def toy_images(count: int, *, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    samples, images = [], []
    for image_id in range(1, count + 1):
        pixels = rng.uniform(0.5, 0.9, (96, 64))
        boxes, labels = [], []
        for row in range(6):
            x, y = 20 + rng.uniform(-4, 4), 8 + 14 * row
            label = int(rng.integers(2))
            width = 28 if label == 0 else 18
            pixels[round(y) : round(y) + 7, round(x) : round(x) + width] = 0.1
            boxes.append([round(x), round(y), round(x) + width, round(y) + 7])
            labels.append(label)
        target = Target(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels))
        samples.append(
            Sample(
                image_id=image_id,
                file_name=f"{image_id:06d}.png",
                patient_id=f"p{image_id}",
                width=64,
                height=96,
                target=target,
                levels=LEVELS,
                spacing_mm=None,
            )
        )
        images.append(np.rint(pixels * 65535).astype(np.uint16))
    return ImageSet(tuple(samples), tuple(images), (Region(0.0, 0.0, 64.0, 96.0),) * count)


@pytest.fixture(scope="session")
def toy_batches() -> Batches:
    draw = partial(draw_change, shift=0.02, scale=0.02, gamma=0.05, bias=0.05, blur=0.0, noise=0.02, marks=0.0)
    return Batches(toy_images(6), (96, 64), 4, 5, draw)


SMALL_ARGUMENTS = {
    "backbone": "mobilenet_v2",
    "channels": 32,
    "num_classes": 2,
    "ode": "nmode2",
    "solver": "fast",
    "ode_steps": 4,
}
# Six discs below each other in the middle of the region.
SMALL_LEVELS = LevelPrior(
    mean=tuple(float(value) for row in range(6) for value in (0.5, 0.1 + 0.15 * row)),
    covariance=tuple(tuple(row) for row in (0.03**2 * np.eye(12)).tolist()),
    images=40,
)
SMALL_CONFIG = bundle.Config(
    arguments=SMALL_ARGUMENTS,
    input_size=(160, 136),
    locator=LocatorSettings(size=32, width=4, zoom=2.2, margin=1.4, aspect=0.85),
    percentiles=(0.5, 99.9),
    max_pixels=100_000,
    score_threshold=0.05,
    nms_iou=0.6,
    max_detections=100,
    operating_point={"protrusion": 0.2, "non-protrusion": 0.3},
    calibration=Calibration(
        {"protrusion": Knots((0.1, 0.6), (0.05, 0.7)), "non-protrusion": Knots((0.1, 0.6), (0.1, 0.8))},
        Knots((0.05, 0.5), (0.02, 0.9)),
        Knots((0.2, 0.8), (0.25, 0.75)),
    ),
    levels=SMALL_LEVELS,
    conformal=Conformal(0.1, 0.12, 20),
)
# Of thirty patients each feature takes the values 0, 1/30, ... 29/30.
SMALL_REFERENCE = build_reference(
    {part: [dict.fromkeys(FEATURES, patient / 30) for patient in range(30)] for part in ("train", "validation")},
    rule=Rule(window=40, least=20, p_value=0.001, psi=0.25, bins=5),
)


def _write_small_bundle(folder: Path, *, seed: int = 0, **changes: Any) -> export.Parity:
    """Write a bundle of small random networks, whose detector scores high in many places."""
    torch.manual_seed(seed)
    detector = build_detector(**SMALL_ARGUMENTS).eval()
    detector.head.set_initial_size(24.0, 12.0)
    torch.nn.init.normal_(detector.head.cls.weight, std=0.3)
    options = {
        "detector": detector,
        "locator": Locator(SMALL_CONFIG.locator.width).eval(),
        "config": SMALL_CONFIG,
        "reference": SMALL_REFERENCE,
        "card": "# MedDet\n",
        "claims": "# Checklist\n",
        "data_md5": "d41d8.dir",
        "code": "abc",
        "images": [torch.rand(1, 120, 100)],
        "regions": [Region(0.0, 0.0, 102.0, 120.0)],
        "tolerance": bundle.Tolerance(box_px=0.05, score=0.001),
    }
    return bundle.write_bundle(folder, **{**options, **changes})


@pytest.fixture(scope="session")
def write_small_bundle() -> Callable[..., export.Parity]:
    return _write_small_bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "bundle"
    _write_small_bundle(folder)
    return folder
