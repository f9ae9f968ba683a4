"""Two models on invented images with every kind of error, images without discs or calls, and a name full of markup."""

import hashlib
from dataclasses import replace

import numpy as np
import torch

from meddet.classes import LEVELS
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.scored import Scored
from meddet.structures import Detections, Region, Target

NASTY = '</script><script>alert("x")</script><!-- & \u2028'
IMAGES = 16
HEIGHT, WIDTH = 320, 200


def gallery_models() -> dict[str, Scored]:
    return {"student": _model(1, 0.85), "baseline": _model(2, 0.6), "resnet50": _model(3, 0.7)}


def pixels_of(image_id: int) -> np.ndarray:
    random = np.random.default_rng(image_id)
    return np.clip(np.linspace(0, 1, WIDTH) + random.normal(0, 0.02, (HEIGHT, WIDTH)), 0, 1).astype(np.float32)


def regions() -> dict[int, Region]:
    """The last image has none."""
    return {image_id: Region(20.0, 30.0, 170.0, 290.0) for image_id in range(1, IMAGES)}


def with_thresholds(scored: Scored, protrusion: float, other: float) -> Scored:
    return replace(scored, thresholds={"protrusion": protrusion, "non-protrusion": other})


def _model(seed: int, skill: float) -> Scored:
    truth, model = np.random.default_rng(0), np.random.default_rng(seed)
    targets = tuple(_target(truth, image) for image in range(IMAGES))
    found = tuple(_detections(model, target, skill, image) for image, target in enumerate(targets))
    names = [hashlib.md5(str(image // 2).encode()).hexdigest()[:12] for image in range(IMAGES)]
    names[-2:] = [NASTY] * 2
    return Scored(
        test_md5="0" * 32,
        data_md5="d41d8.dir",
        image_ids=tuple(range(1, IMAGES + 1)),
        patients=tuple(names),
        groups=tuple({"sex": "FM"[image // 2 % 2], "scanner": NASTY} for image in range(IMAGES)),
        targets=targets,
        levels=tuple(LEVELS if len(target.labels) == 6 else ("",) * len(target.labels) for target in targets),
        detections=found,
        named=tuple(tuple(model.choice(["", *LEVELS], len(each.labels)).tolist()) for each in found),
        thresholds={"protrusion": 0.4123, "non-protrusion": 0.3601},
        score_threshold=0.05,
        nms_iou=0.6,
        calibration=UNCALIBRATED,
        conformal=Conformal(0.1, 0.3, 20),
    )


def _target(random: np.random.Generator, image: int) -> Target:
    """Six discs; on image 5 none, on image 6 two."""
    number = {5: 0, 6: 2}.get(image, 6)
    corner = np.stack([60 + random.uniform(-8, 8, 6), 70 + 34.0 * np.arange(6)], axis=1)
    boxes = np.concatenate([corner, corner + random.uniform((38, 16), (50, 22), (6, 2))], axis=1)[:number]
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(random.integers(0, 2, 6)[:number])
    )


def _detections(random: np.random.Generator, target: Target, skill: float, image: int) -> Detections:
    """Four boxes at each disc, and some above, below and aside; on image 7 none."""
    if image == 7:
        return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    discs = np.repeat(target.boxes.numpy(), 4, axis=0)
    aside = np.array([[62, 36, 104, 54], [62, 280, 104, 298], [140, 150, 180, 168], [62, 278, 104, 297]])
    boxes = np.concatenate([discs + random.normal(0, 4, discs.shape), aside + random.normal(0, 2, aside.shape)])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = np.concatenate([np.repeat(target.labels.numpy(), 4), random.integers(0, 2, len(aside))])
    labels = np.where(random.uniform(size=len(boxes)) < skill, labels, 1 - labels)
    scores = np.concatenate([random.beta(2, 4, len(discs)), random.beta(2, 5, len(aside))])
    order = np.argsort(-scores)
    floats = (torch.tensor(each[order], dtype=torch.float32) for each in (boxes, scores))
    keep = scores[order] > 0.05
    box, score = floats
    return Detections(box[keep], score[keep], torch.tensor(labels[order])[keep])
