"""Checkpoints of a training that was cut off: local, short-lived, whole or not there.

A checkpoint file is the SHA-256 of its payload (32 bytes) followed by what `torch.save` wrote. It is read with
`weights_only=True`, and only after its sum is right. Its folder is named by a fingerprint of everything that
determines the training, so that a checkpoint of other data, parameters or code is never picked up.
"""

import fcntl
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from meddet.files import write_atomic

_SUM_BYTES = 32
_KEPT = 2


def fingerprint(content: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def file_sum(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of one training, newest last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every other process off these checkpoints.

        Errors:
            ValueError: another process trains on them now.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.folder}: expected no other training on it, but one is running") from None
            yield

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps and drop all but the newest two.

        Errors:
            OSError: with the file's path, e.g. when the disk is full; older checkpoints stay.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        write_atomic(self.folder / f"step_{step:08d}.pt", hashlib.sha256(payload).digest() + payload)
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """Return the newest whole checkpoint as (steps done, state); damaged ones are named and passed over."""
        for path in reversed(self._files()):
            content = path.read_bytes()
            expected, payload = content[:_SUM_BYTES], content[_SUM_BYTES:]
            if hashlib.sha256(payload).digest() == expected:
                return int(path.stem.removeprefix("step_")), torch.load(io.BytesIO(payload), weights_only=True)
            print(f"warning: {path}: damaged (its checksum is wrong), trying the one before", flush=True)
        return None

    def delete(self) -> None:
        """Remove everything: the training is done, and a forced rerun must not resume from its end."""
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step_*.pt"))
