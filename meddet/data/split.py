"""Patients into parts: whole groups, stratified, exact in size, and the same for the same seed in whatever order."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

PARTS = ("train", "validation", "test")

_SHARE_BINS = 4
_MAX_SCANNERS = 12


@dataclass(frozen=True)
class Case:
    """What a patient is stratified by, and the group that stays together.

    `protrusion_share` is the share of protrusions among the patient's boxes; who has no group is one.
    """

    protrusion_share: float
    scanner: str
    group: str | None = None


@dataclass(frozen=True)
class _Unit:
    """A group: its members, and what it is stratified by."""

    members: tuple[str, ...]
    protrusion_share: float
    scanner: str


def split_patients(
    cases: Mapping[str, Case],
    *,
    seed: int,
    test_fraction: float,
    validation_fraction: float,
    kept: Mapping[str, Collection[str]] | None = None,
) -> dict[str, list[str]]:
    """Divide patients into train, validation and test; validation is a fraction of what test leaves.

    A group is never divided, and every part gets at least one. Sizes are exact where the groups allow it, as single
    patients always do. Strata are bins of the protrusion share and, where they are few, scanners.

    Args:
        cases: by patient.
        seed: of the shuffle within strata.
        test_fraction: of all patients.
        validation_fraction: of the patients that are not in test.
        kept: parts of an earlier split, which its patients don't leave, so that nobody whom an earlier model was
            trained on is ever tested; only the others are drawn. A group with members in several of them goes to the
            first that is named, train before validation before test.

    Errors:
        ValueError: fewer groups than parts, or a part that `kept` leaves empty.
    """
    units = _units(cases)
    if len(units) < len(PARTS):
        kind = "patients" if len(units) == len(cases) else "groups of patients"
        raise ValueError(f"expected at least {len(PARTS)} {kind} to split, got {len(units)}")
    parts = _keep(units, kept or {})
    new = {name: unit for name, unit in units.items() if not any(name in names for names in parts.values())}

    def fill(part: str, count: int, *, later: Sequence[str]) -> None:
        leave = sum(not parts[other] for other in later)
        parts[part] |= _draw(new, count - _size(units, parts[part]), key=f"{seed} {part}", leave=leave)
        for name in parts[part] & set(new):
            del new[name]

    fill("test", _count(len(cases), test_fraction, leave=2), later=("train", "validation"))
    left = len(cases) - _size(units, parts["test"])
    fill("validation", _count(left, validation_fraction, leave=1), later=("train",))
    parts["train"] |= set(new)
    if empty := [part for part in PARTS if not parts[part]]:
        raise ValueError(f"expected a patient in every part, but the kept split leaves none for {', '.join(empty)}")
    return {part: sorted(patient for name in parts[part] for patient in units[name].members) for part in PARTS}


def _keep(units: Mapping[str, "_Unit"], kept: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Put every unit with a patient of an earlier split where that patient was."""
    parts: dict[str, set[str]] = {part: set() for part in PARTS}
    for name, unit in units.items():
        part = next((part for part in PARTS if set(unit.members) & set(kept.get(part, ()))), None)
        if part is not None:
            parts[part].add(name)
    return parts


def _size(units: Mapping[str, "_Unit"], names: Collection[str]) -> int:
    return sum(len(units[name].members) for name in names)


def _units(cases: Mapping[str, Case]) -> dict[str, _Unit]:
    """Gather groups, each under the name of its first patient."""
    members: dict[tuple[bool, str], list[str]] = {}
    for patient in sorted(cases):
        group = cases[patient].group
        members.setdefault((group is None, patient if group is None else group), []).append(patient)
    return {
        found[0]: _Unit(
            members=tuple(found),
            protrusion_share=sum(cases[patient].protrusion_share for patient in found) / len(found),
            scanner=cases[found[0]].scanner,
        )
        for found in members.values()
    }


def _count(total: int, fraction: float, *, leave: int) -> int:
    return min(max(1, round(total * fraction)), total - leave)


def _draw(units: Mapping[str, _Unit], count: int, *, key: str, leave: int) -> set[str]:
    """Take every (total / count)-th patient along the strata, shuffled within: each stratum gives its share, +-1.

    The shuffle is by a digest of key and group, so it doesn't hang on a generator's version. A group comes whole, so
    the number of patients is then brought as near to `count` as groups allow; at least `leave` groups stay.
    """
    if count < 1 or len(units) <= leave:
        return set()
    several = len(Counter(unit.scanner for unit in units.values())) <= _MAX_SCANNERS

    def place(name: str) -> tuple[int, str, str]:
        unit = units[name]
        share_bin = min(int(unit.protrusion_share * _SHARE_BINS), _SHARE_BINS - 1)
        return share_bin, unit.scanner if several else "", hashlib.sha256(f"{key} {name}".encode()).hexdigest()

    order = sorted(units, key=place)
    line = [name for name in order for _ in units[name].members]
    drawn = {line[(2 * index + 1) * len(line) // (2 * count)] for index in range(count)}
    sizes = {name: len(units[name].members) for name in order}

    def error(names: set[str]) -> tuple[int, int]:
        return max(0, len(names) + leave - len(units)), abs(sum(sizes[name] for name in names) - count)

    while error(drawn) > (0, 0):
        better = min(_changes(drawn, sizes), key=error)
        if error(better) >= error(drawn):
            break
        drawn = better
    return drawn


def _changes(drawn: set[str], sizes: Mapping[str, int]) -> Iterator[set[str]]:
    """Give what one group less, more, or exchanged makes of a draw, trying the first group of each size."""
    inside: dict[int, str] = {}
    outside: dict[int, str] = {}
    for name, size in sizes.items():
        (inside if name in drawn else outside).setdefault(size, name)
    for gone in inside.values():
        if len(drawn) > 1:
            yield drawn - {gone}
        for come in outside.values():
            yield drawn - {gone} | {come}
    for come in outside.values():
        yield drawn | {come}
