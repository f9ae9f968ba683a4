"""Two workers in two clones, two pools, one remote folder: a real server, real workers, the toy project."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows._processes import end
from flows._server import api_url, free_port, start_prefect, wait_for
from tests.flows.serving import PATIENCE_S, ask, wait_until

TEACHERS = ("mid@resnet50", "mid@resnet101", "mid@resnet152")
QUIET = {"PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_DATABASE_TIMEOUT": "60"}
COORDINATOR = """\
import json, sys
from pathlib import Path
from flows._environment import set_environment
set_environment(Path.cwd())
from prefect import flow
from flows import _dvc, _flow
from flows._pools import on_pools

@flow(name="train", persist_result=False)
def run(pools, names):
    graph = [stage for stage in _dvc.stages(Path.cwd()) if stage.name in names or not names]
    with _flow.terminable():
        runs = _flow.run_graph(
            graph, project=Path.cwd(), concurrency=len(pools), reproduce=on_pools(pools, Path.cwd())
        )
    print(json.dumps({run.name: run.state for run in runs}))

try:
    run(sys.argv[1].split(","), sys.argv[2:])
except _dvc.StageFailed as failure:
    print(json.dumps([failure.code, str(failure)]))
"""
DEPLOY = """\
import sys
from pathlib import Path
from flows._environment import set_environment
set_environment(Path.cwd())
from flows.stage import deploy
for pool, clone in zip(sys.argv[1::2], sys.argv[2::2]):
    deploy(Path(clone), pool)
"""


@dataclass(frozen=True)
class Machines:
    """The coordinator's project, a clone and a worker for each pool, and the environment that they share."""

    home: Path
    clones: dict[str, Path]
    workers: dict[str, subprocess.Popen[bytes]]
    environment: dict[str, str]

    def start(self, pools: str, *names: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COORDINATOR, pools, *names]
        return subprocess.Popen(command, cwd=self.home, env=self.environment, stdout=subprocess.PIPE, text=True)

    def run(self, pools: str, *names: str) -> tuple[Any, str]:
        return finish(self.start(pools, *names))

    def change_teachers(self, code: str) -> None:
        """Commit other code of the teachers: the next run trains them anew."""
        (self.home / "toy" / "mid.py").write_text(code)
        run("git", "commit", "-qam", "other teachers", folder=self.home)

    def beats_until_it_has_a_run(self, pool: str) -> bool:
        """Be the pool's worker for one more heartbeat, unless it has a run; a server under load may say 503."""
        address = f"{self.environment['PREFECT_API_URL']}/work_pools/{pool}/workers/heartbeat"
        beat = json.dumps({"name": "gone", "heartbeat_interval_seconds": 1}).encode()
        request = urllib.request.Request(address, beat, {"Content-Type": "application/json"})
        try:
            if self.flow_runs(pool):
                return True
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
        except urllib.error.HTTPError:
            return False
        return False

    def flow_runs(self, pool: str) -> list[dict[str, Any]]:
        wanted = {"work_pools": {"name": {"any_": [pool]}}, "sort": "START_TIME_ASC"}
        return list(ask(f"{self.environment['PREFECT_API_URL']}/flow_runs/filter", wanted))


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def finish(process: subprocess.Popen[str]) -> tuple[Any, str]:
    try:
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, said
    return json.loads(said.splitlines()[-1]), said


@pytest.fixture(scope="module")
def machines(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    home = Path(shutil.copytree(template, folder / "toy home"))
    graph = (home / "dvc.yaml").read_text()
    (home / "dvc.yaml").write_text(
        graph.replace("    params: [split]\n", "    params: [split]\n    meta: {pool: true}\n")
    )
    run("dvc", "remote", "add", "-q", "-d", "shared", str(folder / "remote"), folder=home)
    run("git", "commit", "-qam", "remote", folder=home)
    clones = {pool: folder / f"clone {pool}" for pool in ("a", "b", "ghost")}
    for clone in clones.values():
        run("git", "clone", "-q", str(home), str(clone), folder=folder)
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment = {**kept, "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_API_URL": api_url(port)}
    server = start_prefect(home, port, environment={"PREFECT_HOME": str(folder / "server"), **QUIET})
    started: list[subprocess.Popen[bytes]] = []

    def work(pool: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.stage", "--work", "--pool", pool]
        with (folder / f"{pool}.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=clones[pool], env=environment, stdout=log, stderr=log))
        return started[-1]

    try:
        wait_for(server, f"{api_url(port)}/health")
        given = [argument for pool, clone in clones.items() for argument in (pool, str(clone))]
        subprocess.run([sys.executable, "-c", DEPLOY, *given], cwd=home, env=environment, check=True)
        yield Machines(home, clones, {pool: work(pool) for pool in ("a", "b")}, environment)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)
        end(server.process)


def test_each_worker_trains_some_teachers_and_the_results_come_home(machines: Machines) -> None:
    states, said = machines.run("a,b")
    assert states == dict.fromkeys(["first", *TEACHERS, "last"], "ran")
    made = {pool: {path.name for path in (machines.clones[pool] / "work" / "mid").glob("res*")} for pool in ("a", "b")}
    assert made["a"] and made["b"] and not made["a"] & made["b"]
    assert made["a"] | made["b"] == {"resnet50", "resnet101", "resnet152"}
    for name in made["a"] | made["b"]:
        assert (machines.home / "work" / "mid" / name).read_text() == name
        assert (machines.home / "reports" / "mid" / f"{name}.csv").is_file()
        assert re.search(rf"\[mid@{name}\] {name}: +100%", said), "the worker's lines are shown"
    assert not any((clone / "data").exists() for clone in machines.clones.values()), "data travelled, nobody reads it"
    assert json.loads(run("dvc", "status", "--json", folder=machines.home)) == {}
    (machines.home / "work" / "mid" / "resnet50").unlink()
    shutil.rmtree(machines.home / ".dvc" / "cache" / "files" / "md5" / "33")
    states, said = machines.run("a,b", *TEACHERS)
    assert states == {**dict.fromkeys(TEACHERS, "unchanged"), TEACHERS[0]: "restored"}
    assert "on pool" not in said


def test_a_silent_worker_loses_its_stage_a_persons_clone_is_left_out_and_a_final_code_is_not_tried_again(
    machines: Machines,
) -> None:
    changed = machines.clones["a"] / "toy" / "first.py"
    code = changed.read_text()
    changed.write_text(code + "# mine\n")
    machines.change_teachers("import sys\nprint('error: mid: expected calm')\nsys.exit(3)\n")
    running = machines.start("ghost,a,b", TEACHERS[0])
    wait_until(lambda: machines.beats_until_it_has_a_run("ghost"), running)
    (final, line), said = finish(running)
    assert (final, line) == (3, f"stage {TEACHERS[0]}: mid: expected calm (exit code 3)")
    assert "pool ghost: its worker or the run's process died; the stage goes to another" in said
    refusal = f"{machines.clones['a']}: expected a worker's clean clone, got changes of toy/first.py"
    assert f"pool a is left out: {refusal}" in said
    assert changed.read_text() == code + "# mine\n"
    changed.write_text(code)
    assert [found["state"]["type"] for found in machines.flow_runs("ghost")] == ["CRASHED"]
    assert said.count("on pool b") == 1


def test_a_worker_killed_in_mid_teacher_leaves_no_process_and_the_other_finishes_the_work(
    machines: Machines, template: Path
) -> None:
    machines.change_teachers((template / "toy" / "mid.py").read_text() + "# changed\n")
    fifo = machines.clones["a"] / "started.fifo"
    os.mkfifo(fifo)
    running = machines.start("a,b", *TEACHERS[:2])
    stage = int(fifo.read_text())
    fifo.unlink()
    family = {pid: os.pidfd_open(pid) for pid in descendants(machines.workers["a"].pid)}
    assert stage in family
    machines.workers["a"].send_signal(signal.SIGKILL)
    for process in family.values():
        assert select.select([process], [], [], 30)[0], "a process of the killed worker is still there"
        os.close(process)
    states, said = finish(running)
    assert states == dict.fromkeys(TEACHERS[:2], "ran")
    assert "pool a: its worker or the run's process died; the stage goes to another" in said
    assert [found["state"]["type"] for found in machines.flow_runs("a")][-1:] == ["CRASHED"]
    assert json.loads(run("dvc", "status", "--json", *TEACHERS[:2], folder=machines.home)) == {}


def descendants(ancestor: int) -> set[int]:
    listing = run("ps", "-eo", "pid=,ppid=", folder=Path.cwd())
    parents = dict(map(int, line.split()) for line in listing.splitlines())
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {ancestor}} - found:
        found |= more
    return found
