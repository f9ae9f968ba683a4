"""What every stage shares: params in, one line and an exit code out, no orphans."""

import ctypes
import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from meddet.config import Params, load_params
from meddet.files import sweep

BAD_INPUT = 2
VALIDATION_FAILED = 3
NON_FINITE_LOSS = 4
NO_SPACE = 5
OUT_OF_MEMORY = 7
TERMINATED = 128 + signal.SIGTERM

ARTIFACTS = Path("artifacts")
REPORTS = Path("reports")

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What asks a stage to end."""

Handler = Callable[[int, FrameType | None], object]

_PR_SET_PDEATHSIG = 1
_CPU_MEMORY = ("DefaultCPUAllocator", "std::bad_alloc", "could not create a memory")


class Failure(Exception):  # noqa: N818 - it is an outcome that a stage announces, not a defect
    """Ends the stage with a line for people and an exit code for programs."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def run(main: Callable[[Params], None]) -> NoReturn:
    """Run a stage on ./params.yaml and exit.

    A stage dies with its parent (a killed DVC leaves no trainer behind), and SIGTERM, Ctrl-C or a closed terminal ends
    it with 143. Parts of files that a killed stage left behind are removed first.
    """
    end_with_parent()
    with on_ending(lambda *_: sys.exit(TERMINATED)):
        sweep(ARTIFACTS)
        sweep(REPORTS)
        sys.exit(_outcome(main))


@contextmanager
def on_ending(handler: Handler) -> Iterator[None]:
    """Have `handler` called by every signal that asks a stage to end, but the ones that its parent ignores (nohup)."""
    heard = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is how Python, torch on a CPU or torch on a GPU says that memory has run out."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(word in str(error) for word in _CPU_MEMORY)


def end_with_parent() -> None:
    """Let the kernel end this process (SIGTERM) when its parent is gone; on Linux, elsewhere nothing.

    The parent must be DVC, not its shell, which survives it: hence `exec` in dvc.yaml.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def explain(error: Exception) -> tuple[int, str] | None:
    """Return the exit code and the line of what can go wrong with a stage; None for a defect of ours."""
    if isinstance(error, Failure):
        return error.code, str(error)
    if isinstance(error, ValueError):
        return BAD_INPUT, str(error)
    if isinstance(error, FloatingPointError):
        return NON_FINITE_LOSS, str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        place = error.filename or "a file"
        return NO_SPACE, f"{place}: no space to write it ({error.strerror}); free some and run again"
    if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
        return OUT_OF_MEMORY, "memory ran out; end what else uses it, or run on a machine with more"
    return None


def _outcome(main: Callable[[Params], None]) -> int:
    try:
        main(load_params(Path("params.yaml")))
    except Exception as error:
        if (outcome := explain(error)) is None:
            raise
        code, line = outcome
        print(f"error: {line}", file=sys.stderr, flush=True)
        return code
    return 0
