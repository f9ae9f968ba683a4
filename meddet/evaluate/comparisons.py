"""One model beside every other one, with the p of each difference, held down for how many are looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from meddet.evaluate.bootstrap import draw_patients, interval
from meddet.evaluate.froc import NAMES, sensitivities
from meddet.evaluate.matching import Number, number
from meddet.evaluate.tally import Tally

METRICS = ("ap50", "ap50.any", "disc_auc", "sensitivity.protrusion", "false_positives_per_image.protrusion")
"""Compared by the names of `Tally.numbers`, and `FROC`."""
FROC = "froc.protrusion.1"


@dataclass(frozen=True)
class Comparison:
    """`model` minus `against`."""

    family: str
    model: str
    against: str
    metric: str
    difference: Number
    low: Number
    high: Number
    p: Number
    p_holm: Number
    n_patients: int


def comparisons(
    tallies: Mapping[str, Tally], *, model: str, resamples: int = 2000, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare one model with every other one on the same draws of the same patients.

    A family is one metric over all opponents: the question "does the model differ from any of these in this metric?",
    and p_holm bounds the chance of one false answer to it. The metrics are no family: they measure the same calls, are
    named beforehand, and ask different questions; who picks the best of them afterwards has to say so.

    Args:
        tallies: by model, all of one test part.
        model: is compared; it is one of them.
        resamples: of the patients.
        seed: of the draws.

    Returns:
        family, model, against, metric, difference, low, high (95 % interval), p (`two_sided_p`), p_holm, n_patients;
        by metric, then in the order of the models.
    """
    one = tallies[model]
    others = {name: counted for name, counted in tallies.items() if name != model}
    assert all(other.patients == one.patients for other in others.values()), "models of different test parts"
    draws = draw_patients(len(one.patients), resamples=resamples, seed=seed)
    weights = np.concatenate([np.ones((1, len(one.patients))), draws])
    own = _values(one, weights)
    differences = {
        name: {metric: own[metric] - theirs for metric, theirs in _values(other, weights).items()}
        for name, other in others.items()
    }
    rows = []
    for metric in own:
        raw = [two_sided_p(differences[name][metric][1:]) for name in others]
        for name, p, p_holm in zip(others, raw, holm(raw), strict=True):
            whole, drawn = differences[name][metric][0], differences[name][metric][1:]
            low, high = interval(drawn)
            found = (number(float(whole)), low, high, number(p), number(p_holm))
            rows.append(asdict(Comparison(metric, model, name, metric, *found, len(one.patients))))
    return rows


def two_sided_p(draws: Float[np.ndarray, " B"]) -> float:
    """Compute p of a difference from its resamples: twice the smaller share of them on one side of 0.

    p = min(1, 2 (1 + count) / (B + 1)), where count is how many of the B defined draws are <= 0, or >= 0 if those are
    fewer. It inverts the percentile interval, so that p < .05 says what an interval without 0 says; the 1 counts the
    sample itself, so that p is never 0 (Davison and Hinkley 1997, 4.2). Draws of exactly 0 count on both sides: two
    equal models have p = 1. NaN where no draw is defined.
    """
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0:
        return float("nan")
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (len(defined) + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values for all that are looked at together (Holm 1979): the smallest by m, the next by m - 1, ...

    An adjusted value is never below that of a smaller p, nor above 1. Undefined ones (NaN) stay so and don't count.
    """
    values = np.asarray(p, dtype=float)
    rising = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    adjusted = np.full(len(values), np.nan)
    steps = np.arange(len(rising), 0, -1)
    adjusted[rising] = np.minimum(np.maximum.accumulate(values[rising] * steps), 1.0)
    return [float(value) for value in adjusted]


def _values(counted: Tally, weights: np.ndarray) -> dict[str, np.ndarray]:
    numbers = counted.numbers(weights)
    froc = sensitivities(counted.coco[NAMES[0]], weights, rates=[1.0])[:, 0]
    return {metric: numbers[metric] for metric in METRICS} | {FROC: froc}
