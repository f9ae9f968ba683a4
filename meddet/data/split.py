"""Patients into parts: stratified, exact in size, and the same for the same seed in whatever order they come."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

PARTS = ("train", "validation", "test")

_SHARE_BINS = 4
_MAX_SCANNERS = 6


@dataclass(frozen=True)
class Case:
    """What a patient is stratified by. `protrusion_share` is the share of protrusions among the patient's boxes."""

    protrusion_share: float
    scanner: str


def split_patients(
    cases: Mapping[str, Case], *, seed: int, test_fraction: float, validation_fraction: float
) -> dict[str, list[str]]:
    """Divide patients into train, validation and test; validation is a fraction of what test leaves.

    Every part gets at least one patient. Strata are bins of the protrusion share and, where they are few, scanners.

    Errors:
        ValueError: fewer patients than parts.
    """
    if len(cases) < len(PARTS):
        raise ValueError(f"expected at least {len(PARTS)} patients to split, got {len(cases)}")
    num_test = _count(len(cases), test_fraction, leave=2)
    test = _draw(cases, num_test, key=f"{seed} test")
    rest = {patient: case for patient, case in cases.items() if patient not in test}
    validation = _draw(rest, _count(len(rest), validation_fraction, leave=1), key=f"{seed} validation")
    return {"train": sorted(set(rest) - validation), "validation": sorted(validation), "test": sorted(test)}


def _count(total: int, fraction: float, *, leave: int) -> int:
    return min(max(1, round(total * fraction)), total - leave)


def _draw(cases: Mapping[str, Case], count: int, *, key: str) -> set[str]:
    """Take every (total / count)-th patient along the strata, shuffled within: each stratum gives its share, +-1.

    The shuffle is by a digest of key and patient, so it doesn't hang on a generator's version.
    """
    several = len(Counter(case.scanner for case in cases.values())) <= _MAX_SCANNERS

    def place(patient: str) -> tuple[int, str, str]:
        case = cases[patient]
        share_bin = min(int(case.protrusion_share * _SHARE_BINS), _SHARE_BINS - 1)
        return share_bin, case.scanner if several else "", hashlib.sha256(f"{key} {patient}".encode()).hexdigest()

    order = sorted(cases, key=place)
    return {order[(2 * index + 1) * len(order) // (2 * count)] for index in range(count)}
