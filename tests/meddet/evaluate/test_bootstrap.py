import numpy as np
import pytest

from meddet.evaluate import bootstrap
from meddet.evaluate.bootstrap import block, draw_patients, in_chunks


@pytest.mark.parametrize("rows", [0, 1, 7, 100])
def test_chunks_stand_in_their_order_and_stay_small(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 30)
    weights = np.random.default_rng(0).uniform(size=(rows, 4))
    seen: list[int] = []

    def compute(chunk: np.ndarray) -> np.ndarray:
        seen.append(len(chunk))
        return np.stack([chunk.sum(axis=1), chunk.max(axis=1, initial=0.0)], axis=1)

    got = in_chunks(compute, weights, cells=10)
    assert np.array_equal(got, np.stack([weights.sum(axis=1), weights.max(axis=1, initial=0.0)], axis=1))
    assert sum(seen) == rows
    assert max(seen) <= 3


def test_a_row_larger_than_a_chunk_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 5)
    sizes: list[int] = []

    def compute(chunk: np.ndarray) -> np.ndarray:
        sizes.append(len(chunk))
        return chunk[:, 0]

    assert in_chunks(compute, np.arange(6.0).reshape(3, 2), cells=100).tolist() == [0.0, 2.0, 4.0]
    assert sizes == [1, 1, 1]


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    draws = draw_patients(9, resamples=200, seed=1)
    assert (draws.sum(axis=1) == 9).all()
    assert np.array_equal(draws, draw_patients(9, resamples=200, seed=1))
    assert not np.array_equal(draws, draw_patients(9, resamples=200, seed=2))


def test_a_block_says_what_is_undefined_and_leaves_out_undefined_resamples() -> None:
    nan = float("nan")
    draws = {"a": np.append(np.arange(101.0), nan), "b": np.full(3, nan)}
    got = block({"a": np.asarray([50.0]), "b": np.asarray([nan])}, draws, {"patients": 2})
    assert got == {
        "metrics": {"a": 50.0, "b": "undefined (n=0)"},
        "ci95": {"a": [2.5, 97.5], "b": ["undefined (n=0)", "undefined (n=0)"]},
        "n": {"patients": 2},
    }
