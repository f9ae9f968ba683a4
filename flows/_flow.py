"""What Prefect's flows share: a task per DVC stage, the mirror, the gate, the flow run's page, and no ghosts."""

import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows import _dvc, _summary
from flows._dvc import Stage, StageFailed, StageRun
from flows._processes import Interrupted, ended_by_signals, stream
from flows._screen import Screen

FLOWS = ("train", "retrain")
MIRROR_TIMEOUT_S = 900.0
GATE_TIMEOUT_S = 6 * 3600.0
REJECTED = 6
_PLACE = "project:"
_UNTAGGED_FOR = timedelta(minutes=10)
_OPEN = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_DECISION = re.compile(r"^(PROMOTE|HOLD|REJECT): .*$", re.MULTILINE)
_PAGE = re.compile(r"^\s*promotions/\S+\.md\s*$", re.MULTILINE)
Reproduce = Callable[[str, Callable[[str, bool], None]], StageRun]


def _is_worth_a_retry(_task: object, _run: TaskRun, state: State[object]) -> bool:
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, StageFailed) and not failure.is_final


@contextmanager
def terminable() -> Iterator[None]:
    """Inside a flow: end the stages on a signal, and let Prefect see SIGTERM as its own (Cancelled, or Crashed).

    The run's log takes what the stages say; on the terminal Prefect stays as quiet as it was.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        with ended_by_signals():
            yield
    except Interrupted as signal:
        if signal.code == 128 + SIGTERM:
            raise TerminationSignal(SIGTERM) from None
        raise


def say(text: str) -> None:
    """Write a line on the terminal and in the flow run's log."""
    print(text, flush=True)
    get_run_logger().info(text.strip())


def writer(*, in_place: bool = False, prefix: str = "") -> Callable[[str, bool], None]:
    """Both the terminal and the run's log, which gets no progress."""
    screen = Screen(in_place=in_place, prefix=prefix)
    log = get_run_logger()

    def write(text: str, is_progress: bool) -> None:
        screen.write(text, is_progress)
        if text.strip() and not is_progress:
            log.info(text)

    return write


@task(retries=1, retry_delay_seconds=2, retry_condition_fn=_is_worth_a_retry, persist_result=False)
def run_stage(stage: str, reproduce: Reproduce, in_place: bool, prefix: str) -> StageRun:
    """Reproduce one DVC stage."""
    return reproduce(stage, writer(in_place=in_place, prefix=prefix))


def run_graph(
    graph: list[Stage], *, project: Path, concurrency: int, reproduce: Reproduce | None = None
) -> list[StageRun]:
    """Run the stages in graph order, at most `concurrency` at once; the first failure stops what hasn't begun.

    Args:
        graph: the stages, each after those it needs.
        project: where they run unless `reproduce` says otherwise.
        concurrency: stages at once.
        reproduce: brings one stage up to date, perhaps on another machine, and hands its output to the function.

    Errors:
        StageFailed: after one retry where that could help.
    """

    def here(stage: str, write: Callable[[str, bool], None]) -> StageRun:
        return _dvc.reproduce(stage, project=project, write=write)

    in_place = concurrency == 1 and sys.stdout.isatty()
    running: dict[str, PrefectFuture[StageRun]] = {}
    finished: list[StageRun] = []

    def collect() -> None:
        future = next(iter(as_completed(list(running.values()))))
        run = future.result()
        del running[run.name]
        finished.append(run)
        _summary.announce(run)

    for stage in graph:
        while len(running) >= concurrency or any(name in running for name in stage.after):
            collect()
        say(f"\n== {stage.name}  ({len(finished) + len(running) + 1} of {len(graph)})")
        submit = run_stage.with_options(name=stage.name, task_run_name=stage.name).submit
        prefix = f"[{stage.name}] " if concurrency > 1 else ""
        running[stage.name] = submit(stage.name, reproduce or here, in_place, prefix)
    while running:
        collect()
    return finished


@task(persist_result=False)
def mirror(project: Path) -> bool:
    """Mirror the graph into MLflow and register the student, in a process of its own; never fail the training."""
    try:
        status, _ = stream(["flows.mirror"], folder=project, write=writer(), timeout_s=MIRROR_TIMEOUT_S)
    except TimeoutError:
        status = 1
        say(f"warning: not mirrored into MLflow: no end after {MIRROR_TIMEOUT_S:g} s")
    if status:
        say("   the training stands; later: python -m flows.mirror")
    return status == 0


@task(persist_result=False)
def publish(project: Path, runs: list[StageRun]) -> None:
    """Put the tables, the pictures and the places of the pages on the flow run's page."""
    results = _summary.read_results(project)
    if results.models:
        pages = [f"To be opened in the project's folder: {path}" for path in _summary.pages(project)]
        parts = [_summary.as_markdown(results.cells()), _summary.LEGEND, *results.remarks, *pages, _summary.NOTICE]
        create_markdown_artifact("\n\n".join(parts), key="results", description="Test patients")
    times = [{"stage": run.name, "state": run.state, "seconds": round(run.seconds, 1)} for run in runs]
    create_table_artifact(times, key="stage-times", description="Seconds by stage")
    if found := _summary.pictures(project):
        shown = "\n\n".join(_summary.picture_markdown(project, picture) for picture in found)
        create_markdown_artifact(f"{shown}\n\n{_summary.NOTICE}", key="pictures", description="Report pictures")


@task(persist_result=False)
def gate(project: Path) -> str | None:
    """Let `flows.promote` compare challenger and champion; put its page and pictures on the flow run's page.

    Returns:
        its decision in a few words; None where it could not decide.
    """
    try:
        status, output = stream(["flows.promote"], folder=project, write=writer(), timeout_s=GATE_TIMEOUT_S)
    except TimeoutError:
        say(f"warning: not decided: no end after {GATE_TIMEOUT_S:g} s")
        return None
    if page := _PAGE.search(output):
        path = project / page[0].strip()
        text = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("![")]
        found = sorted(picture.relative_to(project) for picture in path.parent.glob(f"{path.stem}*.png"))
        parts = ["\n".join(text), *(_summary.picture_markdown(project, picture) for picture in found)]
        create_markdown_artifact("\n\n".join(parts), key="promotion", description="Challenger and champion")
    if status not in (0, REJECTED):
        say("   nothing was moved; later: python -m flows.promote")
        return None
    decision = _DECISION.search(output)
    return decision[0] if decision else "nothing to decide"


def on_pools(pools: Sequence[str], project: Path) -> Reproduce | None:
    """How the named pools reproduce a stage; None, which is here, without any."""
    if not pools:
        return None
    from flows._pools import on_pools as reproduce_on

    return reproduce_on(pools, project)


def train(project: Path, graph: list[Stage], *, concurrency: int, pools: Sequence[str] = ()) -> list[StageRun]:
    """Run the flow `train` on Prefect's server: the graph, the mirror, the page. Runs left open by a kill are closed.

    Errors:
        StageFailed: a stage failed, also the second time where that could help.
        Interrupted: a signal came; no process of this run is left.
    """

    @flow(name="train", persist_result=False)
    def run() -> list[StageRun]:
        with terminable():
            close_ghosts()
            reproduce = on_pools(pools, project)
            runs = run_graph(graph, project=project, concurrency=max(concurrency, len(pools)), reproduce=reproduce)
            say("\n== MLflow")
            mirror(project)
            publish(project, runs)
            return runs

    try:
        return run()
    except TerminationSignal:
        raise Interrupted(SIGTERM) from None


def close_ghosts() -> None:
    """Mark runs as crashed, with their tasks, that a killed process left open in the working directory's project.

    The caller holds the project's lock, so that no other one runs here. On a server that projects share, a run is known
    by a tag; one that died before it got its tag is closed after ten minutes.
    """
    here = f"{_PLACE}{socket.gethostname()}:{Path.cwd()}"
    with get_client(sync_client=True) as client:
        if flow_run.id:
            client.update_flow_run(UUID(flow_run.id), tags={*flow_run.tags, here})
        named = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
        for ghost in client.read_flow_runs(flow_filter=named, flow_run_filter=FlowRunFilter(state=state)):
            if str(ghost.id) != flow_run.id and (here in ghost.tags or _is_forgotten(ghost)):
                _close(client, ghost.id)


def _is_forgotten(run: FlowRun) -> bool:
    tagged = any(tag.startswith(_PLACE) for tag in run.tags)
    return not tagged and run.state is not None and datetime.now(UTC) - run.state.timestamp > _UNTAGGED_FOR


def _close(client: SyncPrefectClient, run: UUID) -> None:
    gone: State[Any] = Crashed(message="its process was gone at the next start")
    state = TaskRunFilterState(type=TaskRunFilterStateType(any_=_OPEN))
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    for task_run in client.read_task_runs(flow_run_filter=of_run, task_run_filter=TaskRunFilter(state=state)):
        client.set_task_run_state(task_run.id, gone, force=True)
    client.set_flow_run_state(run, gone, force=True)
