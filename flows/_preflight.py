"""What would make a long run fail late, or go wrong in silence: looked for before it starts, a line for each."""

import re
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from flows import _cache, _dvc, _dvc_locks, _git
from meddet.config import load_params

FREE_BYTES = 3 * 1024**3
# Another version of one of these makes other numbers, or doesn't work with the rest.
PINNED = (
    *("torch", "torchvision", "lightning", "numpy", "scipy", "pandas", "scikit-learn", "safetensors"),
    *("onnx", "onnxruntime", "pydicom", "pillow", "pydantic", "great-expectations"),
    *("dvc", "prefect", "mlflow", "fastapi", "sqlalchemy"),
)
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", re.MULTILINE)
_SHOWN = 8


def check(project: Path, *, say: Callable[[str], None], needs_clean_git: bool) -> None:
    """Make sure of parameters, disk, packages, dvc.lock, git and DVC's locks, one of which a power cut may tear.

    Args:
        project: its folder.
        say: gets what is worth knowing but stops nothing.
        needs_clean_git: refuse code and parameters that git hasn't got: nobody could make the model again.

    Errors:
        ValueError: a line for each complaint, with what to do.
    """
    checks: list[Callable[[], object]] = [
        lambda: load_params(project / "params.yaml"),
        lambda: check_disk(project),
        lambda: check_packages(project / "requirements.lock"),
        lambda: check_lock_file(project),
    ]
    if needs_clean_git:
        checks.append(lambda: check_git(project))
    _all(checks)
    for note in _dvc_locks.mend(project) + _dvc_locks.notes(project):
        say(f"note: {note}")


def check_cache(project: Path, changes: Mapping[str, Any], *, say: Callable[[str], None]) -> None:
    """Refuse damaged objects in DVC's cache, and name what is trained again only because the cache has lost it.

    Args:
        project: its folder.
        changes: what `dvc status` says of the whole graph.
        say: gets the note.

    Errors:
        ValueError: a line for each damaged output, with its stage and what to do.
    """
    if damaged := _cache.damaged(project):
        raise ValueError("\n".join(damaged))
    if lost := _cache.lost(project, changes):
        say(
            f"note: not in DVC's cache, so made again from the same data, code and parameters: {', '.join(lost)}; "
            f"where a remote has them: `dvc fetch {' '.join(lost)}`"
        )


def _all(checks: list[Callable[[], object]]) -> None:
    complaints = []
    for check in checks:
        try:
            check()
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        raise ValueError("\n".join(complaints))


def check_disk(project: Path) -> None:
    """Refuse a nearly full disk.

    Errors:
        ValueError: less than 3 GiB are free.
    """
    free = shutil.disk_usage(project).free
    if free < FREE_BYTES:
        raise ValueError(f"{project}: expected {FREE_BYTES / 1e9:.1f} GB of free disk, got {free / 1e9:.1f} GB")


def check_git(project: Path) -> None:
    """Refuse code and parameters that are not committed.

    Errors:
        ValueError: names the files.
    """
    if changed := _git.changed_files(project):
        shown = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")
        raise ValueError(f"git: expected code and parameters as committed, got changes in {shown}; commit them first")


def check_packages(lock: Path) -> None:
    """Refuse other versions of the packages that matter than requirements.lock pins; a project without one passes.

    Errors:
        ValueError: names the packages, installed and pinned.
    """
    if not lock.is_file():
        return
    pinned = dict(_PIN.findall(lock.read_text(encoding="utf-8")))
    wrong = []
    for name in PINNED:
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            installed = "none"
        if name in pinned and installed != pinned[name].partition("+")[0]:
            wrong.append(f"{name} {installed} (pinned {pinned[name]})")
    if wrong:
        raise ValueError(
            f"{lock.name}: expected the pinned packages, got {', '.join(wrong)}; "
            "`pip install --no-deps --require-hashes --requirement requirements.lock`"
        )


def check_lock_file(project: Path) -> None:
    """Refuse a dvc.lock that DVC can't read, or that has lost stages which git's copy has: it was cut off.

    Errors:
        ValueError: names the stages, and how to get the file back.
    """
    path = project / "dvc.lock"
    if not path.is_file():
        return
    back = "`git checkout dvc.lock` brings back the committed one"
    try:
        found = _stages(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid) as error:
        raise ValueError(f"{path}: expected DVC's lock file, got a damaged one ({_brief(error)}); {back}") from None
    try:
        committed = _stages(_git.file_at(project, "HEAD", "dvc.lock").decode())
    except (ValueError, yaml.YAMLError, Invalid):
        return
    lost = sorted((set(committed) - set(found)) & {stage.name for stage in _dvc.stages(project)})
    if lost:
        raise ValueError(f"{path}: cut off: expected the stages {', '.join(lost)}, which git's copy has; {back}")


def _stages(text: str) -> dict[str, Any]:
    content = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    stages = dict(content.get("stages", {}))
    for name, entry in stages.items():
        for out in [*entry.get("deps", []), *entry.get("outs", [])]:
            if out.get("hash") == "md5" and not out.get("md5"):
                raise Invalid(f"{name}: {out['path']} has no md5")
    return stages


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
