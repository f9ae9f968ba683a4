"""A promise on missed protrusions: conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814).

A patient's loss at a threshold is the share of its protrusions that no protrusion box scoring more than the threshold
finds (IoU >= .5); it lies in [0, 1] and never falls as the threshold rises. With the n validation patients that have a
protrusion and their mean loss R, the highest threshold with n / (n + 1) R + 1 / (n + 1) <= alpha misses, of a new
patient exchangeable with these, an expected share of at most alpha (theorem 1 there; the same holds for detectors,
arXiv:2505.24038). The expectation is over validation patients and the new one together: one lucky or unlucky validation
part promises less.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from meddet.evaluate.bootstrap import ratio
from meddet.evaluate.discs import Discs

HOLDS_IF = "the patient is exchangeable with the validation patients: same hospitals, scanners, readers and selection"
_STEP = 1e-6
_DIGITS = 6


@dataclass(frozen=True)
class Conformal:
    """The promise on the miss rate, and the score threshold that holds it; None where no threshold does."""

    alpha: float
    """Largest expected share of a patient's protrusions missed."""
    threshold: float | None
    """A box above it is called a protrusion."""
    patients: int
    """Of the validation part, with a protrusion."""

    @property
    def reason(self) -> str:
        """Say why no threshold holds the promise, "" where one does."""
        if self.threshold is not None:
            return ""
        needed = math.ceil(1 / self.alpha - _STEP) - 1
        if self.patients < needed:
            return f"expected at least {needed} validation patients with a protrusion, got {self.patients}"
        return "even the lowest threshold misses more on validation"


def fit_conformal(discs: Discs, *, alpha: float, least_score: float) -> Conformal:
    """Choose the highest threshold that holds the promise.

    Args:
        discs: of the validation images.
        alpha: largest expected share of a patient's protrusions missed.
        least_score: score below which detections were dropped: no threshold lies below it.
    """
    patients, owner = np.unique(discs.patient[discs.protruded], return_inverse=True)
    order = np.argsort(discs.score[discs.protruded], kind="stable")
    scores = discs.score[discs.protruded][order]
    lost = np.append(0.0, np.cumsum(1 / np.bincount(owner)[owner[order]]))
    lowest = least_score - _STEP
    # Just below a disc's score: the loss is the same from the next lower score on.
    candidates = np.unique(np.append(np.floor(scores / _STEP) * _STEP - _STEP, lowest).round(_DIGITS))
    candidates = candidates[candidates >= round(lowest, _DIGITS)]
    total_loss = lost[np.searchsorted(scores, candidates, side="right")]
    holds = candidates[(total_loss + 1) / (len(patients) + 1) <= alpha]
    return Conformal(alpha, float(holds[-1]) if len(holds) else None, len(patients))


def mean_loss(
    missed: Shaped[np.ndarray, " N"], owner: Int[np.ndarray, " N"], weights: Float[np.ndarray, "B P"]
) -> Float[np.ndarray, " B"]:
    """Average over patients the share of its protrusions that each one's model missed; NaN without a patient.

    Args:
        missed: whether each protrusion was missed.
        owner: row of its patient, 0..P-1.
        weights: of the patients; those without a protrusion count as nothing.
    """
    num = np.bincount(owner, minlength=weights.shape[1]).astype(float)
    lost = np.bincount(owner, weights=missed, minlength=weights.shape[1]).astype(float)
    share = np.nan_to_num(ratio(lost, num))
    return ratio(weights @ share, weights @ (num > 0))
