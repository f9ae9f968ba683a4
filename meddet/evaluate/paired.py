"""Two models on the same test patients: how far they differ, and how far they would on other patients like these."""

from collections.abc import Collection
from dataclasses import dataclass

from meddet.evaluate.bootstrap import interval
from meddet.evaluate.matching import Number, number
from meddet.evaluate.operation import patients_by_group, resample, weights_of
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import Tally, tally


@dataclass(frozen=True)
class Difference:
    """Challenger minus champion of one number, with its 95 % interval over resamples of the patients."""

    champion: Number
    challenger: Number
    difference: Number
    low: Number
    high: Number
    n_patients: int


def paired_bootstrap(
    champion: Scored,
    challenger: Scored,
    *,
    resamples: int = 2000,
    seed: int = 0,
    patients: Collection[str] | None = None,
) -> dict[str, Difference]:
    """Compare two models on the same draws of the same patients.

    Args:
        champion: is subtracted.
        challenger: on the same test part.
        resamples: of the patients.
        seed: of the draws.
        patients: who counts; all where None.

    Returns:
        by the names of `Tally.numbers`: "ap50", "ap50.protrusion", "sensitivity.protrusion",
        "false_positives_per_image", "disc_auc", ... A number that nothing was counted for says `undefined (n=0)`.

    Errors:
        ValueError: the models were tested on different parts.
    """
    old, new = _tallies(champion, challenger)
    chosen = set(champion.patients) if patients is None else set(patients)
    return _compare(old, new, chosen, resamples=resamples, seed=seed)


def paired_by_group(
    champion: Scored,
    challenger: Scored,
    *,
    resamples: int = 2000,
    seed: int = 0,
    patients: Collection[str] | None = None,
) -> dict[tuple[str, str], dict[str, Difference]]:
    """Compare two models on each group of patients, e.g. on ("sex", "F"), as `paired_bootstrap` does on all."""
    old, new = _tallies(champion, challenger)
    chosen = set(champion.patients) if patients is None else set(patients)
    return {
        group: _compare(old, new, members & chosen, resamples=resamples, seed=seed)
        for group, members in patients_by_group(champion).items()
    }


def _tallies(champion: Scored, challenger: Scored) -> tuple[Tally, Tally]:
    if champion.test_md5 != challenger.test_md5:
        raise ValueError(
            f"test_md5: expected the same test part, got {champion.test_md5} of the champion and "
            f"{challenger.test_md5} of the challenger; evaluate the champion again (meddet evaluate)"
        )
    return tally(champion), tally(challenger)


def _compare(old: Tally, new: Tally, patients: Collection[str], *, resamples: int, seed: int) -> dict[str, Difference]:
    whole = weights_of(old.patients, patients)
    draws = resample(old.patients, patients, resamples=resamples, seed=seed)
    old_values, new_values = old.numbers(whole), new.numbers(whole)
    old_draws, new_draws = old.numbers(draws), new.numbers(draws)
    result = {}
    for name in old_values:
        low, high = interval(new_draws[name] - old_draws[name])
        before, after = float(old_values[name][0]), float(new_values[name][0])
        result[name] = Difference(number(before), number(after), number(after - before), low, high, int(whole.sum()))
    return result
