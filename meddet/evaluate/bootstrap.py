"""Intervals by drawing patients, not images or discs: the images of one patient resemble each other."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.evaluate.matching import Number, number

_CELLS_AT_ONCE = 100_000


def draw_patients(num_patients: int, *, resamples: int, seed: int) -> Float[np.ndarray, "B P"]:
    """Draw patients with replacement: how often each occurs in each resample."""
    if num_patients == 0:
        return np.zeros((resamples, 0))
    random = np.random.default_rng(seed)
    return random.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=resamples).astype(float)


def in_chunks(
    compute: Callable[[Float[np.ndarray, "C P"]], Float[np.ndarray, "C ..."]],
    weights: Float[np.ndarray, "B P"],
    *,
    cells: int,
) -> Float[np.ndarray, "B ..."]:
    """Compute something of each weighting, for some rows at a time and on every core.

    What lies in memory depends on `_CELLS_AT_ONCE` and the cores, not on the number of rows; small chunks stay in the
    cache of a core. numpy lets other threads run while it counts.

    Args:
        compute: gets some rows of the weights.
        weights: of the patients.
        cells: numbers that a row becomes in between.
    """
    rows = max(_CELLS_AT_ONCE // max(cells, 1), 1)
    chunks = [weights[first : first + rows] for first in range(0, max(len(weights), 1), rows)]
    if len(chunks) == 1:
        return compute(chunks[0])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return np.concatenate(list(threads.map(compute, chunks)))


def resampled_auc(
    scores: Float[np.ndarray, " N"],
    positive: Bool[np.ndarray, " N"],
    patient: Int[np.ndarray, " N"],
    draws: Float[np.ndarray, "B P"],
) -> Float[np.ndarray, " B"]:
    """Compute the AUC of each resample of the patients, without sorting again.

    Each positive wins against the negatives that score less, and half against those that score the same.

    Args:
        scores: of each disc.
        positive: its truth.
        patient: its patient's row, 0..P-1.
        draws: how often each patient occurs in each resample.
    """
    rising = np.sort(scores[~positive])
    negative_patient = patient[~positive][np.argsort(scores[~positive], kind="stable")]
    below, up_to = (np.searchsorted(rising, scores[positive], side=side) for side in ("left", "right"))

    def compute(drawn: np.ndarray) -> np.ndarray:
        negatives = np.zeros((len(drawn), len(rising) + 1))
        drawn.take(negative_patient, axis=1).cumsum(axis=1, out=negatives[:, 1:])
        positives = drawn.take(patient[positive], axis=1)
        wins = positives * (negatives.take(below, axis=1) + negatives.take(up_to, axis=1)) / 2
        return ratio(wins.sum(axis=1), positives.sum(axis=1) * negatives[:, -1])

    return in_chunks(compute, draws, cells=len(scores))


def ratio(above: Float[np.ndarray, " B"], below: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Divide, with NaN where the divisor is 0."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def interval(values: Float[np.ndarray, " B"]) -> list[Number]:
    """Take the 2.5th and 97.5th percentile of the defined resamples."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return [number(float("nan"))] * 2
    return [float(value) for value in np.percentile(defined, [2.5, 97.5])]


def block(
    values: Mapping[str, Float[np.ndarray, " 1"]], draws: Mapping[str, Float[np.ndarray, " B"]], n: Mapping[str, int]
) -> dict[str, Any]:
    """Tell numbers with their intervals and what they rest on.

    Args:
        values: by name, of the whole test part; NaN where nothing is there to be counted.
        draws: the same names, of each resample.
        n: patients, images, discs, protrusions.
    """
    return {
        "metrics": {name: number(float(value[0])) for name, value in values.items()},
        "ci95": {name: interval(draws[name]) for name in values},
        "n": dict(n),
    }
