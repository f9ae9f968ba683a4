"""Stages on other machines: each to a free worker pool of Prefect, its results home through the DVC remote.

dvc.yaml says which stages go: `meta: {pool: true}`; the others run at home. A pool is one worker in one clone
(flows/stage.py); a pool that is named twice takes two stages at once.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling, Crashed

from flows import _clone, _dvc, _remote
from flows._dvc import StageFailed, StageRun
from flows._outcome import LOG, Outcome, read_outcome
from flows._processes import stop_if_asked, stream
from flows._slots import PATIENCE_S, Slots
from meddet.files import read_json

MAX_CRASHES = 3
_LOOK_S = 1.0
_LOG_PAGE = 200
_TRAVEL_TIMEOUT_S = 6 * 3600.0
Write = Callable[[str, bool], None]


def on_pools(pools: Sequence[str], project: Path) -> Callable[[str, Write], StageRun]:
    """Make what `run_graph` calls for each stage, with `concurrency` = the number of pools.

    Args:
        pools: names of work pools with a deployment `stage/POOL` on the server at PREFECT_API_URL.
        project: the coordinator's working tree; its commit is what the workers check out.

    Errors:
        ValueError: no stage of dvc.yaml goes to pools, there is no DVC remote, or a pool has no deployment.
    """
    marked = _remote.for_pools(project)
    with get_client(sync_client=True) as client:
        for pool in pools:
            try:
                client.read_deployment_by_name(f"stage/{pool}")
            except ObjectNotFound:
                raise ValueError(
                    f"pool {pool}: expected the deployment stage/{pool} at {client.api_url}, got none; "
                    f"in the worker's clone: `python -m flows.stage --deploy --pool {pool}`"
                ) from None
    slots = Slots(pools)

    def reproduce(stage: str, write: Write) -> StageRun:
        if stage not in marked:
            return _dvc.reproduce(stage, project=project, write=write)
        return _reproduce(stage, project=project, slots=slots, write=write)

    return reproduce


def _reproduce(stage: str, *, project: Path, slots: Slots, write: Write) -> StageRun:
    """Take the stage's results from the remote; where it hasn't got them, have a pool make them first."""
    start = time.monotonic()
    if state := _travel("order", stage, project, write):
        return StageRun(stage, state, time.monotonic() - start)
    order = read_json(_remote.order_path(project, stage))
    parameters = {"name": stage, "revision": _clone.revision(project), "order": order}
    try:
        outcome = _have_made(stage, parameters, slots=slots, write=write)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise StageFailed(stage, None, f"Prefect's server does not answer: {type(error).__name__}: {error}") from None
    if not outcome.state:
        raise StageFailed(stage, outcome.code, outcome.line)
    if not _travel("restore", stage, project, write):
        raise StageFailed(stage, None, "what the stage reads has changed here while a worker ran it; start again")
    return StageRun(stage, outcome.state, time.monotonic() - start)


def _travel(step: str, stage: str, project: Path, write: Write) -> str | None:
    """One step of `flows._remote`, in a process of its own: what became of the stage.

    Errors:
        StageFailed: its error line.
    """
    status, said = stream(["flows._remote", step, stage], folder=project, write=write, timeout_s=_TRAVEL_TIMEOUT_S)
    if status not in _remote.RESTORE_CODES:
        last = (said.splitlines() or [f"{step} ended with {status}"])[-1]
        raise StageFailed(stage, None, last.removeprefix("error: "))
    return _remote.RESTORE_CODES[status]


def _have_made(stage: str, parameters: dict[str, Any], *, slots: Slots, write: Write) -> Outcome:
    """Hand the stage from pool to pool until one says how it ended.

    Errors:
        StageFailed: no pool can run it, a person cancelled it, or its process died three times.
    """
    with get_client(sync_client=True) as client:
        for _ in range(MAX_CRASHES):
            while True:
                pool = slots.take(client, stage, say=lambda line: write(line, False), check=stop_if_asked)
                write(f"on pool {pool}", False)
                try:
                    outcome = _run(client, pool, stage, parameters, slots=slots, write=write)
                finally:
                    slots.give_back(pool)
                if outcome is None or not outcome.refused:
                    break
                write(f"pool {pool} is left out: {outcome.refused}", False)
                slots.refuse(pool, outcome.refused)
            if outcome is not None:
                return outcome
            slots.pulse.doubt(client, pool)
            write(f"pool {pool}: its worker or the run's process died; the stage goes to another", False)
    raise StageFailed(stage, None, f"its process died on {MAX_CRASHES} workers")


def _run(
    client: SyncPrefectClient, pool: str, stage: str, parameters: dict[str, Any], *, slots: Slots, write: Write
) -> Outcome | None:
    """Run `stage/POOL` and follow it to its end; cancel it where we are told to end.

    Returns:
        What the worker said; None where it died.
    """
    run = cast("FlowRun", run_deployment(f"stage/{pool}", parameters=parameters, flow_run_name=stage, timeout=0))
    try:
        state = _follow(client, run.id, pool, slots=slots, write=write)
    except BaseException:
        with contextlib.suppress(httpx.HTTPError, PrefectHTTPStatusError):
            client.set_flow_run_state(run.id, Cancelling(), force=True)
        raise
    if state is None or state.is_crashed():
        return None
    if state.is_cancelled():
        raise StageFailed(stage, None, f"cancelled on pool {pool}")
    return read_outcome(state.message) or Outcome(refused=state.message or state.name or "no word")


def _follow(client: SyncPrefectClient, run: UUID, pool: str, *, slots: Slots, write: Write) -> State[Any] | None:
    """Show the run's lines until it ends; None, and the run set to Crashed, when the worker that had it is gone.

    The server may be away for fifteen minutes: neither it nor this process takes part in the training.
    """
    shown = 0
    answered = time.monotonic()
    holders: frozenset[str] = frozenset()
    while True:
        stop_if_asked()
        try:
            state = client.read_flow_run(run).state
            shown += _show(client, run, shown, write)
            alive = slots.pulse.alive(client, pool)
        except (httpx.HTTPError, PrefectHTTPStatusError):
            if time.monotonic() - answered > PATIENCE_S:
                raise
            time.sleep(_LOOK_S)
            continue
        answered = time.monotonic()
        if state is not None and state.is_final():
            time.sleep(_LOOK_S)
            _show(client, run, shown, write)
            return state
        if state is None or state.is_scheduled():
            holders |= alive
        if not holders & alive:
            client.set_flow_run_state(run, Crashed(message="the worker's heartbeat stopped"), force=True)
            return None
        time.sleep(_LOOK_S)


def _show(client: SyncPrefectClient, run: UUID, shown: int, write: Write) -> int:
    """Write what the stage has said since line `shown`.

    Returns:
        How many lines of the run's log that were.
    """
    lines = client.read_logs(
        LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=_LOG_PAGE, offset=shown, sort=LogSort.TIMESTAMP_ASC
    )
    for line in lines:
        if line.name.endswith(f".{LOG}"):
            write(line.message, False)
    return len(lines)
