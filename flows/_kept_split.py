"""Patients keep their part when data grow: the split that was becomes `data.split.json`, which stage split obeys.

Without it new data would reshuffle everybody, and a model would be tested on patients whom its champion was trained on.
"""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from meddet.files import read_json, write_json

KEPT = "data.split.json"
SPLIT = "artifacts/split.json"


def keep_split(project: Path) -> int:
    """Write the present split into data.split.json where data.dvc pins other data than the split was made from.

    Returns:
        how many patients keep their part; 0 where nothing has been split yet, or the data are still the same.

    Errors:
        ValueError: the split is not the one that dvc.lock pins.
    """
    lock = project / "dvc.lock"
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    before = _pinned(stages, "deps", "data")
    made = _pinned(stages, "outs", SPLIT)
    (pin,) = yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))["outs"]
    if before is None or made is None or before == pin["md5"]:
        return 0
    path = project / SPLIT
    if not path.is_file() or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != made:
        raise ValueError(
            f"{SPLIT}: the data are new, and patients keep their part; expected the split that dvc.lock pins, "
            "got another or none; `dvc checkout split` brings it back; `rm dvc.lock` where these data have nothing to "
            "do with the earlier ones (the phantom)"
        )
    parts = _places(read_json(project / KEPT)) | _places(read_json(path))
    kept = {part: sorted(name for name, place in parts.items() if place == part) for part in set(parts.values())}
    write_json(project / KEPT, {"train": [], "validation": [], "test": []} | kept)
    return len(parts)


def _places(split: dict[str, list[str]]) -> dict[str, str]:
    return {name: part for part, names in split.items() for name in names}


def _pinned(stages: dict[str, Any], kind: str, path: str) -> str | None:
    found = [entry for stage in stages.values() for entry in stage.get(kind, []) if entry["path"] == path]
    return str(found[0]["md5"]) if found else None
