"""The locks that DVC leaves behind: who holds them, whether that process lives, and how the dead are cleared.

`.dvc/tmp/lock` and `.dvc/tmp/rwlock.lock` are the kernel's (flock): it frees them at their holder's death.
`.dvc/tmp/rwlock` is a file of process ids. DVC passes over an id that is gone, but not over one that another process
has got since, nor over a file that was cut off while it was written.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from flows._lock import Busy
from meddet.files import write_atomic

UNLOCK = "`python -m flows.train --unlock`"
_SLACK_S = 2.0


@dataclass(frozen=True)
class Holder:
    """A process that DVC's lock file names, what it did, on which path; and whether it lives."""

    process: int
    command: str
    path: str
    is_alive: bool


def holders(project: Path) -> list[Holder]:
    """Read who holds paths, dead or alive.

    Errors:
        ValueError: the file is damaged; one line with the command that removes it.
    """
    file = _file(project)
    if not file.is_file():
        return []
    content, written = _read(file), file.stat().st_mtime
    entries = [(path, info) for path, infos in content.get("read", {}).items() for info in infos]
    entries += content.get("write", {}).items()
    return [Holder(info["pid"], info["cmd"], path, _lives(info["pid"], written)) for path, info in entries]


def notes(project: Path) -> list[str]:
    """Say which processes died with a lock, and which live ones will be waited for.

    Errors:
        ValueError: the file is damaged, or names a dead process whose id another has got: DVC would wait for ever.
    """
    lines = []
    for holder in {one.process: one for one in holders(project)}.values():
        what = f"process {holder.process} (dvc {holder.command})"
        if holder.is_alive:
            lines.append(f"{what} works in this project: what it holds is waited for")
        elif psutil.pid_exists(holder.process):
            raise ValueError(
                f"{_file(project)}: {what} died with a lock, and another process has its number now, for which DVC "
                f"would wait; clear it: {UNLOCK}"
            )
        else:
            lines.append(f"{what} died with a lock; DVC passes over it; to clear it: {UNLOCK}")
    return lines


def mend(project: Path) -> list[str]:
    """Remove a lock file that was cut off while it was written (a power cut), where no DVC runs in the project.

    Returns:
        a line if it did.

    Errors:
        Busy: a live DVC may hold paths.
    """
    try:
        holders(project)
    except ValueError:
        return unlock(project)
    return []


def unlock(project: Path) -> list[str]:
    """Remove the locks of dead processes, and a damaged lock file where no DVC runs in the project.

    Returns:
        a line for each holder, removed or left.

    Errors:
        Busy: a live DVC writes the file at this moment, or the file is damaged and a live DVC may hold paths.
    """
    file = _file(project)
    if not file.is_file():
        return []
    with _guard(project):
        try:
            found = holders(project)
        except ValueError:
            if alive := _running(project):
                raise Busy(f"{file}: damaged, but process {alive} is a live DVC in this project; left alone") from None
            file.unlink()
            return [f"removed {file}: it was damaged, and no DVC runs here"]
        dead = {holder.process for holder in found if not holder.is_alive}
        content = _read(file)
        read = {path: [one for one in infos if one["pid"] not in dead] for path, infos in content["read"].items()}
        left = {
            "read": {path: infos for path, infos in read.items() if infos},
            "write": {path: info for path, info in content["write"].items() if info["pid"] not in dead},
        }
        write_atomic(file, json.dumps(left).encode())
    return [
        f"{'left' if one.is_alive else 'removed'}: process {one.process} (dvc {one.command}) on {one.path}"
        for one in found
    ]


def _file(project: Path) -> Path:
    return project / ".dvc" / "tmp" / "rwlock"


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kept = {"read": dict(content.get("read", {})), "write": dict(content.get("write", {}))}
        infos = [info for listed in kept["read"].values() for info in listed] + list(kept["write"].values())
        if all(isinstance(info["pid"], int) and isinstance(info["cmd"], str) for info in infos):
            return kept
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise ValueError(f"{file}: expected DVC's list of lock holders, got a damaged file; remove it: {UNLOCK}")


def _lives(process: int, written: float) -> bool:
    """Whether it is the process that was there when the file was written."""
    try:
        return bool(psutil.Process(process).create_time() <= written + _SLACK_S)
    except psutil.NoSuchProcess:
        return False


def _running(project: Path) -> int | None:
    """A live DVC process in the project."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, folder = process.info["cmdline"] or [], process.info["cwd"]
        if folder and Path(folder).is_relative_to(project.resolve()) and any(Path(w).name == "dvc" for w in words[:4]):
            return int(process.pid)
    return None


@contextmanager
def _guard(project: Path) -> Iterator[None]:
    """DVC's own lock around changes of the file (zc.lockfile: an flock)."""
    with (project / ".dvc" / "tmp" / "rwlock.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{file.name}: a live DVC process changes the list just now; left alone, try again") from None
        yield
