"""The clone that a worker runs in: its mark, its git revision, its packages. Nothing here loses a person's work."""

import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_MARK = "meddet.pool"
_RESULTS = ("dvc.lock", "reports/")
_GIT_TIMEOUT_S = 600.0
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


def revision(project: Path) -> str:
    """Name the commit that the project stands on."""
    return _git(project, "rev-parse", "HEAD").strip()


def give_to_pool(project: Path, pool: str) -> None:
    """Mark the clone as the pool's: from now on dvc.lock and reports/ in it are overwritten without asking.

    Errors:
        ValueError: something isn't committed.
    """
    if changed := list(_changed(project)):
        raise ValueError(f"{project}: expected a clean clone, got changes of {changed[0]}; commit them or take another")
    _git(project, "config", "--local", _MARK, pool)


def take_revision(project: Path, wanted: str) -> None:
    """Check out the coordinator's revision, fetched from `origin` where the clone hasn't got it.

    Only results are overwritten (dvc.lock, reports/): the DVC remote has them.

    Errors:
        ValueError: the clone isn't a worker's, has changes of a person, or the revision is nowhere to be found.
    """
    if not _is_true(project, "config", "--get", _MARK):
        raise ValueError(f"{project}: not given to a pool; `python -m flows.stage --deploy --pool NAME` there does it")
    changed = list(_changed(project))
    if own := [path for path in changed if not path.startswith(_RESULTS)]:
        raise ValueError(f"{project}: expected a worker's clean clone, got changes of {own[0]}")
    if revision(project) == wanted:
        return
    if not _is_true(project, "cat-file", "-e", f"{wanted}^{{commit}}"):
        _git(project, "fetch", "--quiet", "origin")
        if not _is_true(project, "cat-file", "-e", f"{wanted}^{{commit}}"):
            raise ValueError(f"{project}: revision {wanted[:12]} is not at origin; push it")
    others = _git(project, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    for path in filter(None, others):
        if not path.startswith(_RESULTS) and _is_true(project, "cat-file", "-e", f"{wanted}:{path}"):
            raise ValueError(f"{project}: {path} is not committed here, and revision {wanted[:12]} has one; move yours")
    _git(project, "checkout", "--quiet", "--force", "--detach", wanted)


def check_packages(project: Path) -> None:
    """Compare what is installed with the project's requirements.lock; a build's own suffix (+cpu) may differ.

    Errors:
        ValueError: the first package of another version.
    """
    lock = project / "requirements.lock"
    for name, pinned in _PINNED.findall(lock.read_text(encoding="utf-8")) if lock.is_file() else []:
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed.partition("+")[0] != pinned.partition("+")[0]:
            raise ValueError(f"{lock}: expected {name} {pinned}, got {installed}; `make` there installs the lock")


def _changed(project: Path) -> Iterator[str]:
    """The tracked files that differ from the commit."""
    status = _git(project, "status", "--porcelain", "--no-renames", "--untracked-files=no", "-z")
    return (entry[3:] for entry in status.split("\0") if entry)


def _is_true(project: Path, *command: str) -> bool:
    return _run(project, *command).returncode == 0


def _git(project: Path, *command: str) -> str:
    done = _run(project, *command)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"{project}: git {command[0]}: {last}")
    return done.stdout


def _run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *command], cwd=project, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{project}: git {command[0]}: no end after {_GIT_TIMEOUT_S:g} s") from None
