import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows import _data, _dvc
from pipeline import _stage

TEACHERS = ("mid@resnet101", "mid@resnet152", "mid@resnet50")


def ignore(_text: str, _is_progress: bool) -> None:
    """Show nothing."""


def test_the_graph_comes_from_dvc_in_an_order_that_respects_it(project: Path) -> None:
    assert _dvc.stages(project) == [
        _dvc.Stage("first", ()),
        _dvc.Stage("mid@resnet50", ("first",)),
        _dvc.Stage("mid@resnet101", ("first",)),
        _dvc.Stage("mid@resnet152", ("first",)),
        _dvc.Stage("last", TEACHERS),
    ]


def test_a_new_stage_in_dvc_yaml_is_a_new_stage_of_the_flow(project: Path) -> None:
    path = project / "dvc.yaml"
    path.write_text(path.read_text() + "  page:\n    cmd: python -m toy.page\n    deps: [reports/last.json]\n")
    assert _dvc.stages(project)[-1] == _dvc.Stage("page", ("last",))


def test_data_as_pinned_pass_and_other_data_are_refused_with_the_pin_untouched(project: Path) -> None:
    _data.guard_data(project)
    pin = (project / "data.dvc").read_bytes()
    (project / "data" / "b.txt").write_text("b")
    with pytest.raises(ValueError, match=r"data/: differs .*dvc add data"):
        _data.guard_data(project)
    assert (project / "data.dvc").read_bytes() == pin


def test_in_a_fresh_clone_the_cache_is_empty_and_the_guard_still_tells_right_from_wrong(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    _data.guard_data(project)
    (project / "data" / "a.txt").write_text("changed")
    with pytest.raises(ValueError, match=r"data/: differs .*dvc add data"):
        _data.guard_data(project)


def test_missing_data_and_a_missing_pin_are_named(project: Path) -> None:
    (project / "data" / "a.txt").unlink()
    (project / "data").rmdir()
    with pytest.raises(ValueError, match=r"data/: expected the data"):
        _data.guard_data(project)
    (project / "data.dvc").unlink()
    with pytest.raises(ValueError, match=r"data\.dvc: expected the pin"):
        _data.guard_data(project)


def test_a_stage_runs_once_and_is_restored_when_a_change_is_taken_back(project: Path) -> None:
    shown: list[tuple[str, bool]] = []
    assert _dvc.reproduce("first", project=project, write=ignore).state == "ran"
    assert _dvc.reproduce("mid@resnet50", project=project, write=lambda *piece: shown.append(piece)).state == "ran"
    assert any("resnet50" in text for text, is_progress in shown if is_progress)
    assert not any("dvc.lock" in text for text, _ in shown)
    assert _dvc.reproduce("first", project=project, write=ignore).state == "unchanged"
    code = (project / "toy" / "first.py").read_text()
    (project / "toy" / "first.py").write_text(code + "# changed\n")
    assert _dvc.reproduce("first", project=project, write=ignore).state == "ran"
    (project / "toy" / "first.py").write_text(code)
    assert _dvc.reproduce("first", project=project, write=ignore).state == "restored"
    assert (project / "attempts.txt").read_text() == "xx"


@pytest.mark.parametrize("code", sorted(code for code in _dvc.FINAL_CODES if code > 0))
def test_what_a_stage_says_of_its_end_is_final(project: Path, code: int) -> None:
    (project / "trouble.txt").write_text(str(code))
    with pytest.raises(_dvc.StageFailed) as caught:
        _dvc.reproduce("first", project=project, write=ignore)
    assert str(caught.value) == f"stage first: first: expected calm, got trouble (exit code {code})"
    assert caught.value.is_final


def test_a_crash_shows_its_last_line_and_may_be_tried_again(project: Path) -> None:
    (project / "trouble.txt").write_text("crash")
    with pytest.raises(
        _dvc.StageFailed, match=r"^stage first: RuntimeError: the disc slipped \(exit code 1\)$"
    ) as caught:
        _dvc.reproduce("first", project=project, write=ignore)
    assert not caught.value.is_final


def test_a_stage_that_forgets_an_output_is_told_in_dvcs_words_and_not_run_twice(project: Path) -> None:
    (project / "toy" / "first.py").write_text("print('busy')\n")
    with pytest.raises(_dvc.StageFailed, match=r"^stage first: .*'work/first.txt' does not exist$") as caught:
        _dvc.reproduce("first", project=project, write=ignore)
    assert caught.value.code is None
    assert caught.value.is_final


def test_final_codes_are_those_that_the_stages_end_with() -> None:
    inputs = {_stage.BAD_INPUT, _stage.VALIDATION_FAILED}
    means = {_stage.NON_FINITE_LOSS, _stage.NO_SPACE, _stage.OUT_OF_MEMORY}
    assert inputs | means | {_stage.TERMINATED, -signal.SIGTERM} == _dvc.FINAL_CODES


def test_a_stage_that_takes_too_long_is_ended(project: Path) -> None:
    _dvc.reproduce("first", project=project, write=ignore)
    os.mkfifo(project / "started.fifo")
    reader = os.open(project / "started.fifo", os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(_dvc.StageFailed, match=r"mid@resnet50: still running after 5 s"):
        _dvc.reproduce("mid@resnet50", project=project, write=ignore, timeout_s=5)
    with contextlib.suppress(BlockingIOError):  # on a starved machine it has not come to life
        assert not _alive(int(os.read(reader, 100)))
    os.close(reader)


def test_a_stage_that_another_dvc_holds_is_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dvc, "_BUSY_WAIT_S", 0.2)
    _dvc.reproduce("first", project=project, write=ignore)
    os.mkfifo(project / "started.fifo")
    other = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q", "-s", "mid@resnet50"], cwd=project)
    holder = int((project / "started.fifo").read_text())
    (project / "started.fifo").unlink()
    refused = threading.Event()

    def release() -> None:
        refused.wait(30)
        os.kill(holder, 9)

    def watch(text: str, _is_progress: bool) -> None:
        if "is busy" in text:
            refused.set()

    releaser = threading.Thread(target=release)
    releaser.start()
    assert _dvc.reproduce("mid@resnet50", project=project, write=watch).state == "ran"
    releaser.join()
    assert refused.is_set()
    assert other.wait(30) != 0


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
