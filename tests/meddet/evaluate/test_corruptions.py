"""Laws of the corruptions, and what each of them must do to a picture that is known."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from meddet.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt

ROOT = Path(__file__).parents[3]
EVERY = pytest.mark.parametrize("name", CORRUPTIONS)


def neck(height: int = 96, width: int = 80) -> np.ndarray:
    """A bright band of tissue with dark discs across it, on air, between black margins."""
    image = np.random.default_rng(0).uniform(0.0, 0.02, (height, width)).astype(np.float32)
    image[:, width // 5 : 4 * width // 5] += 0.4
    image[6::12, width // 3 : width // 2] = 0.1
    image[:4] = image[-4:] = 0
    return image


def spoil(image: np.ndarray, name: str, severity: int, *, image_id: int = 3, seed: int = 0) -> np.ndarray:
    return corrupt(image, name=name, severity=severity, image_id=image_id, seed=seed)


def damage(image: np.ndarray, name: str, severity: int) -> float:
    return float(np.mean([np.abs(spoil(image, name, severity, image_id=each) - image).mean() for each in range(4)]))


@EVERY
def test_shape_type_and_range_stay_on_odd_sizes(name: str) -> None:
    for shape in ((97, 61), (64, 65), (33, 90)):
        spoilt = spoil(neck(*shape), name, 5)
        assert spoilt.shape == shape
        assert spoilt.dtype == np.float32
        assert spoilt.min() >= 0
        assert spoilt.max() <= 1
        assert np.any(spoilt != neck(*shape))


@EVERY
def test_severity_0_changes_nothing(name: str) -> None:
    assert spoil(neck(), name, 0).tobytes() == neck().tobytes()


@EVERY
def test_damage_grows_with_severity(name: str) -> None:
    steps = [damage(neck(192, 160), name, severity) for severity in (0, *SEVERITIES)]
    assert steps[0] == 0
    assert all(later > earlier for earlier, later in pairwise(steps)), steps


@EVERY
def test_the_image_itself_is_not_written_to(name: str) -> None:
    image = neck()
    spoil(image, name, 3)
    assert image.tobytes() == neck().tobytes()


@EVERY
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_of_one_value_and_one_of_few_pixels_are_taken(name: str, value: float) -> None:
    for shape in ((48, 40), (3, 5)):
        spoilt = spoil(np.full(shape, value, dtype=np.float32), name, 5)
        assert np.isfinite(spoilt).all()
        assert spoilt.shape == shape


@EVERY
def test_black_margins_of_a_rectangular_field_stay_black(name: str) -> None:
    spoilt = spoil(neck(), name, 5)
    assert not spoilt[:4].any()
    assert not spoilt[-4:].any()


@EVERY
def test_image_and_seed_decide_what_is_drawn(name: str) -> None:
    here = spoil(neck(), name, 4)
    assert here.tobytes() == spoil(neck(), name, 4).tobytes()
    others = [spoil(neck(), name, 4, image_id=4), spoil(neck(), name, 4, seed=1)]
    assert [np.array_equal(here, other) for other in others] == [name == "low_resolution"] * 2


def test_another_process_and_other_global_seeds_give_the_same_bytes() -> None:
    script = (
        "import hashlib, sys, numpy, torch\n"
        "sys.path.insert(0, '')\n"
        "numpy.random.seed(5); torch.manual_seed(5)\n"
        "from meddet.evaluate.corruptions import CORRUPTIONS, corrupt\n"
        "image = numpy.random.default_rng(1).random((70, 51), dtype=numpy.float32)\n"
        "for name in CORRUPTIONS:\n"
        "    spoilt = corrupt(image, name=name, severity=3, image_id=8, seed=2)\n"
        "    print(hashlib.md5(spoilt.tobytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(77)
    before = torch.get_rng_state()
    image = np.random.default_rng(1).random((70, 51), dtype=np.float32)
    here = [spoil(image, name, 3, image_id=8, seed=2) for name in CORRUPTIONS]
    assert done.stdout.split() == [hashlib.md5(each.tobytes()).hexdigest() for each in here]
    assert torch.equal(before, torch.get_rng_state())


def test_noise_lifts_the_air_by_rayleighs_mean() -> None:
    image = np.zeros((200, 200), dtype=np.float32)
    image[:, :100] = 0.5
    spoilt = spoil(image, "rician_noise", 3)
    # Only the left half was acquired, as black margins are taken for; an object fills it, so noise is near Gaussian.
    assert not spoilt[:, 100:].any()
    assert spoilt[:, :100].std() == pytest.approx(0.18 * 0.5, rel=0.05)
    image[:, 100:] = 1e-4
    air = spoil(image, "rician_noise", 3)[:, 100:]
    deviation = 0.18 * 0.5 / np.sqrt(2)
    assert air.mean() == pytest.approx(deviation * np.sqrt(np.pi / 2), rel=0.03)


def test_ghosts_stand_along_the_phase_axis() -> None:
    image = np.full((96, 96), 0.01, dtype=np.float32)
    image[44:52, 44:52] = 0.8
    changed = np.abs(spoil(image, "ghosting", 5) - image) > 0.02
    assert changed[:30].any()
    assert not changed[:, :40].any()
    assert not changed[:, 56:].any()


def test_moves_leave_the_object_where_it_was() -> None:
    image = neck(192, 160)
    spoilt = spoil(image, "motion", 5)
    rows = np.arange(160)
    assert spoilt.sum(0) @ rows / spoilt.sum() == pytest.approx(image.sum(0) @ rows / image.sum(), abs=2)


def test_low_resolution_keeps_what_varies_slowly() -> None:
    rows, columns = np.mgrid[:64, :64] * 2 * np.pi / 64
    slow = (0.5 + 0.3 * np.cos(2 * rows) * np.cos(columns)).astype(np.float32)
    fast = (slow + 0.1 * np.cos(20 * rows)).astype(np.float32)
    assert spoil(fast, "low_resolution", 5) == pytest.approx(slow, abs=1e-4)


def test_a_void_is_black_inside_and_bright_beside() -> None:
    image = np.full((200, 200), 0.4, dtype=np.float32)
    spoilt = spoil(image, "signal_loss", 5)
    assert (spoilt < 0.01).sum() > 100
    assert spoilt.max() > 0.6
    assert spoilt.mean() < image.mean()
    row, column = np.argwhere(spoilt < 0.01).mean(axis=0)
    assert 60 < row < 140
    assert 60 < column < 140


def test_what_folds_over_comes_from_the_opposite_edge() -> None:
    image = np.full((100, 40), 0.1, dtype=np.float32)
    image[96:98] = 0.9
    spoilt = spoil(image, "wrap_around", 5)
    assert spoilt[2:4].min() > 0.6
    assert spoilt[45:55] == pytest.approx(0.1, abs=1e-4)


def test_a_bias_field_is_smooth_and_keeps_the_window() -> None:
    image = np.full((80, 80), 0.5, dtype=np.float32)
    spoilt = spoil(image, "bias_field", 5)
    assert np.percentile(spoilt, 99.5) == pytest.approx(0.5, abs=0.01)
    assert spoilt.min() < 0.25
    assert max(np.abs(np.diff(spoilt, axis=axis)).max() for axis in (0, 1)) < 0.1


@pytest.mark.parametrize("name, severity", [("rain", 1), ("spike", 6), ("spike", -1)])
def test_an_unknown_corruption_or_severity_is_named(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match=r"expected a corruption of rician_noise|severity: expected 0 to 5"):
        spoil(neck(), name, severity)
