import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]

DVC_YAML = """\
stages:
  last:
    cmd: python -m toy.last
    deps: [work/mid, toy/last.py]
    metrics:
      - reports/last.json: {cache: false}
  mid:
    matrix:
      name: ${teachers}
    cmd: python -m toy.mid ${item.name}
    deps: [work/first.txt, toy/mid.py]
    params: [split]
    outs:
      - work/mid/${item.name}
    plots:
      - reports/mid/${item.name}.csv: {cache: false}
  first:
    cmd: python -m toy.first
    deps: [data, toy/first.py]
    outs: [work/first.txt]
"""

FIRST = """\
import sys
from pathlib import Path

with Path("attempts.txt").open("a") as file:
    file.write("x")
trouble = Path("trouble.txt").read_text().strip()
if trouble == "crash" or (trouble == "crash once" and len(Path("attempts.txt").read_text()) == 1):
    raise RuntimeError("the disc slipped")
if trouble.isdigit():
    print("error: first: expected calm, got trouble", file=sys.stderr)
    sys.exit(int(trouble))
Path("work").mkdir(exist_ok=True)
Path("work/first.txt").write_text("1")
"""

MID = """\
import os
import signal
import sys
from pathlib import Path

from tqdm import tqdm

name = sys.argv[1]
for _ in tqdm(range(3), desc=name, mininterval=0):
    pass
if os.path.exists("started.fifo"):
    with open("started.fifo", "w") as fifo:
        fifo.write(str(os.getpid()))
    signal.pause()
Path("work/mid").mkdir(parents=True, exist_ok=True)
Path("work/mid", name).write_text(name)
Path("reports/mid").mkdir(parents=True, exist_ok=True)
Path("reports/mid", f"{name}.csv").write_text("step,loss,note\\n0,1.5,a\\n10,0.5,b\\n")
"""

LAST = """\
import json
from pathlib import Path

Path("reports/last.json").write_text(json.dumps({"a": 1.5, "b": "undefined (n=0)", "c": {"d": 2, "e": True}}))
"""


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session", autouse=True)
def environment() -> None:
    """What `set_environment` gives a flow, without its stores: each test names its own."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in (("HTTP_REQUEST_MAX_RETRIES", "2"), ("HTTP_REQUEST_BACKOFF_FACTOR", "1")):
        os.environ[f"MLFLOW_{name}"] = value


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, environment: None) -> Path:  # noqa: ARG001
    """Three toy stages, one of them a matrix, under git and DVC, with the real params.yaml."""
    project = tmp_path_factory.mktemp("template") / "toy project"
    (project / "toy").mkdir(parents=True)
    (project / "data").mkdir()
    (project / "data" / "a.txt").write_text("a")
    (project / "trouble.txt").write_text("")
    shutil.copy(ROOT / "params.yaml", project)
    (project / "dvc.yaml").write_text(DVC_YAML)
    for name, code in (("first", FIRST), ("mid", MID), ("last", LAST)):
        (project / "toy" / f"{name}.py").write_text(code)
    run("git", "init", "-q", ".", folder=project)
    run("git", "config", "user.email", "toy@example.org", folder=project)
    run("git", "config", "user.name", "toy", folder=project)
    run("dvc", "init", "-q", folder=project)
    run("dvc", "config", "core.analytics", "false", folder=project)
    run("dvc", "add", "-q", "data", folder=project)
    run("git", "add", "-A", folder=project)
    run("git", "commit", "-qm", "toy", folder=project)
    return project


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "toy project"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds something in noise; exporting it takes seconds, so it is made once."""
    from tests.flows.tiny_project import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_project(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a graph leaves behind for the promotion, evaluated with `tiny_bundle`; not to be changed."""
    from tests.flows.tiny_project import write_evaluation, write_project

    project = write_project(tmp_path_factory.mktemp("project") / "tiny project", tiny_bundle)
    write_evaluation(project, tiny_bundle, project / "artifacts" / "evaluate")
    return project


@contextmanager
def tracking(address: str) -> "Iterator[MlflowClient]":
    """Name MLflow's database to this process and its children."""
    import mlflow

    before = mlflow.get_tracking_uri()
    os.environ["MLFLOW_TRACKING_URI"] = address
    mlflow.set_tracking_uri(address)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a database of the test file's own, as tests move its names; creating it takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    address = f"sqlite:///{folder}/mlflow.db"
    with tracking(address) as client:
        client.create_experiment("meddet", (folder / "artifacts").as_uri())
    return address


@pytest.fixture(scope="module")
def good(registry: str, tiny_bundle: Path, tiny_project: Path) -> str:
    """Number of the registered `tiny_bundle`."""
    evaluation = [tiny_project / "artifacts" / "evaluate" / name for name in ("detections.json", "evaluate.json")]
    with tracking(registry) as client:
        return _register(client, tiny_bundle, [*evaluation, tiny_project / "artifacts" / "split.json"], tiny_project)


@pytest.fixture
def client(registry: str) -> "Iterator[MlflowClient]":
    with tracking(registry) as client:
        yield client


@pytest.fixture
def register(client: "MlflowClient", tiny_project: Path) -> Callable[[Path, Sequence[Path]], str]:
    """Register a bundle with its evaluation; give the version's number."""
    return lambda made, evaluation: _register(client, made, evaluation, tiny_project)


@pytest.fixture
def clone(client: "MlflowClient", good: str) -> Callable[..., str]:
    """Make another version of what `good` holds, or of a folder like it, undecided, with other tags."""

    def make(source: str | None = None, **tags: str | None) -> str:
        like = client.get_model_version("meddet", good)
        undecided = {tag: value for tag, value in like.tags.items() if not tag.startswith("promotion.")}
        kept = {tag: value for tag, value in {**undecided, **tags}.items() if value is not None}
        made = client.create_model_version("meddet", source or like.source, run_id=like.run_id, tags=kept)
        return str(made.version)

    return make


def _register(client: "MlflowClient", made: Path, evaluation: Sequence[Path], project: Path) -> str:
    from flows import _registry
    from flows._records import Lineage

    experiment = client.get_experiment_by_name("meddet")
    run = client.create_run(experiment.experiment_id)
    lineage = Lineage("0123456789abcdef", False, 1_700_000_000_000, "d41d8.dir", "aa" * 32, "bb" * 32)
    images = [project / "artifacts" / "images" / "1.png"]
    options = {"run_id": run.info.run_id, "code": ROOT / "meddet", "images": images, "tags": lineage.tags()}
    return str(_registry.register(client, made, evaluation=evaluation, **options).version)


@pytest.fixture(scope="session")
def trained_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after `dvc repro`, its results committed."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("trained") / "toy project"))
    run("dvc", "repro", "-q", folder=project)
    with (project / ".gitignore").open("a") as file:
        file.write("/attempts.txt\n/work/\n/.prefect/\n/.mirror/\n/mlflow.db\n/mlartifacts/\n*.fifo\n")
    run("git", "add", "-A", folder=project)
    run("git", "commit", "-qm", "results", folder=project)
    return project


@pytest.fixture
def trained(trained_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_template, tmp_path / "toy project", symlinks=True))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, environment: None) -> str:  # noqa: ARG001
    """The address of one Prefect server for all tests that can share it."""
    from flows import _server

    folder = tmp_path_factory.mktemp("server")
    before = {name: os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_HOME"] = str(folder / ".prefect")
    _server.start_server(folder)()
    address = os.environ.pop("PREFECT_API_URL")
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return address
