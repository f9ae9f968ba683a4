"""A training stage that lacks disk or memory, is told to end early, or meets another one: one line, nothing lost."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
import yaml

from benchmarks.kills import BASELINE, Attempt, after_checkpoint, kill_again_and_again, make_project, uninterrupted

WEIGHTS = "artifacts/baseline/model.safetensors"


def baseline(project: Path, *, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *BASELINE],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = (line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("error: "))
    assert "Traceback" not in done.stderr
    return line.removeprefix("error: ")


def test_fault_05_a_full_disk_keeps_the_old_weights_and_the_checkpoint(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", steps=4, checkpoint_steps=2)
    expected = uninterrupted(BASELINE, project)
    weights = (project / WEIGHTS).read_bytes()

    in_checkpoint = baseline(project, limit=small_files)
    assert in_checkpoint.returncode == 5
    assert error_of(in_checkpoint).startswith(".ckpt/baseline/")
    assert "step_00000002.pt: no space to write it (File too large); free some" in error_of(in_checkpoint)

    attempt = Attempt(BASELINE, project)
    after_checkpoint(0.0)(attempt)
    assert attempt.end(SIGKILL)[0] == -SIGKILL
    in_outputs = baseline(project, limit=small_files)
    assert in_outputs.returncode == 5
    assert error_of(in_outputs).startswith(f"{WEIGHTS}: no space to write it")

    assert (project / WEIGHTS).read_bytes() == weights
    assert not list((project / "artifacts").rglob(".*"))
    _, found = kill_again_and_again(BASELINE, project, [])
    assert found == expected
    assert "resuming at step 2 of 4" in (project / "attempt.log").read_text()


def test_fault_08_out_of_memory_names_the_sizes_and_the_parameters(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", steps=4, checkpoint_steps=2)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["view"] |= {"height": 1024, "width": 1024}
    params["baseline"]["batch_size"] = 8
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    limit = 5 * 2**30
    done = baseline(project, limit=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 7, done.stderr
    sizes = "view.height 1024, view.width 1024, baseline.batch_size 8"
    assert error_of(done) == f"baseline: memory ran out; lower one of {sizes} in params.yaml"
    assert not (project / "artifacts" / "baseline").exists()
    assert not (project / "reports").exists()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose training takes longer than any test."""
    return make_project(tmp_path_factory.mktemp("endless") / "project", steps=1_000_000, checkpoint_steps=1_000_000)


def test_fault_06_sigterm_while_torch_is_imported_ends_it(endless: Path) -> None:
    attempt = Attempt(BASELINE, endless)
    maps = Path(f"/proc/{attempt.process.pid}/maps")
    assert attempt.reach(lambda: "libtorch" in maps.read_text()), attempt.log.read_text()
    assert attempt.end(SIGTERM)[0] == 143, attempt.log.read_text()


def test_fault_06_sigterm_in_the_first_step_keeps_it_and_a_second_trainer_is_refused(endless: Path) -> None:
    attempt = Attempt(BASELINE, endless)
    assert attempt.reach(lambda: bool(list(attempt.home.glob("*/identity.json")))), attempt.log.read_text()
    second = baseline(endless)
    assert second.returncode == 2
    assert f"expected no other training of this stage, but process {attempt.process.pid} is at it" in error_of(second)
    assert attempt.end(SIGTERM)[0] == 143, attempt.log.read_text()
    assert attempt.newest() > 0
    assert f"stopped after step {attempt.newest()}; run again to go on" in attempt.log.read_text()
