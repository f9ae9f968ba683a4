"""Checkpoints of a training that was cut off: local, short-lived, whole or not there.

A checkpoint is the SHA-256 of its payload (32 bytes) followed by what `torch.save` wrote. It is read with
`weights_only=True`, and only after its sum is right. It lies in STAGE/FINGERPRINT/, where the fingerprint is that of
everything that determines the training, so that a checkpoint of other data, parameters or code is never picked up;
identity.json beside it says what that was.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from meddet.files import read_json, sweep, write_atomic, write_json

_SUM_BYTES = 32
_KEPT = 2
_LOCK = "lock"
_IDENTITY = "identity.json"
_NAMED = 8


def fingerprint(content: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def content_sum(path: Path) -> str:
    """Return the SHA-256, as hex digits, of a file, or of the names and sums of all files in a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return fingerprint([[file.relative_to(path).as_posix(), content_sum(file)] for file in files])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of one training, newest last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps and drop all but the newest two.

        Errors:
            OSError: with the file's path, e.g. when the disk is full; older checkpoints stay.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getbuffer()
        write_atomic(self.folder / f"step_{step:08d}.pt", hashlib.sha256(payload).digest(), payload)
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """Return the newest whole checkpoint as (steps done, state); damaged ones are named and removed."""
        files = self._files()
        for path in reversed(files):
            content = memoryview(path.read_bytes())
            expected, payload = content[:_SUM_BYTES], content[_SUM_BYTES:]
            if hashlib.sha256(payload).digest() == expected:
                return _step(path), torch.load(io.BytesIO(payload), weights_only=True)
            print(f"warning: {path}: damaged (its checksum is wrong), removed", flush=True)
            path.unlink()
        if files:
            print(f"warning: {self.folder}: no checkpoint is whole, the training starts afresh", flush=True)
        return None

    def delete(self) -> None:
        """Remove everything: the training is done, and a forced rerun must not resume from its end."""
        shutil.rmtree(self.folder)

    def newest(self) -> int | None:
        """Return the steps done at the newest checkpoint, whole or damaged."""
        files = self._files()
        return _step(files[-1]) if files else None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step_*.pt"))


@contextmanager
def held(home: Path, identity: Mapping[str, Any]) -> Iterator[Checkpoints]:
    """Hold a stage's checkpoints, all in the folder `home`, for the training that `identity` determines.

    Checkpoints of another identity are dropped, with a line that says what has changed: nobody will go on from them.

    Args:
        home: is made if absent.
        identity: flat, JSON values by the names a person knows: of parameters, files, libraries.

    Errors:
        ValueError: another process trains here now.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ValueError(
                f"{home}: expected no other training of this stage, but process {lock.read().strip()} is at it"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        own = home / fingerprint(identity)
        for other in sorted(path for path in home.iterdir() if path.is_dir() and path != own):
            if (step := Checkpoints(other).newest()) is not None:
                print(
                    f"{other}: dropped (step {step}), the training starts afresh: {_why(other, identity)}", flush=True
                )
            shutil.rmtree(other)
        sweep(own)
        write_json(own / _IDENTITY, identity)
        yield Checkpoints(own)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name what two identities do not share, in order."""
    return sorted(name for name in {*old, *new} if (name in old, old.get(name)) != (name in new, new.get(name)))


def _why(folder: Path, identity: Mapping[str, Any]) -> str:
    try:
        found = changes(read_json(folder / _IDENTITY), identity)
    except ValueError as error:
        return f"what it belongs to is unknown ({error})"
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"changed {', '.join(found[:_NAMED])}{more}"


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))
