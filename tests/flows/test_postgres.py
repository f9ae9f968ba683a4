"""Prefect and MLflow on a real PostgreSQL server, which these tests start themselves."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pg8000.native
import pytest
from mlflow import MlflowClient

from flows import _mlflow
from flows._server import free_port
from tests.flows import serving

pytestmark = pytest.mark.slow

USER, PASSWORD = "meddet", "gatekeeper"


@dataclass(frozen=True)
class Postgres:
    """A server on the loopback with two empty databases."""

    port: int

    def address(self, driver: str, database: str) -> str:
        return f"postgresql+{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def ask(self, database: str, query: str) -> list[list[object]]:
        place = {"host": "127.0.0.1", "port": self.port, "database": database, "timeout": 60}
        connection = pg8000.native.Connection(USER, password=PASSWORD, **place)
        try:
            return list(connection.run(query) or [])
        finally:
            connection.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL refuses to run as root: then it runs as the user that its package makes."""
    programs = [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("initdb") or "/none").parent]
    found = [folder for folder in programs if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
    if not found:
        pytest.skip("PostgreSQL is not installed (no initdb on the path or in /usr/lib/postgresql)")
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), free_port()
        (folder / "password").write_text(PASSWORD)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        options = ["-A", "scram-sha-256", "--pwfile", "password", "-U", USER, "-E", "UTF8", "--no-sync"]
        subprocess.run(
            [found[-1] / "initdb", "-D", "data", *options], cwd=folder, user=user, check=True, capture_output=True
        )
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(folder), "-p", str(port)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [found[-1] / "postgres", "-D", "data", *settings], cwd=folder, user=user, stdout=log, stderr=log
            )
        try:
            running = Postgres(port)
            serving.wait_until(lambda: answers(running), server)
            for database in ("prefect", "mlflow"):
                running.ask("postgres", f"create database {database}")
            yield running
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def answers(server: Postgres) -> bool:
    with suppress(pg8000.native.InterfaceError, pg8000.native.DatabaseError):
        return server.ask("postgres", "select 1") == [[1]]
    return False


def test_a_scheduled_run_works_on_postgresql(project: Path, postgres: Postgres) -> None:
    serving.plan_every(4, project)
    prefect, mlflow = postgres.address("asyncpg", "prefect"), postgres.address("pg8000", "mlflow")
    places = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect, "MLFLOW_TRACKING_URI": mlflow}
    with serving.serve(project, **places) as served:
        run = served.wait_for_run(lambda run: run["auto_scheduled"] and run["state_type"] == "COMPLETED")
        assert run["id"] in {str(row[0]) for row in postgres.ask("prefect", "select id from flow_run")}
        experiment = MlflowClient(mlflow).get_experiment_by_name(_mlflow.EXPERIMENT)
        assert experiment is not None
        assert experiment.artifact_location == (project / "mlartifacts").as_uri()
        query = {"experiment_ids": [experiment.experiment_id]}
        shown = serving.ask(f"{served.mlflow}/api/2.0/mlflow/runs/search", query)["runs"]
        assert {"first", "mid@resnet50", "last"} <= {one["info"]["run_name"] for one in shown}
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not list(project.rglob("*.db"))
    logs = [path.read_text(errors="replace") for path in (project / ".prefect").glob("*.log")]
    assert PASSWORD not in "\n".join([commands, *served.said(), *logs])


@pytest.fixture(scope="module")
def registry(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Our experiment in the database; other files' fixtures take it from here."""
    address = postgres.address("pg8000", "mlflow")
    client = MlflowClient(address)
    if client.get_experiment_by_name(_mlflow.EXPERIMENT) is None:
        client.create_experiment(_mlflow.EXPERIMENT, tmp_path_factory.mktemp("artifacts").as_uri())
    return address


def test_a_promotion_works_on_postgresql(
    client: MlflowClient,
    register: Callable[[Path, Sequence[Path]], str],
    tiny_bundle: Path,
    tiny_project: Path,
    tmp_path: Path,
) -> None:
    project = Path(shutil.copytree(tiny_project, tmp_path / "project"))
    artifacts = project / "artifacts"
    files = [artifacts / "evaluate" / "detections.json", artifacts / "evaluate" / "evaluate.json"]
    version = register(tiny_bundle, [*files, artifacts / "split.json"])
    assert str(client.get_model_version_by_alias("meddet", "challenger").version) == version
    command = [sys.executable, "-m", "flows.promote"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(client.get_model_version_by_alias("meddet", "champion").version) == version
    assert PASSWORD not in done.stdout + done.stderr
