"""The view for people: a graph's numbers as MLflow runs, rebuilt at will.

One run for the graph, one child for each stage, each found by its key: mirroring again changes nothing. A training
that ended badly is a run of its own.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, Run
from mlflow.exceptions import MlflowException

from flows import _graph_entry, _registry
from flows._records import Lineage, Record
from flows._spool import Entry, process_start
from flows._tags import CHALLENGER

EXPERIMENT = "meddet"
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
_UNNAMEABLE = re.compile(r"[^\w\-. :/]")
_PASSWORD = re.compile(r"//[^/@]*@")
_REFUSALS = {"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"}
_OWNER = "mirror.process"
_LONGEST_MIRROR_MS = 24 * 3600 * 1000
_REGISTRATION = "registration"


class Refused(Exception):  # noqa: N818 - an outcome that is announced, not a defect
    """MLflow answers, and will never have this entry."""


def send(client: MlflowClient, entry: Entry, *, artifacts: Path) -> list[str]:
    """Bring all of an entry into MLflow; what is there already stays. Return what to say of it.

    Args:
        client: of the tracking server or database.
        entry: of the spool.
        artifacts: folder of the pictures, pages and models where the client writes to a database on this machine.

    Errors:
        Refused: this entry doesn't get in, now or later.
        ValueError: it can't be read, or its model isn't what it should be; MLflow's run says so.
    """
    with _telling_refusals():
        if entry.kind == "attempt":
            return [_send_attempt(client, entry, artifacts)]
        graph = _graph_entry.read_graph(entry)
        runs = mirror(client, graph.records, graph.lineage, graph.headline, artifacts=artifacts)
        place = _PASSWORD.sub("//", str(client.tracking_uri))
        said = [f"mirrored {len(runs)} stages into {place}, experiment {EXPERIMENT}"]
        return said if graph.bundle is None else [*said, _register(client, graph, graph.bundle, runs["package"])]


@contextmanager
def _telling_refusals() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code in _REFUSALS:
            raise Refused(error.message) from None
        raise


def _register(client: MlflowClient, graph: _graph_entry.Graph, bundle: Path, run_id: str) -> str:
    try:
        version = _registry.register(
            client,
            bundle,
            evaluation=graph.evaluation,
            run_id=run_id,
            code=graph.code,
            images=graph.images,
            tags={**graph.lineage.tags(), **graph.student_tags},
        )
    except ValueError as error:
        client.set_tag(run_id, _REGISTRATION, f"failed: {error}")
        raise
    client.set_tag(run_id, _REGISTRATION, _registry.address(version))
    return f"registered {_registry.address(version)}, alias {CHALLENGER}"


def _send_attempt(client: MlflowClient, entry: Entry, artifacts: Path) -> str:
    content, experiment = entry.content, _experiment(client, artifacts)
    try:
        status, reason = str(content["status"]), str(content["reason"])
        start_ms, end_ms = int(content["start_ms"]), int(content["end_ms"])
        told = {name: str(content[name]) for name in ("stage", "message") if content[name]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{entry.folder}: expected an attempt, got {error!r}") from None
    tags = {"pipeline.key": entry.key, "use": "research use only", _OWNER: _owner(), **told}
    run = _find(client, experiment, entry.key) or client.create_run(
        experiment, run_name=reason, start_time=start_ms, tags=tags
    )
    client.set_terminated(run.info.run_id, status=status, end_time=end_ms)
    return f"mirrored an attempt ({reason}): {status}"


def end_ghosts(client: MlflowClient, *, artifacts: Path) -> int:
    """Mark runs as KILLED that MLflow shows RUNNING and no living mirror owns; return how many.

    Whether a process of another host lives can't be seen from here: its runs are left to its own mirror for a day.
    """
    running = client.search_runs([_experiment(client, artifacts)], "attributes.status = 'RUNNING'")
    ghosts = [run for run in running if not _is_owned(run.data.tags.get(_OWNER, ""))]
    for run in ghosts:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(ghosts)


def _owner() -> str:
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())} {time.time_ns() // 1_000_000}"


def _is_owned(owner: str) -> bool:
    try:
        host, pid, start, since_ms = owner.split()
        if host != socket.gethostname():
            return time.time_ns() // 1_000_000 - int(since_ms) < _LONGEST_MIRROR_MS
        return process_start(int(pid)) == start
    except ValueError:
        return False


def mirror(
    client: MlflowClient, records: Sequence[Record], lineage: Lineage, headline: Mapping[str, float], *, artifacts: Path
) -> dict[str, str]:
    """Write one run for the graph and one for each stage; a run that is there already stays one, with one point.

    Args:
        client: of the tracking server or database.
        records: the stages.
        lineage: becomes the tags of every run.
        headline: numbers shown at the graph's own run.
        artifacts: folder of the pictures, pages and models where the client writes to a database on this machine.

    Returns:
        run id by stage name.
    """
    experiment = _experiment(client, artifacts)
    whole = Record("train", lineage.key, {}, dict(headline), {}, ())
    parent = _write(client, experiment, whole, lineage, {})
    return {
        record.name: _write(client, experiment, record, lineage, {"mlflow.parentRunId": parent}) for record in records
    }


def _experiment(client: MlflowClient, artifacts: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        if found.lifecycle_stage == LifecycleStage.DELETED:
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    is_database = not str(client.tracking_uri).startswith(("http:", "https:"))
    return str(client.create_experiment(EXPERIMENT, artifacts.as_uri() if is_database else None))


def _write(client: MlflowClient, experiment: str, record: Record, lineage: Lineage, tags: dict[str, str]) -> str:
    run = _find(client, experiment, record.key) or client.create_run(
        experiment,
        run_name=record.name,
        start_time=lineage.time_ms,
        tags={"pipeline.key": record.key, **lineage.tags(), **tags},
    )
    client.set_tag(run.info.run_id, _OWNER, _owner())
    # The first writer's time: MLflow takes a point with another time for another point.
    time_ms = int(run.info.start_time)
    points = [Metric(_name(key), value, time_ms, 0) for key, value in record.metrics.items()]
    points += [
        Metric(_name(key), value, time_ms, step) for key, curve in record.curves.items() for step, value in curve
    ]
    for first in range(0, len(points), _METRICS_AT_ONCE):
        client.log_batch(run.info.run_id, metrics=points[first : first + _METRICS_AT_ONCE])
    params = [Param(_name(key), value) for key, value in record.params.items()]
    for first in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=params[first : first + _PARAMS_AT_ONCE])
    for path in record.shown:
        client.log_artifact(run.info.run_id, str(path))
    client.set_terminated(run.info.run_id, end_time=time_ms)
    return str(run.info.run_id)


def _find(client: MlflowClient, experiment: str, key: str) -> Run | None:
    runs = client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'", max_results=1)
    return runs[0] if runs else None


def _name(key: str) -> str:
    return _UNNAMEABLE.sub("_", key)
