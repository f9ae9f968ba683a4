"""What the monitor remembers between two calls: numbers, salted digests of the files it has counted, and its alarms."""

import fcntl
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meddet.drift.features import FEATURES, Values
from meddet.drift.reference import Reference
from meddet.files import read_json, write_json

FORMAT = 1
STATE = "state.json"
_DIGITS = 6
_SALT_BYTES = 16


@dataclass(frozen=True)
class Alarm:
    """Drift that began: `number` counts alarms from 1, `study` the studies since the start or the last reset."""

    number: int
    study: int
    features: dict[str, dict[str, float | None]]
    """Of each drifted feature psi, p_value, median and reference_median."""


@dataclass
class State:
    """One monitor's memory. `rows` hold one study each, in the order in which they came."""

    salt: str
    reference: str
    """Digest of the reference that the rows were measured for."""
    rows: list[Values] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Digests of the files that were counted, the unreadable ones too."""
    alarms: list[Alarm] = field(default_factory=list)
    standing: bool = False

    def add(self, row: Values) -> None:
        """Add a study, rounded so that no row tells more than its numbers."""
        self.rows.append(
            {name: None if (value := row.get(name)) is None else float(f"{value:.{_DIGITS}g}") for name in FEATURES}
        )

    def forget(self) -> None:
        """Begin anew: the studies and the standing alarm go; the files and the number of alarms stay known."""
        self.rows, self.standing = [], False


@contextmanager
def opened(folder: Path, reference: Reference) -> Iterator[tuple[State, bool]]:
    """Give the state of a folder, alone; write it whole at the end, or leave it as it was where something fails.

    A state that was measured against another reference starts anew.

    Returns:
        the state, and whether its studies were of another reference and are gone.

    Errors:
        ValueError: not a state, or another process works on it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: expected no other `meddet drift` on this state, one is at work") from None
        digest = _digest_of(reference)
        state = _read(folder / STATE) if (folder / STATE).exists() else State(secrets.token_hex(_SALT_BYTES), digest)
        is_other = state.reference != digest
        if is_other:
            state.forget()
            state.reference = digest
        yield state, is_other
        write_json(folder / STATE, {"format": FORMAT, **asdict(state), "seen": sorted(state.seen)})
        (folder / STATE).chmod(0o600)


def _read(path: Path) -> State:
    content = read_json(path)
    try:
        if content.pop("format") != FORMAT:
            raise ValueError(f"{path}: expected format {FORMAT} of a drift monitor's state")
        alarms = [Alarm(**alarm) for alarm in content.pop("alarms")]
        rows = [_row(row) for row in content.pop("rows")]
        return State(**{**content, "rows": rows, "alarms": alarms, "seen": set(content["seen"])})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the state of a drift monitor, got an error: {error}") from None


def _row(row: dict[str, Any]) -> Values:
    return {name: None if row[name] is None else float(row[name]) for name in FEATURES}


def _digest_of(reference: Reference) -> str:
    content = json.dumps(asdict(reference), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
