"""Whether the newest studies still lie as the reference's did: two tests per feature, and an alarm that stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from meddet.drift.features import FEATURES, Values
from meddet.drift.reference import Distribution, Reference, Rule, bin_shares

_PRIOR = 0.5
"""Studies that every bin holds beforehand, so that an empty one doesn't make the index infinite."""
_RELEASE = 100.0
"""A standing alarm ends where the p of every feature is so many times the one that raises it."""


@dataclass(frozen=True)
class Comparison:
    """One feature: the newest studies against the reference. `psi` and `p_value` are None where `note` says why."""

    name: str
    studies: int
    reference_studies: int
    median: float | None
    reference_median: float | None
    psi: float | None
    p_value: float | None
    """Of the two-sample Kolmogorov-Smirnov test, times the features compared, at most 1."""
    drifted: bool
    note: str


def compare(reference: Reference, rows: Sequence[Values]) -> list[Comparison]:
    """Compare the newest studies of all rows with the reference, feature by feature.

    A feature has drifted where both say so: the Kolmogorov-Smirnov test, that it isn't chance, and the population
    stability index, that it is much.
    """
    rule = reference.rule
    recent = rows[-rule.window :]
    values = {name: [value for row in recent if (value := row.get(name)) is not None] for name in FEATURES}
    notes = {name: _why_not(reference.features[name], len(values[name]), rule) for name in FEATURES}
    compared = sum(not note for note in notes.values())
    return [
        _compare(name, reference.features[name], values[name], rule, compared=compared, note=notes[name])
        for name in FEATURES
    ]


def is_drift(comparisons: Sequence[Comparison], rule: Rule, *, standing: bool) -> bool:
    """Say whether there is an alarm; one that stands ends only where nothing is left of the drift."""
    if not standing:
        return any(each.drifted for each in comparisons)
    return any(each.p_value is not None and each.p_value <= _RELEASE * rule.p_value for each in comparisons)


def stability_index(shares: Sequence[float], reference: Sequence[float], *, studies: int) -> float:
    """Give the population stability index: sum of (a - e) ln(a / e) over the bins, a and e moved off zero."""
    prior = _PRIOR / studies
    actual, expected = ((np.array(each) + prior) / (1 + prior * len(each)) for each in (shares, reference))
    return float(((actual - expected) * np.log(actual / expected)).sum())


def ks_test(values: Sequence[float], reference: Distribution) -> tuple[float, float]:
    """Give the largest distance of the two distributions, and how probable so large a one is by chance.

    The reference's quantiles stand for its studies; their number enters the probability (Kolmogorov's limit, with
    Stephens's correction for small numbers). Ties make it larger.
    """
    points = np.sort(np.array(reference.quantiles))
    newest = np.sort(np.array(values))
    places = np.concatenate([points, newest])
    below = (np.searchsorted(each, places, side="right") / len(each) for each in (points, newest))
    distance = float(np.abs(np.subtract(*below)).max())
    root = (reference.studies * len(newest) / (reference.studies + len(newest))) ** 0.5
    return distance, float(scipy.special.kolmogorov((root + 0.12 + 0.11 / root) * distance))


def _why_not(reference: Distribution, studies: int, rule: Rule) -> str:
    if not reference.quantiles:
        return f"reference of {reference.studies} studies: too few"
    if studies < rule.least:
        return f"{studies} of {rule.least} studies"
    return ""


def _compare(
    name: str, reference: Distribution, values: Sequence[float], rule: Rule, *, compared: int, note: str
) -> Comparison:
    median = float(np.median(values)) if values else None
    usual = float(np.median(reference.quantiles)) if reference.quantiles else None
    if note:
        return Comparison(name, len(values), reference.studies, median, usual, None, None, drifted=False, note=note)
    shares = bin_shares(values, reference.edges)
    psi = stability_index(shares, reference.shares, studies=len(values))
    p_value = min(1.0, ks_test(values, reference)[1] * compared)
    drifted = p_value <= rule.p_value and psi >= rule.psi
    return Comparison(name, len(values), reference.studies, median, usual, psi, p_value, drifted=drifted, note="")


def medians(comparisons: Sequence[Comparison]) -> Mapping[str, float | None]:
    """Give the newest studies' median by feature."""
    return {each.name: each.median for each in comparisons}
