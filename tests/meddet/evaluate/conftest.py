"""A test part of random patients, and models that find it more or less well."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from meddet.classes import LEVELS
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Target


def _make_scored(*, patients: int = 12, skill: float = 0.8, noise: float = 2.0, seed: int = 0) -> Scored:
    """Two images of each patient with six discs; of each disc three boxes, their class right with `skill`."""
    truth, model = np.random.default_rng(0), np.random.default_rng([seed, 1])
    targets, detections, named = [], [], []
    for _ in range(2 * patients):
        corner = np.stack([truth.uniform(20, 60, 6), 10.0 + 40 * np.arange(6)], axis=1)
        boxes = np.concatenate([corner, corner + truth.uniform((30, 15), (50, 25), (6, 2))], axis=1)
        labels = truth.integers(0, 2, 6)
        noisy = np.repeat(boxes, 3, axis=0) + model.normal(0, noise, (18, 4))
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2])
        is_right = model.uniform(size=18) < skill
        guesses = np.where(is_right, np.repeat(labels, 3), 1 - np.repeat(labels, 3))
        scores = 0.06 + 0.9 / (1 + np.exp(-model.normal(np.where(is_right, 1.0, -1.0), 1.0)))
        order = np.argsort(-scores)
        floats = {"dtype": torch.float32}
        targets.append(Target(torch.tensor(boxes, **floats), torch.tensor(labels)))
        found = (torch.tensor(noisy[order], **floats), torch.tensor(scores[order], **floats))
        detections.append(Detections(*found, torch.tensor(guesses[order])))
        named.append(tuple(np.repeat(LEVELS, 3)[order].tolist()))
    names = [hashlib.md5(str(patient).encode()).hexdigest()[:8] for patient in range(patients)]
    return Scored(
        test_md5="0" * 32,
        data_md5="d41d8.dir",
        image_ids=tuple(range(1, 2 * patients + 1)),
        patients=tuple(np.repeat(names, 2).tolist()),
        groups=tuple({"sex": "FM"[image // 2 % 2], "scanner": "A"} for image in range(2 * patients)),
        targets=tuple(targets),
        levels=(LEVELS,) * (2 * patients),
        detections=tuple(detections),
        named=tuple(named),
        thresholds={"protrusion": 0.5, "non-protrusion": 0.5},
        score_threshold=0.05,
        nms_iou=0.6,
        calibration=UNCALIBRATED,
        conformal=Conformal(0.1, 0.3, 20),
    )


def _pick(scored: Scored, images: list[int]) -> Scored:
    """The same model on some of the images, in another order or several times."""

    def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[index] for index in images)

    per_image = ("image_ids", "patients", "groups", "targets", "levels", "detections", "named")
    return replace(scored, **{name: chosen(getattr(scored, name)) for name in per_image})


@pytest.fixture(scope="session")
def make_scored() -> Callable[..., Scored]:
    return _make_scored


@pytest.fixture(scope="session")
def pick() -> Callable[[Scored, list[int]], Scored]:
    return _pick
