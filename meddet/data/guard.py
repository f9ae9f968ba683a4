"""Work on strangers' files in processes that may die: each file under a time and a memory limit, none stops the rest.

A clean server process forks the workers: they hold what the work imports and nothing else (no torch of the caller's),
and a new one costs milliseconds. Linux only.
"""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
_Kind = Literal["ready", "value", "refused", "memory", "failed", "died"]

_ITEMS_PER_WORKER = 200
_AHEAD_PER_WORKER = 16
"""So many items per worker may be finished or in work while an earlier one isn't."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of an item: a value, or one line that says why there is none."""

    item: Item
    value: Value | None
    error: str | None


@dataclass(frozen=True)
class _Limits:
    seconds: float
    memory_mb: int


def guarded(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int,
    seconds: float,
    memory_mb: int,
    name: Callable[[Item], str] = str,
) -> Iterator[Outcome[Item, Value]]:
    """Run `work` on every item in recycled worker processes; give the outcomes in the items' order.

    A ValueError of `work` is that item's error, word for word. So is, in words of this module that begin with the
    item's `name`, another exception, a crash, a hang or an exhausted memory. What `work` prints is dropped.

    Args:
        work: a function of a module, perhaps in a `partial`: it and the items are pickled. It should not import torch.
        items: what to work on.
        workers: processes at a time.
        seconds: wall clock for one item.
        memory_mb: what one item may take on top of the loaded libraries (about 95 MB for the readers of images).
        name: how an error calls an item; it must not hold what identifies a patient.

    Errors:
        RuntimeError: a worker cannot even start, e.g. because `work` cannot be imported there.
    """
    assert workers > 0 and seconds > 0 and memory_mb > 0, (workers, seconds, memory_mb)
    limits = _Limits(seconds, memory_mb)
    waiting = deque(range(len(items)))
    outcomes: dict[int, Outcome[Item, Value]] = {}
    crew: list[_Worker] = []
    given = 0
    try:
        while given < len(items):
            undone = len(items) - given - len(outcomes)
            crew += [_Worker(work, limits) for _ in range(min(workers, undone) - len(crew))]
            for worker in crew:
                if worker.idle and waiting and waiting[0] < given + _AHEAD_PER_WORKER * workers:
                    worker.hand(waiting[0], items[waiting.popleft()])
            if given in outcomes:
                yield outcomes.pop(given)
                given += 1
                continue
            for worker in _heard(crew):
                index, (kind, content) = worker.index, worker.take()
                if index is not None:
                    outcomes[index] = _outcome(items[index], kind, content, limits=limits, name=name)
                if not worker.fit:
                    worker.end()
                    crew.remove(worker)
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A worker process as its employer sees it."""

    def __init__(self, work: Callable[[Any], Any], limits: _Limits) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_modules(work))
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, work, limits), daemon=True)
        self.process.start()
        other.close()
        self.idle = False
        self.fit = True
        self.index: int | None = None
        self._started = False
        self._left = _ITEMS_PER_WORKER

    def hand(self, index: int, item: Any) -> None:
        """Give it an item; if it has just died, that shows when it is heard."""
        self.idle, self.index = False, index
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(item)

    def take(self) -> tuple[_Kind, Any]:
        """Receive its answer, or the way it ended."""
        answer: tuple[_Kind, Any]
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            if not self._started:
                raise RuntimeError(f"expected a worker to start, it ended with {self.process.exitcode}") from None
            answer = ("died", self.process.exitcode)
        self._left -= self._started
        self.fit = answer[0] in ("ready", "value", "refused") and self._left > 0
        self._started, self.idle, self.index = True, True, None
        return answer

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _heard(crew: list[_Worker]) -> list[_Worker]:
    """Wait until one of them says something or dies."""
    ready = wait([worker.connection for worker in crew])
    return [worker for worker in crew if worker.connection in ready]


def _outcome(
    item: Item, kind: _Kind, content: Any, *, limits: _Limits, name: Callable[[Item], str]
) -> Outcome[Item, Any]:
    if kind == "value":
        return Outcome(item, content, None)
    if kind == "refused":
        return Outcome(item, None, content)
    if kind == "memory":
        reason = f"expected a file that needs at most {limits.memory_mb} MB of memory, it needs more"
    elif kind == "failed":
        reason = f"expected a file that can be read, got {content}"
    elif content == -signal.SIGALRM:
        reason = f"expected a file that takes at most {limits.seconds:g} s, it took longer"
    else:
        reason = f"expected a file that can be read, its reader ended with {_ending(content)}"
    return Outcome(item, None, f"{name(item)}: {reason}")


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _modules(work: Callable[[Any], Any]) -> list[str]:
    """Name what the server loads once for all workers: the module of `work`, or what the program itself imports."""
    while isinstance(work, partial):
        work = work.func
    if work.__module__ != "__main__":
        return [work.__module__]
    names = {
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        for value in vars(sys.modules["__main__"]).values()
    }
    return sorted(name for name in names if isinstance(name, str) and name in sys.modules and name != "__main__")


def _serve(connection: Connection, work: Callable[[Any], Any], limits: _Limits) -> None:
    """Live as a worker. The kernel keeps the time: SIGALRM ends the process, whatever code it hangs in."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = _data_bytes() + limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    connection.send(("ready", None))
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - not a path of ours
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, limits.seconds)
            answer = _answer(work, item)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(answer)


def _answer(work: Callable[[Any], Any], item: Any) -> tuple[_Kind, Any]:
    try:
        return "value", work(item)
    except MemoryError:
        return "memory", None
    except ValueError as error:
        return "refused", " ".join(str(error).split())
    except Exception as error:
        return "failed", _place(error)


def _place(error: Exception) -> str:
    """Say what was raised and where, but not its text, which may quote the file."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _data_bytes() -> int:
    """Count what RLIMIT_DATA counts: private writable memory, asked for or used."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) * 1024
