"""The data and their pin: compared, fetched, changed to another revision's, or accepted as they lie there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from flows import _dvc, _git
from flows._kept_split import keep_split
from meddet.data.digest import dvc_md5
from meddet.files import write_atomic

FETCH_TIMEOUT_S = 24 * 3600.0
_WRITE_PHANTOM = "`python -m meddet.cli phantom --preset quick --out data`"
Write = Callable[[str, bool], None]


def guard_data(project: Path) -> None:
    """Refuse data that differ from data.dvc: `dvc repro` would accept them and rewrite the pin.

    Errors:
        ValueError: one line with what to do.
    """
    _need_pin(project)
    if not (project / "data").is_dir():
        raise ValueError(
            f"data/: expected the data that data.dvc pins, found none; write the phantom ({_WRITE_PHANTOM}) "
            "or pull yours (`dvc pull data.dvc`)"
        )
    changes = status(project, "data.dvc")
    # In a fresh clone DVC says this of any content, right or wrong: its cache is empty, and it looks there first.
    uncached = changes == {"data.dvc": [{"changed outs": {"data": "not in cache"}}]}
    if not changes or (uncached and dvc_md5(project / "data") == _pinned_md5(project)):
        return
    raise ValueError(
        f"data/: differs from what data.dvc pins; restore it ({_WRITE_PHANTOM} after `rm -r data`, "
        "or `dvc checkout data.dvc`), or accept the new data: `dvc add data`, then commit data.dvc"
    )


def status(project: Path, *targets: str) -> dict[str, Any]:
    """Ask DVC what has changed: nothing is an empty mapping.

    Errors:
        ValueError: DVC's complaint.
    """
    said = _dvc.query(["status", "--json", *targets], project=project).splitlines()
    changes = json.loads(next(line for line in reversed(said) if line.startswith("{")))
    return dict(changes)


def bring(project: Path, *, revision: str | None, accept: bool, write: Write) -> None:
    """Bring data/ and data.dvc together, and let patients keep their part of the split where the data are new.

    Args:
        project: its folder.
        revision: git revision whose data.dvc becomes the pin.
        accept: pin data/ as it lies there.
        write: gets DVC's output.

    Errors:
        ValueError: one line; data.dvc is then what it was.
    """
    if revision is not None and accept:
        raise ValueError("data: expected a revision of data.dvc or the acceptance of data/, got both")
    if accept:
        _call(["add", "data"], project, write)
    elif revision is not None:
        _change(project, revision, write)
    elif not (project / "data").is_dir() and (project / "data.dvc").is_file() and _dvc.has_remote(project):
        _call(["pull", "data.dvc"], project, write)
    guard_data(project)
    if status(project, "data.dvc"):
        # The right data, written here: until DVC's cache has them, too, they can't be pushed and count as changed.
        _call(["commit", "--force", "data.dvc"], project, write)
    keep_split(project)


def _change(project: Path, revision: str, write: Write) -> None:
    wanted = _git.file_at(project, revision, "data.dvc")
    pin = project / "data.dvc"
    before = pin.read_bytes() if pin.is_file() else None
    if wanted == before and (project / "data").is_dir():
        return
    if before is not None and (project / "data").is_dir():
        guard_data(project)
        _call(["commit", "--force", "data.dvc"], project, write)
    write_atomic(pin, wanted)
    try:
        _call(["pull" if _dvc.has_remote(project) else "checkout", "data.dvc"], project, write)
    except BaseException:
        if before is None:
            pin.unlink()
        else:
            write_atomic(pin, before)
        raise


def _call(command: list[str], project: Path, write: Write) -> None:
    try:
        status, output = _dvc.run(command, project=project, write=write, timeout_s=FETCH_TIMEOUT_S)
    except TimeoutError:
        raise ValueError(f"dvc {command[0]}: no end after {FETCH_TIMEOUT_S:g} s") from None
    if status:
        raise ValueError(f"dvc {' '.join(command)}: {_dvc.complaint(output)}")


def _need_pin(project: Path) -> None:
    if not (project / "data.dvc").is_file():
        raise ValueError(
            "data.dvc: expected the pin of the data, found none; put your data in data/ and run `dvc add data`"
        )


def _pinned_md5(project: Path) -> str:
    (pin,) = yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))["outs"]
    return str(pin["md5"])
