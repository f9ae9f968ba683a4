"""What has become of the present dvc.lock: a retraining that was cut short goes on there, a finished one stops."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flows._environment import prefect_home
from flows._spool import read_entries
from meddet.files import read_json, write_json


@dataclass(frozen=True)
class Ledger:
    """For one dvc.lock, and the pins of data beside it: which steps after the training are done."""

    key: str
    mirrored: bool = False
    decided: bool = False
    pushed: bool = False
    committed: str = ""
    """The branch, or HEAD where it had the results."""

    def done(self, project: Path, **steps: bool | str) -> "Ledger":
        """Write down that steps are done."""
        changed = replace(self, **steps)  # type: ignore[arg-type]
        write_json(_path(project), asdict(changed))
        return changed

    def is_settled(self, project: Path, *, promote: bool, push: bool) -> bool:
        """Whether nothing is left to do: no step, and nothing that waits for MLflow."""
        steps = self.mirrored and bool(self.committed) and (self.decided or not promote) and (self.pushed or not push)
        return steps and not any(entry.failure is None for entry in read_entries(project))


def read_ledger(project: Path) -> Ledger:
    """Read the ledger; an empty one where dvc.lock, data.dvc or the kept split have changed since."""
    key = hashlib.sha256()
    for name in ("dvc.lock", "data.dvc", "data.split.json"):
        path = project / name
        key.update(path.read_bytes() if path.is_file() else b"")
        key.update(b"\0")
    path = _path(project)
    try:
        ledger = Ledger(**read_json(path)) if path.is_file() else Ledger("")
    except (ValueError, TypeError):
        ledger = Ledger("")
    return ledger if ledger.key == key.hexdigest() else Ledger(key.hexdigest())


def _path(project: Path) -> Path:
    return prefect_home(project) / "retrained.json"
