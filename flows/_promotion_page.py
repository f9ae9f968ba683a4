"""A decision as people read it: a page in Markdown with its pictures, and the same as JSON with every number."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows._checks import Version
from flows._evidence import Collected
from flows._gate import EVERYONE, FALSE_POSITIVES, Change, Cost, Decision, Number, show
from flows._promotion_charts import pictures
from flows._protocol import Protocol
from flows._summary import NOTICE, as_markdown
from flows._tags import LINEAGE, ROLLED_BACK

FORMAT = 1
_SHOWN_TAGS = (*LINEAGE, "git.dirty", "load_back")
_NONE = "-"


@dataclass(frozen=True)
class Case:
    """Everything about one decision."""

    challenger: Version
    champion: Version | None
    protocol: Protocol
    protocol_file: Path
    collected: Collected
    decision: Decision

    @property
    def against(self) -> str:
        """The champion's number, or none."""
        return self.champion.number if self.champion else "none"

    @property
    def name(self) -> str:
        """Of the files, without ending."""
        return f"{self.challenger.number}-against-{self.against}"


def write_case(case: Case, folder: Path) -> list[Path]:
    """Write the decision's JSON, its pictures and its page, each whole or not at all; give the files, page first."""
    from meddet.files import write_atomic, write_json

    page, numbers = folder / f"{case.name}.md", folder / f"{case.name}.json"
    drawn = {folder / f"{case.name}.{kind}.png": content for kind, content in pictures(case.decision.changes)}
    write_json(numbers, _content(case))
    for path, content in drawn.items():
        write_atomic(path, content)
    write_atomic(page, _page(case, [path.name for path in drawn]).encode())
    return [page, numbers, *drawn]


def write_rollback(folder: Path, champion: str, back: str, *, reason: str) -> list[Path]:
    """Write down that somebody went back from the champion to the version before; give the files, page first."""
    from meddet.files import write_atomic, write_json

    name = f"{champion}-rolled-back-to-{back}"
    time = _now()
    content = {"format": FORMAT, "decision": ROLLED_BACK, "from": champion, "to": back, "reason": reason}
    write_json(folder / f"{name}.json", {**content, "decided_at": time, "notice": NOTICE})
    lines = [f"# {ROLLED_BACK}: from version {champion} to {back}", f"*{NOTICE}*", f"- {_line(reason)}", f"At {time}."]
    write_atomic(folder / f"{name}.md", ("\n\n".join(lines) + "\n").encode())
    return [folder / f"{name}.md", folder / f"{name}.json"]


def _now() -> str:
    """The time of an act that people may have to account for."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _content(case: Case) -> dict[str, Any]:
    evidence = case.collected.evidence
    versions = {"challenger": case.challenger, "champion": case.champion}
    return {
        "format": FORMAT,
        "decision": case.decision.outcome,
        "reasons": case.decision.reasons,
        "remarks": case.collected.remarks,
        "decided_at": _now(),
        "notice": NOTICE,
        **{name: each and {"version": each.number, "tags": dict(each.tags)} for name, each in versions.items()},
        "protocol": case.protocol.model_dump(),
        "protocol_sha256": _sha256(case.protocol_file),
        "checks": [asdict(check) for check in case.decision.checks],
        "floors": [asdict(floor) for floor in case.decision.floors],
        "changes": [asdict(change) for change in case.decision.changes],
        "cost": {"challenger": _cost(evidence.cost), "champion": _cost(evidence.champion_cost)},
        "challenger_numbers": case.collected.operating,
    }


def _page(case: Case, drawn: Sequence[str]) -> str:
    return "\n\n".join([*_sections(case, drawn), f"*{NOTICE}*"]) + "\n"


def _sections(case: Case, drawn: Sequence[str]) -> Iterator[str]:
    decision = case.decision
    against = f"against champion {case.against}" if case.champion else "with no champion yet"
    yield f"# {decision.outcome}: version {case.challenger.number} {against}"
    yield f"*{NOTICE}*"
    yield "\n".join(f"- {_line(reason)}" for reason in decision.reasons)
    if case.collected.remarks:
        yield "Also to be known:\n\n" + "\n".join(f"- {_line(remark)}" for remark in case.collected.remarks)
    if case.collected.operating:
        yield f"## Numbers\n\n{_numbers(case)}"
    yield from (f"![{name}]({name})" for name in drawn)
    if decision.floors:
        lines = [
            [each.name, show(each.value), f"{each.relation} {each.limit:g}", _mark(each.passed)]
            for each in decision.floors
        ]
        yield "## Floors\n\n" + as_markdown([["number", "value", "expected", ""], *lines])
    checks = [[check.name, _mark(check.passed), _line(check.detail)] for check in decision.checks]
    yield "## Checks\n\n" + as_markdown([["check", "", "what was found"], *checks])
    if groups := _groups(decision.changes):
        note = "Difference and 95 % interval; in brackets: not judged (no tolerance, or too few patients)."
        yield f"## Groups of patients\n\n{note}\n\n{groups}"
    yield "## Where the versions come from\n\n" + as_markdown(_lineage(case))
    yield f"Protocol: {case.protocol_file.name}, SHA-256 {_sha256(case.protocol_file)[:12]}; decided at {_now()}."


def _numbers(case: Case) -> str:
    changes = [change for change in case.decision.changes if change.patients == EVERYONE]
    if changes:
        head = ["number", "champion", "challenger", "difference", "95 % interval", "allowed loss", ""]
        lines = [
            [
                change.metric,
                show(change.champion),
                show(change.challenger),
                _signed(change.difference),
                _interval(change.low, change.high),
                _NONE if change.tolerance is None else f"{change.tolerance:g}",
                _NONE if change.tolerance is None else _mark(change.passed),
            ]
            for change in changes
        ]
        return f"On {changes[0].num_patients} patients.\n\n" + as_markdown([head, *lines])
    operating = case.collected.operating
    intervals = {name: " to ".join(map(show, ends)) for name, ends in operating["ci95"].items()}
    lines = [[name, show(value), intervals[name]] for name, value in operating["metrics"].items()]
    return f"On {operating['n']['patients']} patients.\n\n" + as_markdown(
        [["number", "value", "95 % interval"], *lines]
    )


def _groups(changes: Sequence[Change]) -> str:
    by_group: dict[str, dict[str, Change]] = {}
    for change in changes:
        if change.patients != EVERYONE:
            by_group.setdefault(change.patients, {})[change.metric] = change
    if not by_group:
        return ""
    metrics = [name for name in next(iter(by_group.values())) if not name.startswith(f"{FALSE_POSITIVES}.")]
    lines = [
        [group, str(next(iter(found.values())).num_patients), *(_group_cell(found[name]) for name in metrics)]
        for group, found in by_group.items()
    ]
    return as_markdown([["group", "patients", *metrics], *lines])


def _group_cell(change: Change) -> str:
    if isinstance(change.difference, str):
        return change.difference
    text = f"{_signed(change.difference)} ({_interval(change.low, change.high)})"
    if not change.passed:
        return f"**{text} FAILED**"
    return text if change.tolerance is not None else f"[{text}]"


def _lineage(case: Case) -> list[list[str]]:
    def cell(version: Version | None, tag: str) -> str:
        return _line(version.tags.get(tag, "missing")[:16]) if version else _NONE

    lines = [[tag, cell(case.challenger, tag), cell(case.champion, tag)] for tag in _SHOWN_TAGS]
    return [["", f"challenger {case.challenger.number}", f"champion {case.against}"], *lines]


def _line(text: str) -> str:
    """Keep a text from being read as Markdown, HTML or a table's end: tags are written by others."""
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;").replace("`", "'").replace("[", "(")


def _signed(value: Number) -> str:
    return value if isinstance(value, str) else f"{value:+.3f}"


def _interval(low: Number, high: Number) -> str:
    return low if isinstance(low, str) else f"{_signed(low)} to {_signed(high)}"


def _mark(passed: bool) -> str:
    return "holds" if passed else "**FAILED**"


def _cost(cost: Cost | None) -> Mapping[str, float] | None:
    return None if cost is None else asdict(cost)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
