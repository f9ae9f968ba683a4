"""What MLflow shall see, kept whole on this disk until it has: MLflow may be down for as long as it likes.

`.mirror/<key>/` is an entry: entry.json and the files that it needs. It is written beside its place and renamed, so it
is whole or absent. `.mirror/attempt.json` says that a training runs.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from meddet.files import read_json, write_atomic, write_json

FOLDER = ".mirror"
_ATTEMPT = "attempt.json"
_ENTRY = "entry.json"
_FAILURE = "failure.txt"
_UNFINISHED = ".part-"
_MESSAGE_LENGTH = 500
GONE = "its process was gone at the next start"

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Entry:
    """One thing to be mirrored: its folder, its kind (graph or attempt), and what entry.json holds of it."""

    folder: Path
    kind: str
    content: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Names the folder, and MLflow's run."""
        return self.folder.name

    @property
    def failure(self) -> str | None:
        """Why MLflow will not have it, if so."""
        path = self.folder / _FAILURE
        return path.read_text(encoding="utf-8") if path.is_file() else None


def write_entry(
    project: Path,
    key: str,
    kind: str,
    content: Mapping[str, Any],
    *,
    linked: Mapping[str, Path] | None = None,
    copied: Mapping[str, Path] | None = None,
) -> None:
    """Write an entry, whole or not at all. One of the same key is replaced.

    Args:
        project: whose `.mirror` it is.
        key: name of the entry's folder.
        kind: graph or attempt.
        content: plain values.
        linked: files by their name in the entry that are only ever replaced: hard links where the disk can do that.
        copied: files that somebody may write into.

    Errors:
        OSError: e.g. a full disk; nothing of it is left then.
    """
    place = project / FOLDER / key
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{_UNFINISHED}{os.getpid()}-"))
    try:
        for name, source in {**(linked or {}), **(copied or {})}.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            if name in (copied or {}) or not _linked(source, part / name):
                shutil.copyfile(source, part / name)
        write_json(part / _ENTRY, {"kind": kind, "time_ns": time.time_ns(), "content": dict(content)})
        _flush(part)
        if place.exists():
            delete(place)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_entries(project: Path) -> list[Entry]:
    """Read the entries, the oldest first. One that can't be read comes last, marked with the reason.

    What a killed writer left unfinished is removed.
    """
    found: list[tuple[int, Entry]] = []
    for folder in sorted((project / FOLDER).glob("*")):
        if folder.name.startswith(_UNFINISHED):
            if not _is_alive(int(folder.name.removeprefix(_UNFINISHED).split("-")[0])):
                shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_dir():
            try:
                content = read_json(folder / _ENTRY)
                found.append((int(content["time_ns"]), Entry(folder, content["kind"], content["content"])))
            except (ValueError, KeyError, TypeError) as error:
                mark_failed(folder, f"{folder / _ENTRY}: expected an entry of the spool, got {error!r}")
                found.append((sys.maxsize, Entry(folder, "unknown", {})))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def delete(folder: Path) -> None:
    """Remove an entry, so that a kill leaves it whole or unfinished, never a part under its name."""
    aside = folder.with_name(f"{_UNFINISHED}{os.getpid()}-{folder.name}")
    folder.rename(aside)
    shutil.rmtree(aside)


def mark_failed(folder: Path, reason: str) -> None:
    """Keep an entry that MLflow will not have, with the reason, out of the way of later ones."""
    write_atomic(folder / _FAILURE, reason.encode())


@dataclass(frozen=True)
class Attempt:
    """A training that began. `process` is the process's start since boot, as process ids are used again."""

    project: Path
    reason: str
    pid: int
    process: str
    start_ms: int

    @property
    def key(self) -> str:
        """Names the attempt's entry."""
        return f"attempt-{self.start_ms}-{self.pid}"

    def finish(self, status: Status, stage: str = "", message: str = "") -> None:
        """Say how it ended; what went wrong becomes an entry. A disk that is full of it doesn't stop anybody.

        Args:
            status: FINISHED leaves nothing to tell: the graph itself is mirrored.
            stage: that failed or was running.
            message: one line.
        """
        try:
            if status != "FINISHED":
                ended = {"status": status, "stage": stage, "message": message[:_MESSAGE_LENGTH]}
                times = {"start_ms": self.start_ms, "end_ms": max(time.time_ns() // 1_000_000, self.start_ms)}
                write_entry(self.project, self.key, "attempt", {"reason": self.reason, **ended, **times})
            (self.project / FOLDER / _ATTEMPT).unlink(missing_ok=True)
        except OSError as error:
            print(f"warning: {self.project / FOLDER}: the attempt's end is not written: {error.strerror}", flush=True)


def begin(project: Path, reason: str) -> Attempt:
    """Say that a training begins. The caller holds the project's lock, so one that is left over was killed.

    Args:
        project: its folder.
        reason: manual, schedule, drift, ...; becomes the name of MLflow's run if it ends badly.
    """
    left = _left_over(project)
    if left is not None:
        left.finish("KILLED", message=GONE)
    attempt = Attempt(project, reason, os.getpid(), process_start(os.getpid()), time.time_ns() // 1_000_000)
    write_json(project / FOLDER / _ATTEMPT, {**asdict(attempt), "project": project.name})
    return attempt


def bury(project: Path) -> None:
    """Turn an attempt whose process is gone into an entry; one that runs stays."""
    left = _left_over(project)
    if left is not None and process_start(left.pid) != left.process:
        left.finish("KILLED", message=GONE)


def process_start(pid: int) -> str:
    """Identify a living process by boot and start (field 22 of proc_pid_stat(5)); "" where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else f"{boot}-{fields[18]}"


def _left_over(project: Path) -> Attempt | None:
    path = project / FOLDER / _ATTEMPT
    if not path.exists():
        return None
    try:
        return Attempt(**{**json.loads(path.read_text(encoding="utf-8")), "project": project})
    except (ValueError, TypeError):
        path.unlink()
        return None


def _is_alive(pid: int) -> bool:
    return process_start(pid) != ""


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True


def _flush(folder: Path) -> None:
    """Bring an entry to the disk before its name appears."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
