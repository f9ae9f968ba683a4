"""A served project as a test sees it: its process, what it says, its children, and Prefect's API."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flows._server import api_url, free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
_ADDRESSES = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
T = TypeVar("T")


def plan_every(seconds: float, project: Path) -> None:
    """Give the project our prefect.yaml, with a schedule that a test can wait for."""
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    plan["deployments"][0]["schedules"] = [{"interval": seconds, "slug": "often", "parameters": {"reason": "schedule"}}]
    (project / "prefect.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")


@dataclass(frozen=True)
class Served:
    """`flows.serve` in a process of its own."""

    process: subprocess.Popen[bytes]
    output: Path
    api: str
    mlflow: str

    def said(self) -> list[str]:
        return self.output.read_text(encoding="utf-8").splitlines()

    def runs(self) -> list[dict[str, Any]]:
        found = ask(f"{self.api}/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": 200})
        return list(found)

    def wait_for_run(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return wait_until(lambda: next((run for run in self.runs() if is_it(run)), None), self.process)

    def family(self) -> dict[int, int]:
        """Open a pidfd for the process and each of its descendants, by process id."""
        listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = dict(map(int, line.split()) for line in listing.splitlines())
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid: os.pidfd_open(pid) for pid in found}


@contextmanager
def serve(project: Path, **environment: str) -> Iterator[Served]:
    """Start `flows.serve`, wait until it has said that everything is there, and end it, if the test hasn't."""
    prefect, mlflow = free_port(), free_port()
    output = project.parent / "serve.txt"
    inherited = {name: value for name, value in os.environ.items() if name not in _ADDRESSES}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.serve", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)],
            cwd=project,
            env={**inherited, "PREFECT_WORKER_QUERY_SECONDS": "2", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(process, output, api_url(prefect), f"http://127.0.0.1:{mlflow}")
    try:
        wait_until(lambda: served.said()[-1:] == ["Ctrl-C stops all"], process)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    """Ask a server for JSON, patiently.

    Prefect's server on SQLite can be silent for a minute under load: its event loop stands still (its stack ends in
    an allocation: perhaps a cursor is freed whose connection waits for a lock) until SQLite's wait of 60 s runs out.
    """
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return json.load(response)


def wait_until(condition: Callable[[], T], process: subprocess.Popen[bytes]) -> T:
    """Ask again and again, servers tell nobody when they are ready, for as long as the process lives."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found
