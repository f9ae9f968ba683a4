"""One model at its operating point, on all test patients and on each group of them, with intervals by patient."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from meddet.evaluate.bootstrap import block, draw_patients
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import Tally, tally


def operating_numbers(scored: Scored, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compute every number of `Tally.numbers`, on all patients and on each group.

    Returns:
        `metrics`: by name, `undefined (n=0)` where nothing is there to be counted; `ci95`: [low, high] by name, 2.5th
        and 97.5th percentile over resamples of the patients; `n`: patients, images, discs, protrusions; `groups`: by
        kind (sex, age, scanner, field_strength) and name (F, 40-59, ...) again metrics, ci95 and n.
    """
    counted = tally(scored)
    members = patients_by_group(scored)
    options = {"resamples": resamples, "seed": seed}
    groups: dict[str, dict[str, Any]] = {}
    for (kind, name), patients in members.items():
        groups.setdefault(kind, {})[name] = _numbers(scored, counted, patients, **options)
    return {**_numbers(scored, counted, set(scored.patients), **options), "groups": groups}


def patients_by_group(scored: Scored) -> dict[tuple[str, str], frozenset[str]]:
    """List the patients of each group, e.g. of ("sex", "F")."""
    named = {
        (patient, group)
        for patient, groups in zip(scored.patients, scored.groups, strict=True)
        for group in groups.items()
    }
    return {
        group: frozenset(p for p, other in named if other == group) for group in sorted({group for _, group in named})
    }


def weights_of(patients: Sequence[str], chosen: Collection[str]) -> Float[np.ndarray, "1 P"]:
    """Weigh the chosen patients with 1 and the others with 0."""
    return np.isin(np.asarray(patients, dtype=str), list(chosen)).astype(float)[None]


def resample(
    patients: Sequence[str], chosen: Collection[str], *, resamples: int, seed: int
) -> Float[np.ndarray, "B P"]:
    """Draw the chosen patients with replacement: how often each occurs in each resample, the others never."""
    columns = np.flatnonzero(weights_of(patients, chosen)[0])
    weights = np.zeros((resamples, len(patients)))
    weights[:, columns] = draw_patients(len(columns), resamples=resamples, seed=seed)
    return weights


def _numbers(scored: Scored, counted: Tally, patients: Collection[str], *, resamples: int, seed: int) -> dict[str, Any]:
    values = counted.numbers(weights_of(counted.patients, patients))
    draws = counted.numbers(resample(counted.patients, patients, resamples=resamples, seed=seed))
    return block(values, draws, _count(scored, patients))


def _count(scored: Scored, patients: Collection[str]) -> Mapping[str, int]:
    targets = [each for each, patient in zip(scored.targets, scored.patients, strict=True) if patient in patients]
    return {
        "patients": len(set(scored.patients) & set(patients)),
        "images": len(targets),
        "discs": sum(len(each.labels) for each in targets),
        "protrusions": sum(int((each.labels == 0).sum()) for each in targets),
    }
