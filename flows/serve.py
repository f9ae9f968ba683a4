"""`python -m flows.serve`: Prefect's server with its pages, the deployments of prefect.yaml, a worker, MLflow's pages.

Everything listens on the loopback alone, and ends together: by Ctrl-C, or when one of them ends. An address that is
set stands: with PREFECT_API_URL no server is started, with a server's MLFLOW_TRACKING_URI no pages of MLflow.
"""

import argparse
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from flows import _server
from flows._environment import prefect_home, set_environment, tracking_uri
from flows._lock import Busy, exclusive
from flows._processes import Interrupted, end, ended_by_signals
from flows._server import Service
from flows.worker import POOL, STOP_S

PREFECT_PORT = 4200
MLFLOW_PORT = 5000


def main(arguments: list[str] | None = None) -> int:
    """Serve the project in the working directory until a signal comes.

    Returns:
        130 or 143 after a signal; 1 after one line where something did not start or has ended.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=__doc__)
    parser.add_argument("--prefect-port", type=int, default=PREFECT_PORT, help=f"(default: {PREFECT_PORT})")
    parser.add_argument("--mlflow-port", type=int, default=MLFLOW_PORT, help=f"(default: {MLFLOW_PORT})")
    options = parser.parse_args(arguments)
    project = Path.cwd()
    set_environment(project)
    lock = prefect_home(project) / "serve.lock"
    try:
        with ended_by_signals(), exclusive(lock), ExitStack() as running:
            services = serve(project, options.prefect_port, options.mlflow_port, running)
            print("Ctrl-C stops all", flush=True)
            ended = first_to_end(services)
            raise ConnectionError(f"{ended.name} has ended, all stopped; {ended.last_words()}")
    except Busy:
        holder = lock.read_text(encoding="utf-8").strip()
        print(f"error: {lock}: this project is served already (process {holder})", file=sys.stderr, flush=True)
    except (ConnectionError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    except Interrupted as stop:
        print(f"\n{stop}; all stopped", flush=True)
        return stop.code
    return 1


def serve(project: Path, prefect_port: int, mlflow_port: int, running: ExitStack) -> list[Service]:
    """Start everything and print a line for each address; what closes `running` ends everything, the worker first.

    Errors:
        ConnectionError: something did not start.
        ValueError: a port is taken, or Prefect refuses prefect.yaml.
    """
    has_server, has_mlflow = not os.environ.get("PREFECT_API_URL"), _is_database(tracking_uri(project))
    services: list[Service] = []
    if has_server:
        _claim(prefect_port, "--prefect-port")
        os.environ["PREFECT_API_URL"] = _server.api_url(prefect_port)
    if has_mlflow:
        _claim(mlflow_port, "--mlflow-port")
        services.append(_server.start_mlflow(project, mlflow_port))
        running.callback(end, services[-1].process)
    api = os.environ["PREFECT_API_URL"]
    if has_server:
        services.append(_server.start_prefect(project, prefect_port, environment={}))
        running.callback(end, services[-1].process)
    from flows import _deployments

    if has_server:
        _server.wait_for(services[-1], f"{api}/health")
        _deployments.close_ghosts(project)
        _offer(project, api, running)
    _deployments.make_pool(POOL)
    services.append(_start_worker(project, running))
    _deployments.register(project)
    _wait_for_worker(services[-1])
    print(f"Prefect  {api.removesuffix('/api')}")
    if has_mlflow:
        address = f"http://{_server.HOST}:{mlflow_port}"
        _server.wait_for(services[0], f"{address}/health")
        print(f"MLflow   {address}")
    for name, moment in _deployments.next_runs().items():
        when = (
            "by hand and on events alone" if moment is None else f"next on {moment.astimezone():%A %Y-%m-%d %H:%M %Z}"
        )
        print(f"{name:8} {when}; logs in {prefect_home(project).name}/")
    return services


def _start_worker(project: Path, running: ExitStack) -> Service:
    worker = _server.start_service("worker", ["flows.worker"], project=project)

    def stop() -> None:
        """Let the run that it has save its checkpoint and report, while the server is still there."""
        worker.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(STOP_S + 5.0)
        end(worker.process)

    running.callback(stop)
    return worker


def _wait_for_worker(worker: Service) -> None:
    from flows import _deployments

    deadline = time.monotonic() + _server.STARTUP_S
    while not _deployments.has_worker(POOL, worker.process.pid):
        if worker.process.poll() is not None or time.monotonic() > deadline:
            raise ConnectionError(f"worker did not start; {worker.last_words()}")
        time.sleep(0.2)


def _is_database(uri: str) -> bool:
    return not uri.startswith(("http://", "https://"))


def _claim(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_server.HOST, port))
        except OSError as error:
            raise ValueError(f"port {port}: {error.strerror}; choose another with {option}") from None


def _offer(project: Path, api: str, running: ExitStack) -> None:
    """Let a training that is started by hand find this server, instead of starting one on the same database."""
    file = prefect_home(project) / "address"
    file.write_text(f"{api}\n", encoding="utf-8")
    running.callback(file.unlink)


def first_to_end(services: Sequence[Service]) -> Service:
    """Wait until one of them ends."""
    watched = {os.pidfd_open(service.process.pid): service for service in services}
    try:
        ended = select.select(list(watched), [], [])[0]
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return watched[ended[0]]


if __name__ == "__main__":
    sys.exit(main())
