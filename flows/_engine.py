"""`python -m flows._engine`: the process of one flow run, as a worker starts it; it ends when the worker ends.

prefect.yaml names it as the command, so that a worker started by hand runs flows in the same environment.
"""

import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

from flows._environment import set_environment

WORKER_PID = "MEDDET_WORKER_PID"
# Its terminal is the worker's log, which is where a person looks when a run has no page.
SPEAK = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the environment, ask the kernel for SIGTERM at the worker's death, then become Prefect's engine."""
    set_environment(Path.cwd())
    os.environ |= SPEAK
    parent = int(os.environ.get(WORKER_PID, os.getppid()))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
