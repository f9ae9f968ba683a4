"""What every stage shares: params in, one line and an exit code out, no orphans."""

import ctypes
import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from meddet.config import Params, load_params

BAD_INPUT = 2
VALIDATION_FAILED = 3
NON_FINITE_LOSS = 4
NO_SPACE = 5
TERMINATED = 128 + signal.SIGTERM

ARTIFACTS = Path("artifacts")
REPORTS = Path("reports")

_PR_SET_PDEATHSIG = 1


class Failure(Exception):  # noqa: N818 - it is an outcome that a stage announces, not a defect
    """Ends the stage with a line for people and an exit code for programs."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def run(main: Callable[[Params], None]) -> NoReturn:
    """Run a stage on ./params.yaml and exit.

    A stage dies with its parent (a killed DVC leaves no trainer behind), and SIGTERM ends it with 143.
    """
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(_outcome(main))


def end_with_parent() -> None:
    """Let the kernel end this process (SIGTERM) when its parent is gone; on Linux, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _outcome(main: Callable[[Params], None]) -> int:
    try:
        main(load_params(Path("params.yaml")))
    except Failure as failure:
        return _say(failure.code, str(failure))
    except ValueError as error:
        return _say(BAD_INPUT, str(error))
    except FloatingPointError as error:
        return _say(NON_FINITE_LOSS, str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            return _say(NO_SPACE, f"{error.filename}: no space to write it ({error.strerror}); free some and run again")
        raise
    return 0


def _say(code: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code
