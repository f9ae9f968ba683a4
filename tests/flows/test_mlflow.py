import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from flows import _mlflow
from flows._records import Lineage, Record

LINEAGE = Lineage("0123456789abcdef", False, 1_700_000_000_000, "d41d8.dir", "aa" * 32, "bb" * 32)
RECORDS = [
    Record("package", "package-1", {"detect.nms_iou": "0.6"}, {"AP50:95": 0.5, "recall@.5": 1.0}, {}, ()),
    Record("pretrain@resnet50", "pretrain-1", {}, {}, {"loss": [(step, 1 / (step + 1)) for step in range(1500)]}, ()),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """One database for the file: creating it takes seconds. The address is in the environment for children, too."""
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = address
    mlflow.set_tracking_uri(address)
    yield MlflowClient()
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def runs(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    headline = {"student.disc_AUC": 0.7}
    return _mlflow.mirror(client, RECORDS, LINEAGE, headline, artifacts=tmp_path_factory.mktemp("artifacts"))


def test_mirroring_twice_leaves_one_run_and_one_point(
    client: MlflowClient, runs: dict[str, str], tmp_path: Path
) -> None:
    later = Lineage("fedcba", True, 1_800_000_000_000, "d41d8.dir", "aa" * 32, "bb" * 32)
    assert _mlflow.mirror(client, RECORDS, later, {}, artifacts=tmp_path) == runs
    package = client.get_run(runs["package"])
    assert package.data.metrics == {"AP50:95": 0.5, "recall_.5": 1.0}
    assert package.data.params == {"detect.nms_iou": "0.6"}
    assert package.data.tags["git.revision"] == LINEAGE.revision
    assert package.info.status == "FINISHED"
    assert len(client.get_metric_history(runs["package"], "AP50:95")) == 1
    assert len(client.get_metric_history(runs["pretrain@resnet50"], "loss")) == 1500
    parent = client.get_run(package.data.tags["mlflow.parentRunId"])
    assert parent.data.metrics == {"student.disc_AUC": 0.7}
