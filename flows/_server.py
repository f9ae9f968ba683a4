"""Prefect's API for one flow run: a server on the loopback, in a session of its own.

Prefect would start one by itself, in the terminal's process group: Ctrl-C ends it before the flow, whose last words
then wait a minute for an answer; and a killed flow leaves it behind.
"""

import atexit
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from flows._environment import prefect_home
from flows._processes import end, start

STARTUP_S = 120.0
_EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def start_server(project: Path) -> Callable[[], None]:
    """Start the server and set PREFECT_API_URL; an address that is set already stands.

    The server ends at this process's exit, after Prefect has sent it what it still holds.

    Returns:
        A function that returns when the server answers, so that other work can be done while it starts.

    Errors:
        ConnectionError: from that function, where the server ended or doesn't answer in two minutes.
    """
    if os.environ.get("PREFECT_API_URL"):
        return lambda: None
    log = prefect_home(project) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error"]
    with log.open("wb") as output:
        process = start(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            folder=project,
            output=output,
            environment=_EPHEMERAL,
        )
    atexit.register(end, process)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"

    def wait() -> None:
        deadline = time.monotonic() + STARTUP_S
        while not _answers(f"http://127.0.0.1:{port}/api/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConnectionError(f"{log}: Prefect's server did not start; `dvc repro` trains without it")
            time.sleep(0.1)

    return wait


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
