import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import _processes

HOLD = """\
import sys
from pathlib import Path

from flows import _dvc, _processes

try:
    with _processes.ended_by_signals():
        _dvc.reproduce("mid@resnet50", project=Path.cwd(), write=lambda *_: None)
except _processes.Interrupted as end:
    sys.exit(end.code)
"""


@pytest.fixture
def waiting(project: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that reproduces a stage, and the stage's process, which waits for ever."""
    subprocess.run(["dvc", "repro", "-q", "-s", "first"], cwd=project, check=True)
    os.mkfifo(project / "started.fifo")
    holder = subprocess.Popen([sys.executable, "-c", HOLD], cwd=project)
    yield holder, int((project / "started.fifo").read_text())
    holder.kill()
    holder.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_stage_and_tells_by_the_exit_code(
    waiting: tuple[subprocess.Popen[bytes], int], number: int, code: int
) -> None:
    holder, stage = waiting
    gone = os.pidfd_open(stage)
    holder.send_signal(number)
    assert holder.wait(30) == code
    assert select.select([gone], [], [], 0)[0], "the stage is still there"


def test_a_killed_flow_leaves_no_trainer_behind(waiting: tuple[subprocess.Popen[bytes], int]) -> None:
    holder, stage = waiting
    gone = os.pidfd_open(stage)
    holder.kill()
    assert select.select([gone], [], [], 20)[0], "the stage is still there"


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "GRACE_S", 0.5)
    (tmp_path / "deaf.py").write_text(
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\n"
        "while True: signal.pause()\n"
    )
    shown: list[str] = []
    with pytest.raises(TimeoutError):
        _processes.stream(["deaf"], folder=tmp_path, write=lambda text, _: shown.append(text), timeout_s=5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(shown[0]), 0)


def test_output_comes_in_lines_and_progress_apart(tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(
        r"import sys; sys.stdout.write('one\n 50%\r100%\r\ntwo\rlast \u00e9'); sys.exit(7)"
    )
    shown: list[tuple[str, bool]] = []
    status, kept = _processes.stream(["talk"], folder=tmp_path, write=lambda *p: shown.append(p), timeout_s=30)
    assert status == 7
    assert shown == [("one", False), (" 50%", True), ("100%", False), ("two", True), ("last é", False)]
    assert kept == "one\n100%\nlast é"
