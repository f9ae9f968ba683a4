"""`python -m flows.worker`: take flow runs from a pool of Prefect's server and run them in the working directory.

`prefect worker start` would do, but for its end: told to stop, it waits for the flow run that it has, or kills it.
This one hands SIGTERM on, so that a training keeps its checkpoint, and leaves no process behind.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flows._engine import SPEAK, WORKER_PID
from flows._environment import set_environment

if TYPE_CHECKING:
    from prefect.workers.process import ProcessWorker

POOL = "meddet"
STOP_S = 20.0


def main(arguments: list[str] | None = None) -> int:
    """Work until a signal comes.

    Returns:
        0; 1 after one line where PREFECT_API_URL names no server.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.worker", description=__doc__)
    parser.add_argument("--pool", default=POOL, help=f"whose runs to take (default: {POOL}); made if it isn't there")
    parser.add_argument("--name", help="of this worker (default: the pool, the machine and the process)")
    parser.add_argument("--limit", type=int, default=8, help="runs at once (default: 8, of which a project runs one)")
    options = parser.parse_args(arguments)
    set_environment(Path.cwd())
    if not os.environ.get("PREFECT_API_URL"):
        print("error: PREFECT_API_URL: expected the server's address, http://.../api; found none", file=sys.stderr)
        return 1
    os.environ |= {WORKER_PID: str(os.getpid()), **SPEAK}
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    asyncio.run(_work(options.pool, options.name or worker_name(options.pool, os.getpid()), options.limit))
    return 0


def worker_name(pool: str, process: int) -> str:
    """Name a worker of this machine."""
    return f"{pool} on {platform.node()}, process {process}"


async def _work(pool: str, name: str, limit: int) -> None:
    from prefect.workers.process import ProcessWorker

    # More than one, so that a second retraining gets as far as the server, which cancels it.
    worker = ProcessWorker(work_pool_name=pool, name=name, limit=limit)
    working = asyncio.create_task(worker.start())
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await asyncio.wait({working, asyncio.create_task(told.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        await _end_runs(worker)
        working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _end_runs(worker: "ProcessWorker") -> None:
    """Take no further run, tell the one there is (a process of this one's group), and wait until it has ended."""
    worker.limiter.total_tokens = 0
    os.killpg(0, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STOP_S
    while worker.limiter.borrowed_tokens and loop.time() < deadline:
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
