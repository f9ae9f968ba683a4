"""The flow `stage`: one DVC stage on the worker of a pool, in the worker's own clone.

`python -m flows.stage --deploy --pool NAME`, once in the clone, registers it as the deployment `stage/NAME`;
`python -m flows.stage --work --pool NAME` is the worker. docs/machines.md has the whole.
"""

import argparse
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows._environment import prefect_home, set_environment

if __name__ == "__main__":
    set_environment(Path.cwd())  # Prefect reads its settings, and starts its analytics, when it is imported

from prefect import flow, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows import _clone, _dvc, _flow, _remote
from flows._dvc import StageFailed
from flows._lock import Busy, exclusive
from flows._outcome import LOG, Outcome
from flows._processes import stream
from flows._screen import PROGRESS_S
from meddet.files import write_json

_HEARTBEAT_S = "10"
_POLL_S = "2"
_TRAVEL_TIMEOUT_S = 6 * 3600.0


@flow(name="stage", flow_run_name="{name}", persist_result=False)
def stage(name: str, revision: str, order: dict[str, Any]) -> State[None]:
    """Run one stage on what the coordinator has, and push what it made.

    Args:
        name: of the stage.
        revision: git commit of the coordinator.
        order: what `flows._remote.send` wrote there.

    Returns:
        Completed or Failed; the message is an `Outcome`.
    """
    project = Path.cwd()
    write = _writer()
    try:
        with _flow.terminable(), exclusive(prefect_home(project) / "train.lock"):
            _clone.take_revision(project, revision)
            _clone.check_packages(project)
            write_json(_remote.order_path(project, name), order)
            _travel("fetch", name, project, write)
            run = _dvc.reproduce(name, project=project, write=write)
            _travel("deliver", name, project, write)
            return Completed(message=Outcome(state=run.state).as_text())
    except (Busy, ValueError) as error:
        return Failed(message=Outcome(refused=str(error)).as_text())
    except StageFailed as failure:
        return Failed(message=Outcome(code=failure.code, line=failure.line).as_text())


def _writer() -> Callable[[str, bool], None]:
    """Write to the run's log, from where the coordinator takes it; of progress a line in fifteen seconds."""
    log = logging.getLogger(f"prefect.flow_runs.{LOG}")
    shown = time.monotonic()

    def write(text: str, is_progress: bool) -> None:
        nonlocal shown
        if not text.strip() or (is_progress and time.monotonic() - shown < PROGRESS_S):
            return
        if is_progress:
            shown = time.monotonic()
        log.info(text.strip())

    return write


def _travel(step: str, name: str, project: Path, write: Callable[[str, bool], None]) -> None:
    """One step of `flows._remote`.

    Errors:
        ValueError: its error line.
    """
    status, said = stream(["flows._remote", step, name], folder=project, write=write, timeout_s=_TRAVEL_TIMEOUT_S)
    if status:
        last = (said.splitlines() or [f"{step} ended with {status}"])[-1]
        raise ValueError(last.removeprefix("error: "))


def deploy(project: Path, pool: str) -> None:
    """Give the clone to the pool, and register its deployment `stage/POOL`; the pool is made where there is none.

    A pool of another type (kubernetes) is made before, with the image in its base job template: the deployment then
    only says where in the image the clone is.

    Errors:
        ValueError: the clone isn't clean.
    """
    _clone.give_to_pool(project, pool)
    with get_client(sync_client=True) as client:
        try:
            kind = client.read_work_pool(pool).type
        except ObjectNotFound:
            kind = ProcessWorker.type
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=pool, type=kind, base_job_template=template))
        command = f"{shlex.quote(sys.executable)} -m flows._engine"
        client.create_deployment(
            client.create_flow(stage),
            pool,
            work_pool_name=pool,
            entrypoint="flows.stage.stage",
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}],
            parameter_openapi_schema=parameter_schema(stage).model_dump_for_openapi(),
            job_variables={"command": command, "working_dir": str(project)} if kind == ProcessWorker.type else {},
        )


def work(pool: str) -> None:
    """Become the pool's worker: one stage at a time, a heartbeat every ten seconds.

    Its name holds its process: a worker that comes back is another one, and has not got the stage of the former.
    """
    os.environ.setdefault("PREFECT_WORKER_HEARTBEAT_SECONDS", _HEARTBEAT_S)
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", _POLL_S)
    name = f"{pool} on {platform.node()}, process {os.getpid()}"
    command = ["-m", "flows.worker", "--pool", pool, "--limit", "1", "--name", name]
    os.execv(sys.executable, [sys.executable, *command])


def main(arguments: list[str] | None = None) -> int:
    """Register the clone in the working directory, or work for its pool.

    Returns:
        0, or 1 after one line; as a worker it doesn't return.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__)
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--deploy", action="store_true", help="register this clone as the deployment stage/POOL")
    act.add_argument("--work", action="store_true", help="run the stages that come to the pool, in this clone")
    parser.add_argument("--pool", required=True)
    options = parser.parse_args(arguments)
    try:
        if not os.environ.get("PREFECT_API_URL"):
            raise ValueError("PREFECT_API_URL: expected the address of the server that all machines share, got none")
        if options.work:
            work(options.pool)
        deploy(Path.cwd(), options.pool)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"stage/{options.pool}: here; its worker: python -m flows.stage --work --pool {options.pool}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
