"""Servers on the loopback, each in a session of its own: Prefect's for one flow run, Prefect's and MLflow's pages.

Prefect would start one by itself, in the terminal's process group: Ctrl-C ends it before the flow, whose last words
then wait a minute for an answer; and a killed flow leaves it behind.
"""

import atexit
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows._environment import artifact_root, prefect_home, tracking_uri
from flows._processes import end, start

HOST = "127.0.0.1"
STARTUP_S = 120.0
_EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
# A slot that a killed run holds must be found again by the next server.
_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


@dataclass(frozen=True)
class Service:
    """A process that runs until it is ended: what it is, and the file that holds what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """Quote the log's last line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{self.log}: {said[-1] if said else 'it said nothing'}"


def start_service(
    name: str, command: Sequence[str], *, project: Path, environment: Mapping[str, str] | None = None
) -> Service:
    """Start `python -m` COMMAND; it writes to `.prefect/NAME.log`; the log of the last time is kept as `NAME.log.1`."""
    log = prefect_home(project) / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as output:
        return Service(name, start(command, folder=project, output=output, environment=environment), log)


def wait_for(service: Service, address: str) -> None:
    """Return when the service answers there.

    Errors:
        ConnectionError: it ended, or doesn't answer in two minutes.
    """
    deadline = time.monotonic() + STARTUP_S
    while not answers(address):
        if service.process.poll() is not None or time.monotonic() > deadline:
            raise ConnectionError(f"{service.name} did not start; {service.last_words()}")
        time.sleep(0.1)


def start_prefect(project: Path, port: int, *, environment: Mapping[str, str]) -> Service:
    """Start Prefect's server; its API is at `api_url(port)`."""
    command = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error"]
    return start_service(
        "server",
        [*command, "--host", HOST, "--port", str(port)],
        project=project,
        environment={
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
            "PREFECT_SERVER_UI_API_URL": api_url(port),
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
            **environment,
        },
    )


def start_mlflow(project: Path, port: int) -> Service:
    """Start MLflow's pages: one process, no job runner, and no name but this machine's own is answered."""
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", artifact_root(project)]
    command += ["--allowed-hosts", "localhost,localhost:*,127.0.0.1,127.0.0.1:*"]
    # The database's address may hold a password, and a command line is everybody's to read.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": tracking_uri(project)}
    return start_service("mlflow", command, project=project, environment=environment)


def start_server(project: Path) -> Callable[[], None]:
    """Start Prefect's server for this process and set PREFECT_API_URL; a set address, or one being served, stands.

    The server ends at this process's exit, after Prefect has sent it what it still holds.

    Returns:
        A function that returns when the server answers, so that other work can be done while it starts.

    Errors:
        ConnectionError: from that function, where the server ended or doesn't answer in two minutes.
    """
    if os.environ.get("PREFECT_API_URL"):
        return lambda: None
    if served := served_address(project):
        os.environ["PREFECT_API_URL"] = served
        return lambda: None
    port = free_port()
    server = start_prefect(project, port, environment=_EPHEMERAL)
    atexit.register(end, server.process)
    os.environ["PREFECT_API_URL"] = api_url(port)

    def wait() -> None:
        try:
            wait_for(server, f"{api_url(port)}/health")
        except ConnectionError as error:
            raise ConnectionError(f"{error}; `dvc repro` trains without it") from None

    return wait


def served_address(project: Path) -> str | None:
    """Name the API that `flows.serve` offers in this project, if it does."""
    file = prefect_home(project) / "address"
    address = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return address if address and answers(f"{address}/health") else None


def api_url(port: int) -> str:
    """Write the address that PREFECT_API_URL holds."""
    return f"http://{HOST}:{port}/api"


def free_port() -> int:
    """Find a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    """Whether the address answers a request with 200."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
