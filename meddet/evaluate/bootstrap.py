"""Intervals by drawing patients, not images or discs: the images of one patient resemble each other."""

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.evaluate.matching import Number, number


def draw_patients(num_patients: int, *, resamples: int, seed: int) -> Float[np.ndarray, "B P"]:
    """Draw patients with replacement: how often each occurs in each resample."""
    if num_patients == 0:
        return np.zeros((resamples, 0))
    random = np.random.default_rng(seed)
    return random.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=resamples).astype(float)


def resampled_auc(
    scores: Float[np.ndarray, " N"],
    positive: Bool[np.ndarray, " N"],
    patient: Int[np.ndarray, " N"],
    draws: Float[np.ndarray, "B P"],
) -> Float[np.ndarray, " B"]:
    """Compute the AUC of each resample of the patients, without ranking again.

    With wins[p, q] the number of pairs (positive of patient p, negative of patient q) in the right order, ties half,
    and c the number of times each patient was drawn, AUC = c' wins c / (positives in c * negatives in c).

    Args:
        scores: of each disc.
        positive: its truth.
        patient: its patient's row, 0..P-1.
        draws: how often each patient occurs in each resample.
    """
    num_patients = draws.shape[1]
    wins = np.zeros((num_patients, num_patients))
    negative_scores, negative_patient = scores[~positive], patient[~positive]
    for score, row in zip(scores[positive], patient[positive], strict=True):
        won = (score > negative_scores) + 0.5 * (score == negative_scores)
        wins[row] += np.bincount(negative_patient, weights=won, minlength=num_patients)
    num_positive = draws @ np.bincount(patient[positive], minlength=num_patients)
    num_negative = draws @ np.bincount(negative_patient, minlength=num_patients)
    return ratio(((draws @ wins) * draws).sum(axis=1), num_positive * num_negative)


def ratio(above: Float[np.ndarray, " B"], below: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Divide, with NaN where the divisor is 0."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def interval(values: Float[np.ndarray, " B"]) -> list[Number]:
    """Take the 2.5th and 97.5th percentile of the defined resamples."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return [number(float("nan"))] * 2
    return [float(value) for value in np.percentile(defined, [2.5, 97.5])]
