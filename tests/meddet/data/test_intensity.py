import numpy as np
import pytest

from meddet.data.intensity import INTENSITIES, intensity_statistics


def test_known_answers() -> None:
    grey = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    found = intensity_statistics(grey)
    assert tuple(found) == INTENSITIES
    assert (found["mean_grey"], found["p50"], found["p90"], found["p99_9"]) == (127.5, 127, 230, 255)
    shares = [found[name] * 256 for name in ("below_12", "12_to_40", "40_to_80", "80_to_160", "above_160")]
    assert shares == pytest.approx([12, 28, 40, 80, 96], abs=1e-3)
    assert found["saturated_fraction"] * 256 == pytest.approx(1, abs=1e-3)
    assert (found["min"], found["max"]) == (0, 1)
    assert found["std"] == pytest.approx(grey.std(), abs=1e-6)


def test_shares_add_up_and_order_does_not_matter() -> None:
    values = np.random.default_rng(1).random((37, 53), dtype=np.float32)
    found = intensity_statistics(values)
    assert sum(found[name] for name in INTENSITIES[-5:]) == pytest.approx(1, abs=1e-5)
    assert intensity_statistics(np.ascontiguousarray(values[::-1, ::-1])) == found
