"""The decision on a version, as a pure function of numbers and protocol: PROMOTE, HOLD or REJECT, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flows._protocol import Protocol, Regression

if TYPE_CHECKING:
    from meddet.evaluate.paired import Difference

Outcome = Literal["PROMOTE", "HOLD", "REJECT"]
Number = float | str
"""A text says why there is no number: "undefined (n=0)"."""
EVERYONE = "all patients"
_CLASSES = ("protrusion", "non-protrusion")
FALSE_POSITIVES = "false_positives_per_image"


@dataclass(frozen=True)
class Check:
    """One thing that must be so before a number counts."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Cost:
    """What one version costs on this machine."""

    latency_p50_ms: float
    size_mb: float


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on. Without its checks a version has no numbers."""

    checks: tuple[Check, ...]
    numbers: Mapping[str, Number]
    """The challenger's on the whole test part, by the names of `Tally.numbers`."""
    num_patients: int
    """Of the test part."""
    cost: Cost | None
    champion_cost: Cost | None
    differences: "Mapping[str, Difference] | None"
    """Challenger minus champion on the compared patients; None where there is no champion."""
    groups: "Mapping[tuple[str, str], Mapping[str, Difference]]"
    """The same by kind and name of a group."""


@dataclass(frozen=True)
class Floor:
    """A number, its limit and whether it holds."""

    name: str
    value: Number
    relation: Literal["at least", "at most"]
    limit: float
    passed: bool


@dataclass(frozen=True)
class Change:
    """A number of both versions on some patients, and how much worse it may be; None: reported, not judged."""

    patients: str
    metric: str
    champion: Number
    challenger: Number
    difference: Number
    low: Number
    high: Number
    num_patients: int
    tolerance: float | None
    passed: bool


@dataclass(frozen=True)
class Decision:
    """The outcome, its reasons in words, and every number behind it."""

    outcome: Outcome
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    floors: tuple[Floor, ...]
    changes: tuple[Change, ...]


def decide(evidence: Evidence, protocol: Protocol) -> Decision:
    """Apply the protocol.

    What speaks against a version comes first: a failed check (then nothing else was looked at), a floor, something
    that got worse, a whole interval below 0. Then what leaves it open: too few patients, a tie. Only where neither is
    left it is promoted.
    """
    failed = [f"{check.name}: {check.detail}" for check in evidence.checks if not check.passed]
    if failed:
        return Decision("REJECT", tuple(failed), evidence.checks, (), ())
    floors = tuple(_floors(evidence, protocol))
    changes = tuple(_changes(evidence, protocol))
    against = [_below(floor) for floor in floors if not floor.passed]
    still_open = list(_too_few(evidence, protocol))
    shown = f"no champion yet; all {len(evidence.checks)} checks and {len(floors)} floors hold"
    if evidence.differences is not None:
        verdict, shown = _compared(evidence.differences[protocol.comparison.metric], protocol)
        if not still_open:
            against += [shown] * (verdict == "REJECT")
            still_open += [shown] * (verdict == "HOLD")
    against += [_worse(change) for change in changes if not change.passed]
    outcome: Outcome = "REJECT" if against else "HOLD" if still_open else "PROMOTE"
    return Decision(outcome, tuple(against or still_open or [shown]), evidence.checks, floors, changes)


def show(value: Number) -> str:
    """Write a number with three decimals, a text as it is."""
    return value if isinstance(value, str) else f"{value:.3f}"


def _floors(evidence: Evidence, protocol: Protocol) -> Iterator[Floor]:
    floors, numbers = protocol.floors, evidence.numbers
    least = {f"sensitivity.{name}": limit for name, limit in floors.sensitivity.items()}
    least |= {"ap50": floors.ap50, "ap50.any": floors.ap50_any, "disc_auc": floors.disc_auc}
    for name, limit in least.items():
        value = numbers[name]
        yield Floor(name, value, "at least", limit, not isinstance(value, str) and value >= limit)
    assert evidence.cost is not None, "a version that passed its checks was measured"
    most: dict[str, tuple[Number, float]] = {
        FALSE_POSITIVES: (numbers[FALSE_POSITIVES], floors.false_positives_per_image),
        "latency_p50_ms": (evidence.cost.latency_p50_ms, floors.latency_p50_ms),
        "size_mb": (evidence.cost.size_mb, floors.size_mb),
    }
    if evidence.champion_cost is not None:
        ratio = evidence.cost.latency_p50_ms / evidence.champion_cost.latency_p50_ms
        most["latency_ratio"] = (ratio, floors.latency_ratio)
    for name, (value, limit) in most.items():
        yield Floor(name, value, "at most", limit, not isinstance(value, str) and value <= limit)


def _changes(evidence: Evidence, protocol: Protocol) -> Iterator[Change]:
    """Judge everyone, then each group of the protocol's kinds, where enough patients were compared."""
    if evidence.differences is None:
        return
    metric = protocol.comparison.metric
    enough = evidence.differences[metric].n_patients >= protocol.comparison.min_patients
    yield from _judged(EVERYONE, evidence.differences, protocol.regression, metric=metric, judged=enough)
    for (kind, name), differences in evidence.groups.items():
        if kind in protocol.groups.kinds:
            large = enough and differences[metric].n_patients >= protocol.groups.min_patients
            tolerance = protocol.groups.tolerance
            yield from _judged(f"{kind} {name}", differences, tolerance, metric=metric, judged=large)


def _judged(
    patients: str, differences: "Mapping[str, Difference]", tolerance: Regression, *, metric: str, judged: bool
) -> Iterator[Change]:
    limits: dict[str, float | None] = {metric: None}
    limits |= {f"sensitivity.{name}": tolerance.sensitivity for name in _CLASSES}
    limits |= {f"ap50.{name}": tolerance.ap50 for name in _CLASSES}
    limits |= {"disc_auc": tolerance.disc_auc, FALSE_POSITIVES: tolerance.false_positives_per_image}
    limits |= {f"{FALSE_POSITIVES}.{name}": None for name in _CLASSES}
    for name, limit in limits.items():
        found = differences[name]
        limit = limit if judged and not isinstance(found.difference, str) else None
        passed = limit is None or _loss(name, found.difference) <= limit
        yield Change(
            patients,
            name,
            champion=found.champion,
            challenger=found.challenger,
            difference=found.difference,
            low=found.low,
            high=found.high,
            num_patients=found.n_patients,
            tolerance=limit,
            passed=passed,
        )


def _loss(metric: str, difference: Number) -> float:
    """How much worse: less of a share or an area, more of false positives."""
    assert not isinstance(difference, str)
    return difference if metric == FALSE_POSITIVES else -difference


def _too_few(evidence: Evidence, protocol: Protocol) -> Iterator[str]:
    least = protocol.comparison.min_patients
    if evidence.num_patients < least:
        yield f"the test part has {evidence.num_patients} patients, expected at least {least}"
    elif evidence.differences is not None:
        compared = evidence.differences[protocol.comparison.metric].n_patients
        if compared < least:
            yield f"{compared} of {evidence.num_patients} test patients can be compared, expected at least {least}"


def _compared(found: "Difference", protocol: Protocol) -> tuple[Outcome, str]:
    """Say what the interval of the one number that decides tells."""
    name, margin = protocol.comparison.metric, protocol.comparison.margin
    if isinstance(found.difference, str) or isinstance(found.low, str) or isinstance(found.high, str):
        return "HOLD", f"{name}: the difference is {found.difference}"
    said = (
        f"{name} {show(found.challenger)} against {show(found.champion)}: difference {found.difference:+.3f}, 95 % "
        f"interval {found.low:+.3f} to {found.high:+.3f} over {found.n_patients} patients"
    )
    if found.high < 0:
        return "REJECT", f"worse than the champion: {said}"
    if found.low > margin:
        return "PROMOTE", f"better than the champion: {said}"
    return "HOLD", f"not shown to be better (expected a lower end above {margin:g}; a tie holds): {said}"


def _below(floor: Floor) -> str:
    return f"floor: {floor.name} is {show(floor.value)}, expected {floor.relation} {floor.limit:g}"


def _worse(change: Change) -> str:
    return (
        f"regression: {change.metric} of {change.patients} ({change.num_patients}) went from {show(change.champion)} "
        f"to {show(change.challenger)}, expected at most {change.tolerance:g} worse"
    )
