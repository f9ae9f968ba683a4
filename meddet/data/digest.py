"""The digest that DVC gives a folder, computed without DVC."""

import hashlib
import json
from pathlib import Path

_IGNORED_FILES = frozenset({".DS_Store", "Thumbs.db"})
"""The same names as in .dvcignore."""


def dvc_md5(folder: Path) -> str:
    """Compute DVC's md5 of a folder, e.g. "8e4f...c1.dir": the md5 of the sorted list of its files' names and md5s.

    Errors:
        ValueError: no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder, found none")
    entries = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in _IGNORED_FILES:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "md5").hexdigest()
            entries.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
