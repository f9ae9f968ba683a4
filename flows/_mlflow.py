"""The view for people: a graph's numbers as MLflow runs, rebuilt at will.

One run for the graph, one child for each stage, each found by its key: mirroring again changes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from flows._records import Lineage, Record

EXPERIMENT = "meddet"
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
_UNNAMEABLE = re.compile(r"[^\w\-. :/]")


def mirror(
    client: MlflowClient, records: Sequence[Record], lineage: Lineage, headline: Mapping[str, float], *, artifacts: Path
) -> dict[str, str]:
    """Write one run for the graph and one for each stage; a run that is there already stays one, with one point.

    Args:
        client: of the tracking server or database.
        records: the stages.
        lineage: becomes the tags of every run.
        headline: numbers shown at the graph's own run.
        artifacts: folder of the pictures and models where the client writes to a database on this machine.

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
        return str(found.experiment_id)
    is_local = str(client.tracking_uri).startswith("sqlite:")
    return str(client.create_experiment(EXPERIMENT, artifacts.as_uri() if is_local else None))


def _write(client: MlflowClient, experiment: str, record: Record, lineage: Lineage, tags: dict[str, str]) -> str:
    run = _find(client, experiment, record.key) or client.create_run(
        experiment,
        run_name=record.name,
        start_time=lineage.time_ms,
        tags={"pipeline.key": record.key, **lineage.tags(), **tags},
    )
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
    for picture in record.pictures:
        client.log_artifact(run.info.run_id, str(picture))
    client.set_terminated(run.info.run_id, end_time=time_ms)
    return str(run.info.run_id)


def _find(client: MlflowClient, experiment: str, key: str) -> Run | None:
    runs = client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'", max_results=1)
    return runs[0] if runs else None


def _name(key: str) -> str:
    return _UNNAMEABLE.sub("_", key)
