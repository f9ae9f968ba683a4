"""The Prefect flow: one task per DVC stage, then the mirror, the registry and the artifacts that its page shows."""

import sys
from pathlib import Path
from signal import SIGTERM
from typing import Any, cast

from prefect import flow, get_client, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Crashed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import _dvc, _summary
from flows._dvc import Stage, StageFailed, StageRun
from flows._processes import Interrupted, ended_by_signals, stream
from flows._screen import Screen

FLOW = "train"
MIRROR_TIMEOUT_S = 900.0


def _is_worth_a_retry(_task: object, _run: TaskRun, state: State[object]) -> bool:
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, StageFailed) and not failure.is_final


@task(retries=1, retry_delay_seconds=2, retry_condition_fn=_is_worth_a_retry, persist_result=False)
def run_stage(stage: str, project: Path, in_place: bool, prefix: str) -> StageRun:
    """Reproduce one DVC stage."""
    screen = Screen(in_place=in_place, prefix=prefix)
    return _dvc.reproduce(stage, project=project, write=screen.write)


def run_graph(graph: list[Stage], *, project: Path, concurrency: int) -> list[StageRun]:
    """Run the stages in graph order, at most `concurrency` at once; the first failure stops what hasn't begun.

    Errors:
        StageFailed: after one retry where that could help.
    """
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
        print(f"\n== {stage.name}  ({len(finished) + len(running) + 1} of {len(graph)})", flush=True)
        submit = run_stage.with_options(name=stage.name, task_run_name=stage.name).submit
        running[stage.name] = submit(stage.name, project, in_place, f"[{stage.name}] " if concurrency > 1 else "")
    while running:
        collect()
    return finished


@task(persist_result=False)
def mirror(project: Path) -> bool:
    """Mirror the graph into MLflow and register the student, in a process of its own; never fail the training."""
    try:
        status, _ = stream(
            ["flows.mirror"], folder=project, write=Screen(in_place=False).write, timeout_s=MIRROR_TIMEOUT_S
        )
    except TimeoutError:
        status = 1
        print(f"warning: not mirrored into MLflow: no end after {MIRROR_TIMEOUT_S:g} s", flush=True)
    if status:
        print("   the training stands; later: python -m flows.mirror", flush=True)
    return status == 0


@task(persist_result=False)
def publish(project: Path, runs: list[StageRun]) -> None:
    """Put the tables and the pictures on the flow run's page."""
    results = _summary.read_results(project)
    if results.models:
        parts = [_summary.as_markdown(results.cells()), _summary.LEGEND, *results.remarks, _summary.NOTICE]
        create_markdown_artifact("\n\n".join(parts), key="results", description="Test patients")
    times = [{"stage": run.name, "state": run.state, "seconds": round(run.seconds, 1)} for run in runs]
    create_table_artifact(times, key="stage-times", description="Seconds by stage")
    if found := _summary.pictures(project):
        shown = "\n\n".join(_summary.picture_markdown(project, picture) for picture in found)
        create_markdown_artifact(f"{shown}\n\n{_summary.NOTICE}", key="pictures", description="Report pictures")


def train(project: Path, graph: list[Stage], *, concurrency: int) -> list[StageRun]:
    """Run the flow `train` on Prefect's server: the graph, the mirror, the page. Runs left open by a kill are closed.

    Errors:
        StageFailed: a stage failed, also the second time where that could help.
        Interrupted: a signal came; no process of this run is left.
    """
    _close_ghosts()

    runner = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=concurrency))

    @flow(name=FLOW, task_runner=runner, persist_result=False)
    def run() -> list[StageRun]:
        with ended_by_signals():
            runs = run_graph(graph, project=project, concurrency=concurrency)
            print("\n== MLflow", flush=True)
            mirror(project)
            publish(project, runs)
            return runs

    try:
        return run()
    except TerminationSignal:
        raise Interrupted(SIGTERM) from None


def _close_ghosts() -> None:
    """Mark runs of this flow as crashed that a killed process left running: the lock says that none runs now."""
    running = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    )
    with get_client(sync_client=True) as client:
        for ghost in client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])), flow_run_filter=running
        ):
            client.set_flow_run_state(ghost.id, Crashed(message="its process was gone at the next start"), force=True)
