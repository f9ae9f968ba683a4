"""How a stage ends: one line for people, an exit code for programs, nothing half-written, no orphan."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREAMBLE = "from pipeline._stage import *\nfrom pipeline import _stage\n"


def start(body: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    script = folder / "stage.py"
    script.write_text(f"{PREAMBLE}def main(params):\n    {body}\nrun(main)\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "stage.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("raise ValueError('a.png: expected a PNG, got none')", 2, "error: a.png: expected a PNG, got none\n"),
        ("raise Failure(VALIDATION_FAILED, 'rows 3, 4')", 3, "error: rows 3, 4\n"),
        ("raise FloatingPointError('loss term qfl is nan')", 4, "error: loss term qfl is nan\n"),
        ("pass", 0, ""),
    ],
)
def test_an_outcome_is_one_line_and_a_code(tmp_path: Path, body: str, code: int, line: str) -> None:
    stage = start(body, tmp_path)
    _, errors = stage.communicate(timeout=60)
    assert (stage.returncode, errors) == (code, line)


def test_fault_05_a_full_disk_while_writing_a_checkpoint_keeps_the_last_one(tmp_path: Path) -> None:
    body = (
        "import torch; from meddet.checkpoint import Checkpoints; kept = Checkpoints(Path('ckpt')); "
        "kept.save(1, {'small': torch.zeros(2)}); kept.save(2, {'large': torch.zeros(100_000)})"
    )
    stage = start(body, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 5, errors
    assert errors == "error: ckpt/step_00000002.pt: no space to write it (File too large); free some and run again\n"
    assert [path.name for path in (tmp_path / "ckpt").iterdir()] == ["step_00000001.pt"]


def test_fault_05_a_full_file_system_is_named_and_left_clean(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "stage.py").write_text(
        f"{PREAMBLE}from meddet.files import write_atomic\ndef main(params):\n"
        "    write_atomic(ARTIFACTS / 'old.bin', b'old'); write_atomic(ARTIFACTS / 'old.bin', bytes(2_000_000))\n"
        "try:\n    run(main)\n"
        "finally:\n    print([(path.name, path.read_bytes()) for path in ARTIFACTS.iterdir()])\n"
    )
    (tmp_path / "artifacts").mkdir()
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=1m none artifacts"
    if subprocess.run([*mounted, mount], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system (unshare --user --mount)")
    done = subprocess.run(
        [*mounted, f'{mount} && "$0" stage.py', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    expected = "artifacts/old.bin: no space to write it (No space left on device); free some and run again"
    assert done.stderr == f"error: {expected}\n"
    assert done.stdout == "[('old.bin', b'old')]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_fault_06_a_signal_to_end_ends_it_with_143(tmp_path: Path, number: signal.Signals) -> None:
    body = "print('ready', flush=True); import time; time.sleep(60)"
    stage = start(body, tmp_path, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert stage.stdout is not None
    assert stage.stdout.readline() == "ready\n"
    stage.send_signal(number)
    assert stage.wait(timeout=10) == 143


def test_a_signal_that_its_parent_ignores_stays_ignored(tmp_path: Path) -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('alive', flush=True)"
    stage = start(body, tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert stage.communicate(timeout=60)[0] == "alive\n"
    assert stage.returncode == 0


def test_what_a_killed_stage_left_is_swept_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / ".split.json.x1y2.tmp").write_bytes(b"half")
    assert start("pass", tmp_path).wait(timeout=60) == 0
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "stage.py").write_text(
        f"{PREAMBLE}def main(params):\n    import os, time; print(os.getpid(), flush=True); time.sleep(60)\nrun(main)\n"
    )
    parent = "import subprocess, sys, time; subprocess.Popen([sys.executable, 'stage.py']); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", parent], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    stage = int(process.stdout.readline())
    process.kill()
    process.wait(timeout=10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(stage):
        os.sched_yield()
    assert not _runs(stage)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
