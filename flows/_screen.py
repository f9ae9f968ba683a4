"""A stage's output on the terminal: lines as they come, progress in place or, without a terminal, now and then."""

import sys
import threading
import time
from typing import TextIO

PROGRESS_S = 15.0
_CLEAR = "\r\x1b[K"

_lock = threading.Lock()


class Screen:
    """Writes the output of one stage. `in_place` redraws progress; otherwise a progress line comes every 15 s."""

    def __init__(self, *, in_place: bool, prefix: str = "", out: TextIO = sys.stdout) -> None:
        self._in_place = in_place
        self._prefix = prefix
        self._out = out
        self._shown = time.monotonic()

    def write(self, text: str, is_progress: bool) -> None:
        """Show one piece of output."""
        if is_progress and not text.strip():
            return
        with _lock:
            if self._in_place:
                self._out.write(f"{_CLEAR}{text}" + ("" if is_progress else "\n"))
            elif not is_progress:
                self._out.write(f"{self._prefix}{text}\n")
            elif time.monotonic() - self._shown >= PROGRESS_S:
                self._shown = time.monotonic()
                self._out.write(f"{self._prefix}{text.strip()}\n")
            self._out.flush()
