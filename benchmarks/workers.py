"""Wall time of the three teachers on one worker and on two, each pinned to a core of its own. Research use only.

python -m benchmarks.workers --out out/workers.json                 minutes; quick's settings, its steps cut
python -m benchmarks.workers --preset tiny --share 1 --out FILE     a trial of the machinery, no measurement

Everything (clones of the committed project, remote folder, Prefect's server, workers) lives in a temporary folder and
is ended and removed. Coordinator and server share the cores with the workers.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from flows._processes import end
from flows._server import api_url, free_port, start_prefect, wait_for
from meddet.files import write_json

ROOT = Path(__file__).parents[1]
NOTICE = "Research use only; phantom scores say nothing about clinical performance."
_LOCATE_STEPS = 20
_JSON = {"Content-Type": "application/json"}
_COORDINATOR = """\
import json, sys, time
from pathlib import Path
from flows._environment import set_environment
set_environment(Path.cwd())
from prefect import flow
from flows import _dvc, _flow
from flows._pools import on_pools

@flow(name="train", persist_result=False)
def run(pools):
    graph = [stage for stage in _dvc.stages(Path.cwd()) if stage.name.startswith("pretrain@")]
    with _flow.terminable():
        start = time.monotonic()
        reproduce = on_pools(pools, Path.cwd())
        runs = _flow.run_graph(graph, project=Path.cwd(), concurrency=len(pools), reproduce=reproduce)
    stages = {run.name: [run.state, round(run.seconds, 1)] for run in runs}
    print(json.dumps({"seconds": round(time.monotonic() - start, 1), "stages": stages}))

run(sys.argv[1:])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with one worker, then with two; print and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=ROOT, help="whose commit is measured (default: this project)")
    parser.add_argument("--preset", choices=["quick", "tiny"], default="quick", help="params (default: quick)")
    parser.add_argument("--share", type=float, default=0.4, help="of the preset's teacher steps (default: 0.4)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers end, too
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory(prefix="meddet-workers-") as name:
        prepared = _prepare(Path(name), options.project, preset=options.preset, share=options.share)
        measured = {
            str(number): _measure(Path(name) / f"with-{number}", prepared, cores=cores[:number])
            for number in range(1, len(cores) + 1)
        }
    for number, result in measured.items():
        print(f"{number} worker(s), a core each: {result['seconds']:.1f} s  {result['stages']}")
    if "2" in measured:
        print(f"two against one: {measured['1']['seconds'] / measured['2']['seconds']:.2f} times as fast")
    print(NOTICE)
    settings = {"preset": options.preset, "share_of_steps": options.share, "cores": cores}
    write_json(options.out, {**settings, "workers": measured, "notice": NOTICE})
    return 0


def _prepare(folder: Path, project: Path, *, preset: str, share: float) -> Path:
    """Clone the project, write a tiny phantom and fewer steps, and run what the teachers need."""
    home = folder / "prepared"
    _run("git", "clone", "--quiet", str(project), str(home), folder=folder)
    source = home / ("params.yaml" if preset == "quick" else "params/tiny.yaml")
    params = yaml.safe_load(source.read_text(encoding="utf-8"))
    params["locate"]["steps"] = min(_LOCATE_STEPS, params["locate"]["steps"])
    for teacher in params["pretrain"].values():
        teacher["steps"] = max(1, round(share * teacher["steps"]))
        teacher["warmup_steps"] = min(teacher["warmup_steps"], teacher["steps"])
    (home / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    _run(sys.executable, "-m", "meddet.cli", "phantom", "--preset", "tiny", "--out", "data", folder=home)
    _run(sys.executable, "-m", "dvc", "add", "--quiet", "data", folder=home)
    _run(sys.executable, "-m", "dvc", "repro", "--quiet", "locate", folder=home)
    _run("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qam", "cut", folder=home)
    return home


def _measure(folder: Path, prepared: Path, *, cores: Sequence[int]) -> dict[str, Any]:
    """Train the teachers in copies of their own, so that nothing is known from before."""
    home = Path(shutil.copytree(prepared, folder / "home", symlinks=True))
    port = free_port()
    environment = {**_environment(), "PREFECT_API_URL": api_url(port)}
    server = start_prefect(home, port, environment={"PREFECT_HOME": str(folder / "server"), "PREFECT_UI_ENABLED": "0"})
    try:
        wait_for(server, f"{api_url(port)}/health")
        _share_remote(home, folder)
        with _workers(folder, home, cores=cores, environment=environment) as pools:
            said = _run(sys.executable, "-c", _COORDINATOR, *pools, folder=home, environment=environment)
    finally:
        end(server.process)
    return dict(json.loads(said.splitlines()[-1]))


@contextmanager
def _workers(folder: Path, home: Path, *, cores: Sequence[int], environment: dict[str, str]) -> Iterator[list[str]]:
    """A clone, a deployment and a pinned worker for each core."""
    pools = {f"core-{core}": core for core in cores}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for pool, core in pools.items():
            clone = folder / pool
            _run("git", "clone", "--quiet", str(home), str(clone), folder=folder)
            _share_remote(clone, folder)
            stage = [sys.executable, "-m", "flows.stage", "--pool", pool]
            _run(*stage, "--deploy", folder=clone, environment=environment)
            command = ["taskset", "-c", str(core), *stage, "--work"]
            pinned = {**environment, "OMP_NUM_THREADS": "1"}
            with (folder / f"{pool}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(command, cwd=clone, env=pinned, stdout=log, stderr=log, start_new_session=True)
                )
        _wait_for_workers(list(pools), environment["PREFECT_API_URL"])
        yield list(pools)
    finally:
        for process in started:
            end(process)


def _wait_for_workers(pools: Sequence[str], api: str) -> None:
    """The workers' start is no part of the measurement."""
    for pool in pools:
        request = urllib.request.Request(f"{api}/work_pools/{pool}/workers/filter", b"{}", _JSON)
        while not json.load(urllib.request.urlopen(request, timeout=30)):
            time.sleep(0.5)


def _share_remote(clone: Path, folder: Path) -> None:
    command = ["remote", "add", "--quiet", "--local", "--default", "shared", str(folder / "remote")]
    _run(sys.executable, "-m", "dvc", *command, folder=clone)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "PREFECT_WORKER_QUERY_SECONDS": "1"}


def _run(*command: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command; what it says on standard output.

    Errors:
        SystemExit: its last lines.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment or _environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
