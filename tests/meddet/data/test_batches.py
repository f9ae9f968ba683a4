from dataclasses import replace

import numpy as np
import pytest
import torch

from meddet.data.batches import Batches, load_images


def test_a_batch_is_a_function_of_its_step(toy_batches: Batches) -> None:
    first, again, next_step = toy_batches.batch(3), toy_batches.batch(3), toy_batches.batch(4)
    assert torch.equal(first.images, again.images)
    assert first.image_ids == again.image_ids
    assert not torch.equal(first.images, next_step.images)
    assert first.images.shape == (4, 3, 96, 64)
    assert first.images.is_contiguous(memory_format=torch.channels_last)


def test_every_epoch_shows_every_image_once(toy_batches: Batches) -> None:
    shown = [image_id for step in range(6) for image_id in toy_batches.batch(step).image_ids]
    epochs = [shown[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(epoch) == [1, 2, 3, 4, 5, 6] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_an_image_is_seen_differently_in_the_next_epoch(toy_batches: Batches) -> None:
    one = replace(toy_batches, batch_size=1)
    views = {step: one.batch(step) for step in range(12)}
    of_first = [batch.images for batch in views.values() if batch.image_ids == (1,)]
    assert len(of_first) == 2
    assert not torch.equal(*of_first)


def test_boxes_follow_the_pixels(toy_batches: Batches) -> None:
    batch = toy_batches.batch(0)
    for image, target in zip(batch.images, batch.targets, strict=True):
        assert len(target.boxes) == 6
        for x1, y1, x2, y2 in target.boxes.round().int().tolist():
            assert image[0, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].mean() < -0.5


def test_an_image_without_a_region_is_named(toy_batches: Batches, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"regions: expected one of image 2 \(000002\.png\), found none"):
        load_images(tmp_path, toy_batches.images.samples, {1: toy_batches.images.regions[0]})


def test_images_are_kept_in_16_bits(toy_batches: Batches) -> None:
    pixels = toy_batches.images.pixels(0)
    assert pixels.dtype == torch.float32
    assert toy_batches.images.images[0].dtype == np.uint16
    assert torch.equal((pixels[0] * 65535).round(), torch.from_numpy(toy_batches.images.images[0].astype(np.float32)))
