"""What a finished graph left behind, as plain numbers: dvc.lock and the reports it pins, and where they come from."""

import csv
import hashlib
import io
import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows._git import RESULTS

Curve = list[tuple[int, float]]
_SHOWN = (".png", ".html")
_INTERVAL = r"ci95(\.|$)"


@dataclass(frozen=True)
class Record:
    """One stage of dvc.lock. `key` changes with anything DVC knows of the stage, and with nothing else."""

    name: str
    key: str
    params: dict[str, str]
    metrics: dict[str, float]
    curves: dict[str, Curve]
    shown: tuple[Path, ...]
    """Pictures and pages, for people."""


@dataclass(frozen=True)
class Lineage:
    """Where the numbers come from."""

    revision: str
    dirty: bool
    time_ms: int
    """Of the commit; of dvc.lock where there is no git."""
    data_md5: str
    lock_sha256: str
    params_sha256: str

    @property
    def key(self) -> str:
        """Names the run of the whole graph."""
        return f"{self.revision[:12]}-{self.lock_sha256[:12]}"

    def tags(self) -> dict[str, str]:
        """As MLflow's tags."""
        return {
            "git.revision": self.revision,
            "git.dirty": str(self.dirty).lower(),
            "data.md5": self.data_md5,
            "dvc.lock.sha256": self.lock_sha256,
            "params.sha256": self.params_sha256,
            "use": "research use only",
        }


def read_records(project: Path, names: Sequence[str]) -> list[Record]:
    """Read the named stages from dvc.lock: their parameters, the numbers and curves in reports/, pictures and pages.

    Errors:
        ValueError: a report is not the one that dvc.lock pins.
    """
    locked = _lock(project)["stages"]
    return [_record(project, name, locked[name]) for name in names if name in locked]


def read_lineage(project: Path) -> Lineage:
    """Read git's revision and the hashes of data, dvc.lock and params.yaml."""
    results = [f":(exclude){path}" for path in RESULTS]
    changed = _git(project, "status", "--porcelain", "--untracked-files=no", "--", *results)
    committed = _git(project, "show", "-s", "--format=%ct", "HEAD")
    lock = project / "dvc.lock"
    pin = yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))
    return Lineage(
        revision=_git(project, "rev-parse", "HEAD") or "unknown",
        dirty=changed != "",
        time_ms=1000 * (int(committed) if committed else int(lock.stat().st_mtime)),
        data_md5=pin["outs"][0]["md5"],
        lock_sha256=_sha256(lock.read_bytes()),
        params_sha256=_sha256((project / "params.yaml").read_bytes()),
    )


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested mappings and lists as ("a.b.0", leaf)."""
    if isinstance(content, Mapping):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        items = [(str(index), value) for index, value in enumerate(content)]
    else:
        yield prefix, content
        return
    for key, value in items:
        yield from flatten(value, f"{prefix}.{key}" if prefix else key)


def _record(project: Path, name: str, entry: dict[str, Any]) -> Record:
    metrics: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    shown: list[Path] = []
    for out in entry.get("outs", []):
        path = project / out["path"]
        if path.suffix in _SHOWN:
            shown.append(path)
        elif not out["path"].startswith("reports/"):
            continue
        elif path.suffix == ".json":
            metrics |= _numbers(json.loads(_pinned(path, out["md5"])))
        elif path.suffix == ".csv":
            curves |= _curves(_pinned(path, out["md5"]))
    params = {key: str(value) for values in entry.get("params", {}).values() for key, value in flatten(values)}
    key = f"{name}-{_sha256(json.dumps(entry, sort_keys=True).encode())[:16]}"
    return Record(name, key, params, metrics, curves, tuple(shown))


def _pinned(path: Path, md5: str) -> str:
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{path}: expected the file that dvc.lock pins ({md5}), got another; run the graph again")
    return content.decode()


def _numbers(content: Any) -> dict[str, float]:
    """Numbers only: a word such as "undefined (n=0)" is no point of a curve, and intervals stand in the report."""
    leaves = ((key, value) for key, value in flatten(content) if isinstance(value, int | float))
    numbers = {key: float(value) for key, value in leaves if not isinstance(value, bool) and math.isfinite(value)}
    return {key: value for key, value in numbers.items() if not re.search(_INTERVAL, key)}


def _curves(text: str) -> dict[str, Curve]:
    """Read a table by steps; another one, such as precision against recall, is not a curve over time."""
    rows = csv.DictReader(io.StringIO(text))
    curves: dict[str, Curve] = {}
    if "step" not in (rows.fieldnames or ()):
        return curves
    for row in rows:
        step = int(float(row.pop("step")))
        for name, cell in row.items():
            try:
                value = float(cell)
            except (TypeError, ValueError):
                continue
            if math.isfinite(value):
                curves.setdefault(name, []).append((step, value))
    return curves


def _lock(project: Path) -> dict[str, Any]:
    path = project / "dvc.lock"
    if not path.is_file():
        raise ValueError(f"{path}: expected the record of a finished graph, found none; run the graph first")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise ValueError(f"{path}: expected DVC's lock file with its stages, got something else")
    return content


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
