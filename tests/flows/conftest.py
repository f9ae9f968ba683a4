import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
