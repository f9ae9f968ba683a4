"""How far raters agree on the class of a disc, beyond chance: Cohen's and Fleiss' kappa, Gwet's AC1.

Cohen, Educ Psychol Meas 1960;20:37. Fleiss, Psychol Bull 1971;76:378. Gwet, Br J Math Stat Psychol 2008;61:29 (AC1,
with missing ratings as in Gwet, Handbook of Inter-Rater Reliability, 4th ed., 2014, ch. 2 and 5).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meddet.classes import LEVELS
from meddet.data.raters import Consensus, Disc
from meddet.data.raw import Reading

MISSING = -1
OVERALL = "overall"
_DECIMALS = 4


def raters_json(
    readings: Sequence[Reading], discs: Sequence[Disc], consensus: Consensus, *, disagreements: int
) -> dict[str, Any]:
    """Give the report on several raters; without any it is just `{"raters": []}`."""
    if not readings:
        return {"raters": []}
    names = [reading.rater for reading in readings]
    return {
        "raters": names,
        "images_read": {reading.rater: len(reading.images) for reading in readings},
        "discs": len(discs),
        "disagreements": disagreements,
        "consensus": {"images": len(consensus.images), "boxes": len(consensus.boxes)},
        **agreement_json(discs, names),
    }


def agreement_json(discs: Sequence[Disc], raters: Sequence[str]) -> dict[str, Any]:
    """Give all three measures for every level that was read, for discs without one, and for all discs.

    What can't be computed is "undefined (n=0)" without discs, "undefined (n=12, no variation)" without variation.
    """
    groups: dict[str, list[Disc]] = {level: [] for level in LEVELS}
    for disc in discs:
        groups.setdefault(disc.level or "no level", []).append(disc)
    names = [level for level, found in groups.items() if found] + [OVERALL]
    tables = {name: _ratings(discs if name == OVERALL else groups[name], raters) for name in names}
    pairs = [
        {"raters": [raters[i], raters[j]], "level": name, **_said(*cohen_kappa(table[:, [i, j]]))}
        for i, j in combinations(range(len(raters)), 2)
        for name, table in tables.items()
    ]
    return {
        "cohen_kappa": pairs,
        "fleiss_kappa": [{"level": name, **_said(*fleiss_kappa(table))} for name, table in tables.items()],
        "gwet_ac1": [{"level": name, **_said(*gwet_ac1(table))} for name, table in tables.items()],
    }


def cohen_kappa(ratings: Int[np.ndarray, "n 2"]) -> tuple[float | None, int]:
    """Give kappa of two raters and the number of discs that both rated; None where it is undefined."""
    from sklearn.metrics import cohen_kappa_score

    both = ratings[(ratings != MISSING).all(axis=1)]
    if len(np.unique(both)) < 2:
        return None, len(both)
    return float(cohen_kappa_score(both[:, 0], both[:, 1])), len(both)


def fleiss_kappa(ratings: Int[np.ndarray, "n r"]) -> tuple[float | None, int]:
    """Give Fleiss' kappa over the discs that every rater rated, and their number; None where it is undefined."""
    counts = _counts(ratings[(ratings != MISSING).all(axis=1)])
    num_raters = ratings.shape[1]
    if not len(counts) or num_raters < 2:
        return None, len(counts)
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    observed = float(((counts * (counts - 1)).sum(axis=1) / (num_raters * (num_raters - 1))).mean())
    return (None if chance == 1 else (observed - chance) / (1 - chance)), len(counts)


def gwet_ac1(ratings: Int[np.ndarray, "n r"]) -> tuple[float | None, int]:
    """Give Gwet's AC1 over the discs that at least two raters rated, and their number; None where it is undefined.

    Chance is estimated from every disc that anybody rated. There are at least two classes, so that unanimity on one
    is 1 and not undefined.
    """
    counts = _counts(ratings[(ratings != MISSING).any(axis=1)])
    several = counts[counts.sum(axis=1) >= 2]
    if not len(several):
        return None, 0
    rated = several.sum(axis=1)
    observed = float(((several * (several - 1)).sum(axis=1) / (rated * (rated - 1))).mean())
    shares = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    chance = float((shares * (1 - shares)).sum() / (max(2, counts.shape[1]) - 1))
    return (observed - chance) / (1 - chance), len(several)


def _counts(ratings: Int[np.ndarray, "n r"]) -> Float[np.ndarray, "n k"]:
    """Count, for each disc, the raters of each class that occurs."""
    classes = np.unique(ratings[ratings != MISSING])
    return (ratings[:, :, None] == classes).sum(axis=1).astype(np.float64)


def _ratings(discs: Sequence[Disc], raters: Sequence[str]) -> Int[np.ndarray, "n r"]:
    rows = [[disc.drawn[rater].category_id if rater in disc.drawn else MISSING for rater in raters] for disc in discs]
    return np.array(rows, dtype=np.int64).reshape(len(discs), len(raters))


def _said(value: float | None, count: int) -> dict[str, Any]:
    reason = f"undefined (n={count}, no variation)" if count else "undefined (n=0)"
    return {"n": count, "value": reason if value is None else round(value, _DECIMALS)}
