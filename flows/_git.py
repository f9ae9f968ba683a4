"""Git for the flows: what has changed, and results committed on a branch beside the person's own work."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = ("dvc.lock", "data.dvc", "data.split.json", "reports", "promotions")
_ROBOT = ("-c", "user.name=MedDet retraining", "-c", "user.email=retraining@meddet.invalid")
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Commit:
    """A commit on a branch."""

    branch: str
    revision: str


def changed_files(project: Path) -> list[str]:
    """Name the files that git doesn't have as they are: tracked ones but results, and new Python files.

    Errors:
        ValueError: no git repository.
    """
    results = [f":(exclude){path}" for path in RESULTS]
    listed = _git(project, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".", *results)
    entries = [(entry[:2], entry[3:]) for entry in listed.split("\0") if entry]
    return sorted(path for state, path in entries if state != "??" or path.endswith(".py"))


def file_at(project: Path, revision: str, path: str) -> bytes:
    """Read a file as it is in a revision.

    Errors:
        ValueError: git doesn't know the revision, or it has no such file.
    """
    return _git(project, "show", "--end-of-options", f"{revision}:./{path}").encode()


def commit_results(project: Path, *, branch: str, message: str) -> Commit | None:
    """Commit dvc.lock, data.dvc, the kept split, reports/ and promotions/ onto a new branch that starts at HEAD.

    Through an index of its own: HEAD, the person's index and all files stay as they are, also in a dirty tree and with
    a detached HEAD. Where the branch is taken by other results, a number follows its name.

    Returns:
        The commit; the one that is there where the branch holds these results; None where HEAD has them already.

    Errors:
        ValueError: no repository, or one without a commit.
    """
    head = _git(project, "rev-parse", "--verify", "HEAD^{commit}").strip()
    tree = _tree(project)
    if tree == _git(project, "rev-parse", f"{head}^{{tree}}").strip():
        return None
    name, number = branch, 1
    while (tip := _try(project, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}")) is not None:
        if _git(project, "rev-parse", f"{tip.strip()}^{{tree}}").strip() == tree:
            return Commit(name, tip.strip())
        number += 1
        name = f"{branch}-{number}"
    author = () if _try(project, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT") else _ROBOT
    revision = _git(project, *author, "commit-tree", tree, "-p", head, "-m", message).strip()
    _git(project, "update-ref", "-m", "retraining", f"refs/heads/{name}", revision, "0" * len(revision))
    return Commit(name, revision)


def _tree(project: Path) -> str:
    """HEAD's files with the results as they lie in the project."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(project, "read-tree", "HEAD", environment=index)
        # A pathspec without any file is an error of `git add`.
        known = [path for path in RESULTS if (project / path).exists() or _try(project, "ls-files", "--", path)]
        if known:
            _git(project, "add", "--all", "--", *known, environment=index)
        return _git(project, "write-tree", environment=index).strip()


def _git(project: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = _run(project, arguments, environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ValueError(f"{project}: git {arguments[0]} failed: {said[-1]}")
    return done.stdout


def _try(project: Path, *arguments: str) -> str | None:
    done = _run(project, arguments, None)
    return done.stdout if done.returncode == 0 and done.stdout else None


def _run(
    project: Path, arguments: Sequence[str], environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=project,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
