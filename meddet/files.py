"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

import fcntl
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_SUFFIX = ".tmp"


def write_atomic(path: Path, *content: bytes | memoryview) -> None:
    """Write the parts of `content` so that a crash or a full disk leaves the old file, or none, but never a part.

    Errors:
        OSError: with the path, e.g. when the disk is full; the temporary file is gone then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = _temporary(path)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(handle)
            temporary.chmod(0o644)
            temporary.replace(path)
        _flush(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder and below it; what is being written now stays."""
    for path in folder.rglob(f".*{_SUFFIX}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys and a final newline: the same content is the same bytes. NaN is refused."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Errors:
        ValueError: one line with the file and what is wrong in it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a JSON file, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None


def _temporary(path: Path) -> tuple[int, str]:
    """Open a new file beside `path`, locked against `sweep` (where the file system has no locks, it sweeps nothing)."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else a sweep came between
            return handle, name
        os.close(handle)


def _flush(folder: Path) -> None:
    """Make a rename in the folder survive a power cut, where its file system can."""
    handle = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)
