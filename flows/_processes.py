"""Child processes that never outlive the flow: a group for each, all ended on a signal, their output as it comes."""

import codecs
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

GRACE_S = 10.0
_PIECE = re.compile(r"([^\r\n]*)(\r\n|\n|\r)")

_lock = threading.Lock()
_running: set[int] = set()
_stopping: list[int] = []


class Interrupted(BaseException):
    """A signal asked this process to end: not an Exception, so that nothing retries or records it as a failed stage."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted` in the main thread, after every child has been told to end.

    A second signal kills them. Used innermost: Prefect puts a handler of its own in place when a flow starts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if _stopping:
            tell(signal.SIGKILL)
            return
        _stopping.append(number)
        tell(signal.SIGTERM)
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(number: int) -> None:
    """Send a signal to the group of every running child."""
    with _lock:
        groups = list(_running)
    for group in groups:
        _kill(group, number)


def stream(
    command: Sequence[str], *, folder: Path, write: Callable[[str, bool], None], timeout_s: float
) -> tuple[int, str]:
    """Run `python -m` COMMAND in `folder`; hand every piece of output to `write(text, is_progress)` as it comes.

    A piece that ends in a carriage return is progress: the next one replaces it. Whatever ends this function
    (exit, timeout, signal) ends the whole group: SIGTERM, and SIGKILL after ten seconds.

    Returns:
        The exit status, and all output but the progress.

    Errors:
        TimeoutError: the command took longer than `timeout_s`.
        Interrupted: a signal has come before or while it ran.
    """
    stop_if_asked()
    process = start(command, folder=folder, output=subprocess.PIPE)
    with _lock:
        _running.add(process.pid)
    try:
        kept = _pump(process, write, deadline=time.monotonic() + timeout_s)
        status = process.wait()
        stop_if_asked()
        return status, kept
    finally:
        end(process, told=bool(_stopping))
        with _lock:
            _running.discard(process.pid)


def stop_if_asked() -> None:
    """Raise `Interrupted` where a signal has come: for whoever waits without a child."""
    if _stopping:
        raise Interrupted(_stopping[0])


def start(
    command: Sequence[str], *, folder: Path, output: int | IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m` COMMAND in a session of its own; it is sent SIGTERM when this process dies, however it dies."""
    child = [sys.executable, str(Path(__file__).with_name("_child.py")), str(os.getpid()), *command]
    return subprocess.Popen(
        child,
        cwd=folder,
        env=None if environment is None else {**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _pump(process: subprocess.Popen[bytes], write: Callable[[str, bool], None], *, deadline: float) -> str:
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    kept: list[str] = []
    rest = ""
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError
        if not select.select([process.stdout], [], [], 1.0)[0]:
            if process.poll() is not None:
                return "\n".join(kept)
            continue
        chunk = os.read(process.stdout.fileno(), 65536)
        rest += decoder.decode(chunk, final=not chunk)
        if not chunk and rest:
            rest += "\n"
        used = 0
        for piece in _PIECE.finditer(rest):
            if piece[2] == "\r" and piece.end() == len(rest) and chunk:
                break
            used = piece.end()
            if piece[2] != "\r":
                kept.append(piece[1])
            write(piece[1], piece[2] == "\r")
        rest = rest[used:]
        if not chunk:
            return "\n".join(kept)


def end(process: subprocess.Popen[bytes], *, told: bool = False) -> None:
    """End the child's whole group: SIGTERM unless it has been `told` already, SIGKILL after the grace."""
    if not told:
        _kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while _alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    _kill(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
