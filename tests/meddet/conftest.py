"""A toy data set: dark bars on bright noise. Small enough to overfit in seconds."""

from functools import partial

import numpy as np
import pytest
import torch

from meddet.data.batches import Batches, ImageSet
from meddet.data.coco import Sample
from meddet.data.transforms import draw_change
from meddet.structures import LEVELS, Region, Target


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
    draw = partial(draw_change, shift=0.02, scale=0.02, gamma=0.05, noise=0.02)
    return Batches(toy_images(6), (96, 64), 4, 5, draw)
