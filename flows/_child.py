"""Run a module as `python _child.py PARENT MODULE ARGUMENT...`, and end when the process PARENT ends.

A killed flow would otherwise leave DVC, and with it a trainer, behind. Run as a file, so that it imports nothing else.
"""

import ctypes
import os
import runpy
import signal
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGTERM at the parent's death, then become the module."""
    parent = int(sys.argv[1])

    def leave(number: int, _frame: FrameType | None) -> None:
        # Also where the parent, whose threads die one by one, still seems to be there: a stage hears the second as one.
        signal.signal(number, signal.SIG_IGN)
        os.killpg(0, number)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)
    sys.path[0] = os.getcwd()  # noqa: PTH109 - what `python -m` puts there
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
