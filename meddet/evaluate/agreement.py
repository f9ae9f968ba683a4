"""Yes or no, again and again: how far a model's calls agree with the truth, for any weighting of the patients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from meddet.evaluate.bootstrap import ratio, resampled_auc

ROC_POINTS = 201


@dataclass(frozen=True)
class Units:
    """What is asked about: one row per disc of an image, disc of a patient, or patient."""

    owner: Int[np.ndarray, " N"]
    """Row of the unit's patient, 0..P-1."""
    truth: Bool[np.ndarray, " N"]
    """Whether it is protruded."""
    called: Bool[np.ndarray, " N"]
    """Whether the model says so at its operating point."""
    share: Float[np.ndarray, " N"]
    """Share of the protrusion score, 0 where nothing was found: ranks the units."""
    probability: Float[np.ndarray, " N"]
    """The share, calibrated on validation; 0 where nothing was found."""

    def pick(self, chosen: Bool[np.ndarray, " N"]) -> "Units":
        """Keep the chosen rows."""
        parts = (self.owner, self.truth, self.called, self.share, self.probability)
        return Units(*(part[chosen] for part in parts))


def agreement(units: Units, weights: Float[np.ndarray, "B P"]) -> dict[str, Float[np.ndarray, " B"]]:
    """Compute every number for each weighting of the patients; NaN where nothing is there to be counted.

    - `sensitivity`, `specificity`, their mean `balanced_accuracy`, `ppv`, `npv`: of the calls.
    - `kappa`: Cohen's (1960), agreement beyond what the two margins give by chance; `ac1`: Gwet's (2008), whose chance
      term 2 q (1 - q), q the mean of both margins, doesn't break down where one answer is rare.
    - `auc`: of the share.
    - `brier`: mean squared difference of probability and truth.
    """
    right_yes, wrong_yes, wrong_no, right_no = _counts(units, weights)
    yes, no = right_yes + wrong_no, wrong_yes + right_no
    called, total = right_yes + wrong_yes, yes + no
    sensitivity, specificity = ratio(right_yes, yes), ratio(right_no, no)
    agreed = ratio(right_yes + right_no, total)
    by_margins = ratio(called * yes + (total - called) * no, total**2)
    q = ratio(called + yes, 2 * total)
    by_gwet = 2 * q * (1 - q)
    squares = _by_patient(units, (units.probability - units.truth) ** 2, weights)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "ppv": ratio(right_yes, called),
        "npv": ratio(right_no, total - called),
        "kappa": ratio(agreed - by_margins, 1 - by_margins),
        "ac1": ratio(agreed - by_gwet, 1 - by_gwet),
        "auc": resampled_auc(units.share, units.truth, units.owner, weights),
        "brier": ratio(squares, total),
    }


def at_prevalence(
    numbers: Mapping[str, Float[np.ndarray, " B"]], prevalence: float
) -> dict[str, Float[np.ndarray, " B"]]:
    """Re-scale the predictive values to another share of protruded discs, by Bayes' rule.

    Holds as far as sensitivity and specificity stay what they are there.

    Args:
        numbers: with `sensitivity` and `specificity`.
        prevalence: in (0, 1).
    """
    sensitivity, specificity = numbers["sensitivity"], numbers["specificity"]
    right_yes, wrong_yes = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    right_no, wrong_no = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return {"ppv": ratio(right_yes, right_yes + wrong_yes), "npv": ratio(right_no, right_no + wrong_no)}


def roc(units: Units) -> Float[np.ndarray, "R 2"]:
    """Trace false positive and true positive rate by falling share, at most `ROC_POINTS` points from (0, 0) to (1, 1).

    Empty where one kind of unit is absent.
    """
    if units.truth.all() or not units.truth.any():
        return np.empty((0, 2))
    order = np.argsort(-units.share, kind="stable")
    truth, last = units.truth[order], np.append(np.diff(units.share[order]) < 0, True)
    rates = np.stack([np.cumsum(~truth) / (~truth).sum(), np.cumsum(truth) / truth.sum()], axis=1)
    points = np.concatenate([np.zeros((1, 2)), rates[last]])
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), ROC_POINTS)).round().astype(int))
    return np.asarray(points[kept])


def _counts(units: Units, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Count right yes, wrong yes, wrong no and right no."""
    pairs = ((True, True), (False, True), (True, False), (False, False))
    return tuple(
        _by_patient(units, (units.truth == truth) & (units.called == called), weights) for truth, called in pairs
    )


def _by_patient(units: Units, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights @ np.bincount(units.owner, weights=values, minlength=weights.shape[1]))
