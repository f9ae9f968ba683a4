import io
from collections.abc import Callable
from functools import cache

import numpy as np
import PIL.Image
import pytest

from meddet.data.duplicates import Likeness, find_likenesses
from meddet.data.fingerprint import fingerprint
from meddet.phantom.presets import PRESETS
from meddet.phantom.render import render
from meddet.phantom.study import draw_patient, draw_slice

THRESHOLD = 0.955
PATIENTS = 8


@cache
def pictures() -> tuple[np.ndarray, ...]:
    """One phantom image each of several patients, in [0, 1]."""
    preset = PRESETS["tiny"]
    items = (draw_slice(preset, draw_patient(preset, number), 1) for number in range(1, PATIENTS + 1))
    return tuple(render(preset, item).grey.astype(np.float32) / 255 for item in items)


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(buffer, "JPEG", quality=40)
    return np.asarray(PIL.Image.open(buffer)).astype(np.float32) / 255


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC)).clip(0, 1)


def cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    return image[round(0.13 * height) : round(0.94 * height), round(0.05 * width) : round(0.88 * width)]


LEAKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": lambda image: image,
    "JPEG": jpeg,
    "left-right": lambda image: image[:, ::-1],
    "up-down": lambda image: image[::-1],
    "cropped": cropped,
    "smaller": lambda image: resized(image, 0.45),
    "larger": lambda image: resized(image, 1.4),
    "gamma": lambda image: image**0.55,
    "window": lambda image: np.clip((image - 0.03) / 0.5, 0, 1),
    "all": lambda image: jpeg(resized(cropped(image) ** 0.7, 0.8))[:, ::-1],
}


def found(leak: Callable[[np.ndarray], np.ndarray], index: int) -> list[Likeness]:
    images = [*pictures(), np.ascontiguousarray(leak(pictures()[index]), dtype=np.float32)]
    prints = np.stack([fingerprint(image) for image in images])
    return find_likenesses(prints, [str(number) for number in range(len(images))], threshold=THRESHOLD)


@pytest.mark.parametrize("name", LEAKS)
def test_fault_16_a_planted_picture_under_another_patient_is_found(name: str) -> None:
    for index in (1, 5):
        (pair,) = found(LEAKS[name], index)
        assert {pair.first, pair.second} == {index, PATIENTS}


def test_fault_15_different_patients_are_not_taken_for_one() -> None:
    prints = np.stack([fingerprint(image) for image in pictures()])
    assert find_likenesses(prints, [str(number) for number in range(PATIENTS)], threshold=0.93) == []


def test_fault_16_flip_and_window_are_said() -> None:
    (pair,) = found(lambda image: cropped(image)[:, ::-1], 3)
    assert (pair.first, pair.second, pair.flip) == (3, PATIENTS, "left-right")
    assert pair.window == pytest.approx((0.13, 0.94, 0.05, 0.88), abs=0.02)


def test_one_owners_images_are_not_compared() -> None:
    prints = np.stack([fingerprint(image) for image in (*pictures(), pictures()[0])])
    owners = [*map(str, range(PATIENTS)), "0"]
    assert find_likenesses(prints, owners, threshold=THRESHOLD) == []


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_alike_with_none(count: int) -> None:
    prints = np.zeros((count, 96, 96), dtype=np.float32)
    assert find_likenesses(prints, ["A"] * count, threshold=THRESHOLD) == []


def test_flat_images_are_not_alike() -> None:
    """A constant image has no detail; its ranks are its pixels' order, which is the same for all of them."""
    prints = np.zeros((3, 96, 96), dtype=np.float32)
    assert find_likenesses(prints, ["A", "B", "C"], threshold=THRESHOLD) == []


def test_a_fingerprint_does_not_know_the_grey_curve() -> None:
    image = pictures()[0]
    curve = np.sqrt(image) * 0.9 + 0.05
    difference = np.abs(fingerprint(image) - fingerprint(curve.astype(np.float32)))
    assert difference.mean() < 0.03
