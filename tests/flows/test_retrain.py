import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import _summary
from flows._ledger import read_ledger
from meddet.files import read_json
from tests.flows import serving

# A worker that takes one run of the deployment that it makes, and ends.
WORKER = """\
import asyncio
import sys

from flows._environment import set_environment
from pathlib import Path

project = Path(sys.argv[1])
set_environment(project)

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments import run_deployment
from prefect.workers.process import ProcessWorker

from flows.retrain import retrain

template = ProcessWorker.get_default_base_job_template()
with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name="cancelled", type="process", base_job_template=template))
    client.create_deployment(
        client.create_flow(retrain), "toy", work_pool_name="cancelled", entrypoint="flows.retrain.retrain",
        job_variables={"working_dir": str(project), "command": sys.executable + " -m flows._engine"},
        parameters={"promote": False}, enforce_parameter_schema=False,
    )
run_deployment("retrain/toy", timeout=0)
asyncio.run(ProcessWorker("cancelled").start(run_once=True))
"""
COMMAND = [sys.executable, "-m", "flows.retrain", "--no-promote"]


def git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def environment_of(server: str) -> dict[str, str]:
    return {**os.environ, "PREFECT_API_URL": server}


@pytest.fixture
def retrain(project: Path, environment_of: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*options: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *options]
        return subprocess.run(
            command, cwd=project, env=environment_of, capture_output=True, text=True, timeout=300, check=False
        )

    with (project / ".gitignore").open("a") as file:
        file.write("/attempts.txt\n/work/\n/.prefect/\n/.mirror/\n/mlflow.db\n/mlartifacts/\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "ignored")
    return call


def ask(server: str, what: str, **query: Any) -> list[dict[str, Any]]:
    return list(serving.ask(f"{server}/{what}/filter", query))


def runs_of(server: str, project: Path) -> list[dict[str, Any]]:
    """The flow runs in this project, the latest first."""
    return [
        run
        for run in ask(server, "flow_runs", sort="START_TIME_DESC")
        if any(tag.endswith(f":{project}") for tag in run["tags"])
    ]


def test_a_retraining_ends_on_a_branch_and_the_next_one_says_that_nothing_has_changed(
    project: Path, retrain: Callable[..., subprocess.CompletedProcess[str]], server: str, tmp_path: Path
) -> None:
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store")], cwd=project, check=True)
    dirty = retrain()
    assert dirty.returncode == 1
    assert "got changes in .dvc/config; commit them first" in dirty.stderr
    git(project, "commit", "-qam", "a remote")
    head = git(project, "rev-parse", "HEAD")

    first = retrain("--reason", "schedule")
    assert first.returncode == 0, first.stderr
    assert _summary.NOTICE in first.stdout
    ledger = read_ledger(project)
    assert (ledger.mirrored, ledger.pushed) == (True, True)
    assert f"results on branch {ledger.committed}" in first.stdout
    assert git(project, "rev-parse", "HEAD") == head
    assert git(project, "show", f"{ledger.committed}:dvc.lock") == (project / "dvc.lock").read_text().strip()
    assert git(project, "show", "-s", "--format=%s", ledger.committed).startswith("Retrain (schedule): retrained")
    assert any((tmp_path / "store").rglob("*"))
    (run, *_) = runs_of(server, project)
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"]["reason"] == "schedule"
    logs = ask(server, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    assert any("mirrored 5 stages" in line["message"] for line in logs)
    artifacts = ask(server, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    assert {artifact["key"] for artifact in artifacts} >= {"stage-times"}

    attempts = (project / "attempts.txt").read_text()
    second = retrain()
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("unchanged: data, code and parameters are those of the last retraining (retrain/")
    assert (project / "attempts.txt").read_text() == attempts
    assert len(runs_of(server, project)) == 2, "a run was made for nothing"

    (project / "data" / "b.txt").write_text("new")
    refused = retrain()
    assert refused.returncode == 1
    assert "data/: differs from what data.dvc pins" in refused.stderr
    accepted = retrain("--accept-data", "--no-push")
    assert accepted.returncode == 0, accepted.stderr
    newer = read_ledger(project).committed
    assert newer != ledger.committed
    changed = git(project, "diff", "--name-only", ledger.committed, newer).splitlines()
    assert changed == ["data.dvc", "dvc.lock"]
    assert git(project, "status", "--porcelain", "--untracked-files=no") == "M data.dvc"


def test_fault_12_and_14_a_second_one_is_refused_and_a_killed_one_leaves_no_stage_and_no_ghost(
    project: Path, retrain: Callable[..., subprocess.CompletedProcess[str]], server: str, environment_of: dict[str, str]
) -> None:
    os.mkfifo(project / "started.fifo")
    running = subprocess.Popen(COMMAND, cwd=project, env=environment_of, stdout=subprocess.DEVNULL)
    stage = os.pidfd_open(int((project / "started.fifo").read_text()))
    refused = retrain()
    assert refused.returncode == 1
    assert f"another training (process {running.pid}) runs in this project" in refused.stderr
    running.kill()
    running.wait()
    assert select.select([stage], [], [], 20)[0], "the stage is still there"
    (ghost,) = runs_of(server, project)
    assert ghost["state"]["type"] == "RUNNING", "nobody could have told the server"
    tasks = {"flow_runs": {"id": {"any_": [ghost["id"]]}}}
    assert "RUNNING" in {task["state"]["type"] for task in ask(server, "task_runs", **tasks)}

    (project / "started.fifo").unlink()
    after = retrain()
    assert after.returncode == 0, after.stderr
    states = {run["id"]: run["state"] for run in runs_of(server, project)}
    assert states[ghost["id"]]["type"] == "CRASHED"
    assert states[ghost["id"]]["message"] == "its process was gone at the next start"
    assert not {"RUNNING", "PENDING"} & {task["state"]["type"] for task in ask(server, "task_runs", **tasks)}


def test_a_run_of_a_worker_that_is_cancelled_in_prefect_ends_its_stage_and_is_cancelled(
    project: Path, retrain: Callable[..., subprocess.CompletedProcess[str]], server: str, environment_of: dict[str, str]
) -> None:
    assert retrain is not None
    os.mkfifo(project / "started.fifo")
    with subprocess.Popen([sys.executable, "-c", WORKER, str(project)], cwd=project, env=environment_of) as worker:
        stage = os.pidfd_open(int((project / "started.fifo").read_text()))
        (run,) = runs_of(server, project)
        serving.ask(f"{server}/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
        assert select.select([stage], [], [], 120)[0], "the stage is still there"
        assert worker.wait(120) == 0
    (run,) = runs_of(server, project)
    assert run["state"]["type"] == "CANCELLED"


def test_sigterm_ends_the_stage_and_the_flow_with_143_and_prefect_knows(
    project: Path, retrain: Callable[..., subprocess.CompletedProcess[str]], server: str, environment_of: dict[str, str]
) -> None:
    assert retrain is not None
    os.mkfifo(project / "started.fifo")
    running = subprocess.Popen(
        COMMAND, cwd=project, env=environment_of, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    stage = os.pidfd_open(int((project / "started.fifo").read_text()))
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert select.select([stage], [], [], 0)[0], "the stage is still there"
    assert "Traceback" not in said
    assert "ended by SIGTERM; finished stages are kept" in said
    (run,) = runs_of(server, project)
    assert run["state"]["type"] == "CRASHED"
    (entry,) = (project / ".mirror").glob("attempt-*/entry.json")
    assert read_json(entry)["content"]["status"] == "KILLED"
