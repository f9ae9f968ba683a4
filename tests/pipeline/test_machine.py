"""A stage on two processes: real ones. It speaks with one voice, ends as one, and leaves nobody behind."""

import csv
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from meddet.config import Machine
from meddet.data.images import write_canonical
from pipeline import _machine

ROOT = Path(__file__).parents[2]
STEPS = 6


def make_project(root: Path, **changes: Any) -> Path:
    """Write what stage baseline reads: four noisy images of 64x48 pixels with two boxes each."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {"info": {"data_md5": "0" * 32}, "images": [], "annotations": []}
    content["categories"] = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
    for number in range(1, 5):
        file_name = f"{number}.png"
        write_canonical(root / "artifacts/images" / file_name, rng.uniform(0, 1, (64, 48)).astype(np.float32))
        image = {"id": number, "file_name": file_name, "patient_id": f"p{number}", "width": 48, "height": 64}
        content["images"].append({**image, "spacing_mm": None})
        for place in range(2):
            box = {"id": 2 * number + place, "image_id": number, "category_id": 1 + place}
            content["annotations"].append({**box, "bbox": [10 + 2 * number, 8 + 28 * place, 24, 18]})
    write(root / "artifacts/coco.json", content)
    write(root / "artifacts/split.json", {"train": [f"p{number}" for number in range(1, 5)]})
    write(root / "artifacts/regions.json", {number: [0, 0, 48, 64] for number in range(1, 5)})
    params = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    params["machine"]["devices"] = 2
    params["baseline"] |= {"steps": STEPS, **changes}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def start(project: Path, module: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": f"{project}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_toy(folder: Path, body: str) -> "subprocess.Popen[str]":
    """Start a stage on two processes that does nothing but `body`, which knows its `rank`."""
    params = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    params["machine"]["devices"] = 2
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "toy.py").write_text(
        "import os, signal\nfrom meddet import processes\nfrom pipeline._machine import run\n"
        f"def main(params):\n    rank = processes.rank()\n    {body}\n"
        "if __name__ == '__main__':\n    run(main)\n"
    )
    return start(folder, "toy")


def wait_for(path: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    """Wait until a file is there, or the process has ended without it."""
    deadline = time.monotonic() + 300
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        os.sched_yield()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_stop_on_sigterm_and_one_goes_on(tmp_path: Path) -> None:
    project = make_project(tmp_path, checkpoint_steps=1)
    stage = start(project, "pipeline.baseline")
    wait_for(project / ".ckpt", "baseline/*/step_*.pt", stage)
    stage.send_signal(signal.SIGTERM)
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 143, errors
    last = errors.replace("\r", "\n").splitlines()[-1]
    assert last.startswith("error: baseline: stopped after step ")

    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("devices: 2", "devices: 1"))
    resumed = start(project, "pipeline.baseline")
    output, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    done = last.removeprefix("error: baseline: stopped after step ").split(";")[0]
    assert f"resuming at step {done} of {STEPS}" in output
    with (project / "reports/baseline/baseline.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, STEPS + 1))
    assert (project / "artifacts/baseline/model.safetensors").exists()
    assert not list((project / ".ckpt").rglob("*.pt"))


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        ("raise ValueError('b.png: expected a PNG')", 2, "error: b.png: expected a PNG"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "error: process 1 was ended by SIGKILL; run again to go on from"),
    ],
)
def test_a_fault_of_one_ends_both_with_its_line(tmp_path: Path, fault: str, code: int, line: str) -> None:
    """The first one waits for the second, which is gone: its own failure is no news."""
    body = f"if rank == 1:\n        {fault}\n    processes.any_of(True)"
    stage = start_toy(tmp_path, body)
    _, errors = stage.communicate(timeout=300)
    assert stage.returncode == code, errors
    (only,) = errors.splitlines()
    assert only.startswith(line)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_no_process_outlives_a_killed_stage(tmp_path: Path) -> None:
    stage = start_toy(tmp_path, "processes.any_of(True); open(f'{os.getpid()}.pid', 'x').close(); signal.pause()")
    wait_for(tmp_path, "*.pid", stage)
    while len(pids := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert stage.poll() is None
    watched = [os.pidfd_open(pid) for pid in pids]
    stage.kill()
    stage.communicate(timeout=60)
    for pid, descriptor in zip(pids, watched, strict=True):
        ended, _, _ = select.select([descriptor], [], [], 30)
        assert ended
        assert is_gone(pid)
        os.close(descriptor)


def test_the_first_word_is_the_cause(tmp_path: Path) -> None:
    for rank, (message, at) in enumerate([("", 12.0), ("a.png: expected a PNG", 11.0)]):
        word = {"message": message, "code": 2, "traceback": "Traceback\nRuntimeError: lost", "timestamp": at}
        write(tmp_path / str(rank) / "error.json", word)
    failure = _machine._cause(tmp_path, {})
    assert (failure.code, str(failure)) == (2, "a.png: expected a PNG")


def test_stopped_before_anyone_could_say_anything(tmp_path: Path) -> None:
    assert _machine._cause(tmp_path, {}).code == 143


def test_nodes_meet_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MASTER_ADDR": "first", "MASTER_PORT": "29500", "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    machine = Machine(devices=2, num_nodes=3)
    config = _machine._configure(machine, "logs")
    assert (config.rdzv_backend, config.rdzv_endpoint, config.rdzv_configs["rank"]) == ("static", "first:29500", 1)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (3, 3, 2)
    monkeypatch.delenv("NODE_RANK")
    with pytest.raises(ValueError, match=r"machine\.num_nodes: expected .* found no NODE_RANK"):
        _machine._configure(machine, "logs")
