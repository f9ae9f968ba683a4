"""Whether the tracked branch pins other data than the last training had."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows import _git

_TIMEOUT_S = 120


@dataclass(frozen=True)
class NewData:
    """A pin that no training has seen: the md5 of the data and the git revision whose data.dvc names it."""

    md5: str
    revision: str


def find_new_data(project: Path) -> NewData | None:
    """Compare data.dvc of the upstream branch, fetched first, or else of HEAD, with the data in dvc.lock.

    None where they are the same, where nothing was trained yet, and where git knows no pin. Nothing is checked out.
    """
    trained = _trained_md5(project / "dvc.lock")
    if trained is None:
        return None
    _git_run(project, "fetch", "--quiet")
    for name in ("@{upstream}", "HEAD"):
        revision = _git_run(project, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
        if revision:
            md5 = _pinned_md5(project, revision)
            return NewData(md5, revision) if md5 not in (None, trained) else None
    return None


def _trained_md5(lock: Path) -> str | None:
    if not lock.is_file():
        return None
    stages: dict[str, Any] = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    hashes = [dep["md5"] for dep in stages.get("ingest", {}).get("deps", ()) if dep["path"] == "data"]
    return hashes[0] if hashes else None


def _pinned_md5(project: Path, revision: str) -> str | None:
    try:
        content = yaml.safe_load(_git.file_at(project, revision, "data.dvc"))
        return str(content["outs"][0]["md5"])
    except (ValueError, KeyError, IndexError, TypeError, yaml.YAMLError):
        return None


def _git_run(project: Path, *arguments: str) -> str:
    """Run git without a question; nothing where it fails, as `fetch` does without a network."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=project,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""
