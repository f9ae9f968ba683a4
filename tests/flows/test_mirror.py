"""`python -m flows.mirror` on a finished toy graph, and what becomes of it while MLflow has trouble."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows import _mlflow, _spool, mirror
from flows._graph_entry import write_graph
from flows._lock import exclusive

STAGES = ["first", "mid@resnet50", "mid@resnet101", "mid@resnet152", "last"]

Mirror = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def finished(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy graph, run; with an empty database of MLflow's, since creating one takes seconds."""
    folder = tmp_path_factory.mktemp("finished") / "toy"
    subprocess.run(["cp", "-r", str(template), str(folder)], check=True)
    subprocess.run(["dvc", "repro", "-q"], cwd=folder, check=True)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder


@pytest.fixture
def toy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, in whose folder the test runs."""
    folder = Path(shutil.copytree(finished, tmp_path / "toy"))
    monkeypatch.chdir(folder)
    before, address = os.environ.copy(), mlflow.get_tracking_uri()
    os.environ["MLFLOW_TRACKING_URI"] = database(folder)
    yield folder
    mlflow.set_tracking_uri(address)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run_mirror(capsys: pytest.CaptureFixture[str]) -> Mirror:
    """Mirror into an address, in this process; give the exit code and what was said."""

    def run(address: str, *arguments: str) -> tuple[int, str]:
        mlflow.set_tracking_uri(address)
        code = mirror.main(list(arguments))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def database(project: Path) -> str:
    return f"sqlite:///{project}/mlflow.db"


def waiting(project: Path) -> list[str]:
    return [entry.key for entry in _spool.read_entries(project)]


def runs(project: Path) -> dict[str, Run]:
    client = MlflowClient(database(project))
    found = client.get_experiment_by_name(_mlflow.EXPERIMENT)
    return {} if found is None else {str(run.info.run_name): run for run in client.search_runs([found.experiment_id])}


def one_warning(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert "Traceback" not in said
    return line


def test_the_graph_goes_through_the_spool_into_mlflow(toy: Path, run_mirror: Mirror) -> None:
    code, said = run_mirror(database(toy))
    assert code == 0, said
    assert f"mirrored 5 stages into {database(toy)}, experiment meddet" in said
    assert waiting(toy) == []
    found = runs(toy)
    assert found["last"].data.metrics == {"a": 1.5, "c.d": 2.0}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert len(found) == 6
    assert run_mirror(database(toy))[0] == 0
    assert {name: run.info.run_id for name, run in runs(toy).items()} == {n: r.info.run_id for n, r in found.items()}


def kept_then_replayed(toy: Path, run_mirror: Mirror, address: str) -> str:
    """MLflow has trouble, then none; the graph is no longer there by then, only the spool."""
    code, said = run_mirror(address)
    assert code == 1
    line = one_warning(said)
    assert "kept in" in line
    assert len(waiting(toy)) == 1
    (toy / "dvc.lock").unlink()
    return line


def replayed(toy: Path, run_mirror: Mirror) -> None:
    code, said = run_mirror(database(toy), "--spooled")
    assert code == 0, said
    assert waiting(toy) == []
    assert runs(toy)["last"].data.metrics == {"a": 1.5, "c.d": 2.0}
    assert {run.info.status for run in runs(toy).values()} == {"FINISHED"}


def test_fault_13_a_server_that_refuses(toy: Path, run_mirror: Mirror) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        kept_then_replayed(toy, run_mirror, f"http://127.0.0.1:{free.getsockname()[1]}")
    replayed(toy, run_mirror)


def test_fault_13_a_server_that_never_answers(toy: Path, run_mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept_then_replayed(toy, run_mirror, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - start < 30
    replayed(toy, run_mirror)


def test_fault_13_a_database_that_another_locks(toy: Path, run_mirror: Mirror) -> None:
    other = sqlite3.connect(toy / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    line = kept_then_replayed(toy, run_mirror, database(toy))
    assert "locked" in line
    other.execute("ROLLBACK")
    other.close()
    replayed(toy, run_mirror)


def test_fault_13_a_database_that_is_read_only(toy: Path, run_mirror: Mirror) -> None:
    line = kept_then_replayed(toy, run_mirror, f"sqlite:///file:{toy}/mlflow.db?mode=ro&uri=true")
    assert "readonly" in line
    replayed(toy, run_mirror)


def test_fault_13_mlflow_goes_away_half_way(toy: Path, run_mirror: Mirror) -> None:
    """Its database still makes runs, but takes no numbers."""
    with sqlite3.connect(toy / "mlflow.db") as database_file:
        database_file.execute("ALTER TABLE metrics RENAME TO gone")
    kept_then_replayed(toy, run_mirror, database(toy))
    assert "RUNNING" in {run.info.status for run in runs(toy).values()}
    with sqlite3.connect(toy / "mlflow.db") as database_file:
        database_file.executescript("DROP TABLE IF EXISTS metrics; ALTER TABLE gone RENAME TO metrics")
    replayed(toy, run_mirror)


@pytest.mark.parametrize("blocks", [8, 400])
def test_fault_05_a_disk_that_is_full_while_mirroring(toy: Path, run_mirror: Mirror, blocks: int) -> None:
    """No file may grow beyond 8 or 400 KiB: not even the entry is written, or not what MLflow writes."""
    before = {path: path.read_bytes() for path in [toy / "dvc.lock", *(toy / "reports").rglob("*.*")]}
    command = f"ulimit -f {blocks}; exec {sys.executable} -m flows.mirror"
    done = subprocess.run(["bash", "-c", command], cwd=toy, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 1 <= done.stderr.count("warning: not mirrored into MLflow: ") <= 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(waiting(toy)) == (blocks > 100)
    assert {path: path.read_bytes() for path in before} == before
    assert run_mirror(database(toy))[0] == 0
    replayed(toy, run_mirror)


def test_what_was_missed_is_replayed_in_order_and_before_the_next(toy: Path, run_mirror: Mirror) -> None:
    attempt = _spool.begin(toy, "schedule")
    attempt.finish("KILLED", "mid@resnet50", "ended by SIGTERM")
    write_graph(toy, STAGES)
    code, said = run_mirror(database(toy), "--spooled")
    assert code == 0
    assert said.index("an attempt (schedule): KILLED") < said.index("mirrored 5 stages")
    run = runs(toy)["schedule"]
    assert run.info.status == "KILLED"
    assert run.info.start_time == attempt.start_ms
    assert run.data.tags.items() >= {"stage": "mid@resnet50", "message": "ended by SIGTERM"}.items()


def test_an_attempt_is_one_run_however_often_it_is_sent(toy: Path) -> None:
    attempt = _spool.begin(toy, "drift")
    attempt.finish("FAILED", "first", "no")
    (entry,) = _spool.read_entries(toy)
    client = MlflowClient(database(toy))
    for _ in range(2):
        _mlflow.send(client, entry, artifacts=toy / "mlartifacts")
    (experiment,) = client.search_experiments(filter_string="name = 'meddet'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_fault_14_a_killed_mirror_leaves_no_running_run_after_the_next(toy: Path, run_mirror: Mirror) -> None:
    """It dies with its first run just made; runs that a living process owns, or may own elsewhere, are left alone."""
    code = (
        "import os, mlflow\nfrom flows import _mlflow, mirror\n"
        "mlflow.MlflowClient.set_terminated = lambda *_, **__: os.kill(os.getpid(), 9)\nmirror.main([])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=toy, capture_output=True, check=False).returncode == -9
    client = MlflowClient(database(toy))
    (experiment,) = client.search_experiments(filter_string="name = 'meddet'")
    owner = _mlflow._owner()
    tags = {
        "of nobody": {},
        "alive": {_mlflow._OWNER: owner},
        "elsewhere": {_mlflow._OWNER: f"other-host 1 x {time.time_ns() // 1_000_000}"},
        "elsewhere, long ago": {_mlflow._OWNER: "other-host 1 x 1700000000000"},
        "reused": {_mlflow._OWNER: owner.replace(owner.split()[2], "earlier")},
    }
    for name, tag in tags.items():
        client.create_run(experiment.experiment_id, run_name=name, tags=tag)
    (toy / "dvc.lock").unlink()
    for key in waiting(toy):
        shutil.rmtree(toy / ".mirror" / key)
    assert runs(toy)["train"].info.status == "RUNNING"
    assert run_mirror(database(toy), "--spooled")[0] == 0
    states = {name: run.info.status for name, run in runs(toy).items()}
    assert states == {
        "train": "KILLED",
        "of nobody": "KILLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "elsewhere, long ago": "KILLED",
        "reused": "KILLED",
    }


def test_a_second_mirror_says_that_one_is_at_work(toy: Path, run_mirror: Mirror) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom flows._lock import exclusive\n"
    code += "with exclusive(Path('.mirror/mirror.lock')):\n    print('held', flush=True)\n    sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    code, said = run_mirror(database(toy))
    assert code == 1
    assert "another mirror is at work" in one_warning(said)
    assert str(holder.pid) in said
    assert waiting(toy) == []
    holder.communicate()
    assert run_mirror(database(toy))[0] == 0


def with_a_model(toy: Path) -> None:
    """Stages that have the names of those which make a model, and a bundle that is none."""
    lock = toy / "dvc.lock"
    lock.write_text(lock.read_text().replace("  first:", "  package:").replace("  last:", "  evaluate:"))
    pipeline = toy / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("  first:", "  package:").replace("  last:", "  evaluate:"))
    for name in ("bundle/manifest.json", "split.json", "evaluate/detections.json", "images/1.png"):
        (toy / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
        (toy / "artifacts" / name).write_text("{}")
    (toy / "reports/evaluate.json").write_text("{}")
    (toy / "meddet").mkdir()


def test_a_model_that_is_none_is_told_kept_and_does_not_block_later_entries(toy: Path, run_mirror: Mirror) -> None:
    with_a_model(toy)
    write_graph(toy, ["package", "mid@resnet50", "evaluate"])
    _spool.begin(toy, "schedule").finish("FAILED", "distill", "later")
    code, said = run_mirror(database(toy), "--spooled")
    assert code == 1
    assert "manifest.json: expected the keys files" in one_warning(said)
    (key,) = waiting(toy)
    found = runs(toy)
    assert found["schedule"].info.status == "FAILED"
    assert "manifest.json: expected the keys files" in found["package"].data.tags["registration"]
    code, said = run_mirror(database(toy), "--spooled")
    assert code == 0
    assert "manifest.json: expected the keys files" in one_warning(said)
    assert waiting(toy) == [key]


def test_a_deleted_experiment_comes_back(toy: Path, run_mirror: Mirror) -> None:
    assert run_mirror(database(toy))[0] == 0
    client = MlflowClient(database(toy))
    (experiment,) = client.search_experiments(filter_string="name = 'meddet'")
    client.delete_experiment(experiment.experiment_id)
    assert run_mirror(database(toy))[0] == 0
    assert len(runs(toy)) >= 6


def test_no_finished_graph_is_one_line_and_the_rest_is_sent(toy: Path, run_mirror: Mirror) -> None:
    (toy / "dvc.lock").unlink()
    _spool.begin(toy, "manual").finish("FAILED", "first", "no")
    code, said = run_mirror(database(toy))
    assert code == 1
    assert "dvc.lock: expected the record of a finished graph" in one_warning(said)
    assert list(runs(toy)) == ["manual"]
    with exclusive(toy / ".mirror" / "mirror.lock"):
        pass


def test_a_password_is_not_shown(toy: Path) -> None:
    assert _mlflow._PASSWORD.sub("//", "postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
    assert _mlflow._PASSWORD.sub("//", database(toy)) == database(toy)
