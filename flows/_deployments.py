"""The deployments of prefect.yaml on a server: registered, planned, and a worker there to take them."""

import time
from datetime import datetime
from pathlib import Path
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows import _flow
from flows._environment import prefect_home
from flows._lock import Busy, exclusive
from flows._processes import stream
from flows.worker import worker_name

FILE = "prefect.yaml"
REGISTER_S = 300.0
PLAN_S = 120.0


def make_pool(pool: str) -> None:
    """Make a pool of local processes, unless it is there."""
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            return


def close_ghosts(project: Path) -> None:
    """Close the runs that a power cut left open, and with them give their slot back, unless a training runs now."""
    try:
        with exclusive(prefect_home(project) / "train.lock"):
            _flow.close_ghosts()
    except Busy:
        return


def register(project: Path) -> None:
    """Register what prefect.yaml says, over what was registered before.

    Errors:
        ConnectionError: no end after five minutes.
        ValueError: Prefect refuses it; one line.
    """
    said: list[str] = []

    def keep(text: str, _is_progress: bool) -> None:
        said.append(text.strip(" │\t"))

    command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", FILE]
    try:
        status, _ = stream(command, folder=project, write=keep, timeout_s=REGISTER_S)
    except TimeoutError:
        raise ConnectionError(f"{FILE}: not registered after {REGISTER_S:g} s; {' '.join(said)[-300:]}") from None
    if status:
        reason = " ".join(line for line in said if line and not line.startswith(("╭", "╰", "Deploying")))
        raise ValueError(f"{FILE}: Prefect refuses it: {reason[-300:] or status}")


def next_runs() -> dict[str, datetime | None]:
    """Wait until the server has planned the deployments that have a schedule.

    Returns:
        by the deployment's name, when it runs next; None where no schedule is active.

    Errors:
        ConnectionError: the server plans nothing, as it does with versions that don't fit together, without a word.
    """
    deadline = time.monotonic() + PLAN_S
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments()
        while True:
            planned = {one.name: _next_run(client, one.id) for one in deployments}
            waiting = [
                one
                for one in deployments
                if not one.paused and planned[one.name] is None and any(schedule.active for schedule in one.schedules)
            ]
            if not waiting:
                return planned
            if time.monotonic() > deadline:
                raise ConnectionError(f"{waiting[0].name}: the server has planned no run of it after {PLAN_S:g} s")
            time.sleep(0.5)


def _next_run(client: SyncPrefectClient, deployment: UUID) -> datetime | None:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    return runs[0].expected_start_time if runs else None


def has_worker(pool: str, process: int) -> bool:
    """Whether the worker of that process has reported to the server."""
    with get_client(sync_client=True) as client:
        return any(worker_name(pool, process) == worker.name for worker in client.read_workers_for_work_pool(pool))
