import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import _data, _dvc, _dvc_locks, _preflight
from flows._lock import Busy
from meddet.files import read_json


def quiet(_text: str, _is_progress: bool = False) -> None:
    """Show nothing."""


def check(project: Path, *, needs_clean_git: bool = False) -> list[str]:
    said: list[str] = []
    _preflight.check(project, say=said.append, needs_clean_git=needs_clean_git)
    return said


def check_cache(project: Path) -> list[str]:
    said: list[str] = []
    _preflight.check_cache(project, _data.status(project), say=said.append)
    return said


def objects(project: Path, content: str) -> list[Path]:
    cache = project / ".dvc" / "cache" / "files" / "md5"
    return [path for path in cache.rglob("*") if path.is_file() and path.read_text() == content]


def test_a_clean_project_passes_and_each_complaint_has_a_line(trained: Path) -> None:
    assert check(trained, needs_clean_git=True) == []
    (trained / "toy" / "first.py").write_text("changed\n")
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("test_fraction: 0.2", "test_fraction: 2"))
    with pytest.raises(ValueError, match=r"test_fraction") as caught:
        check(trained, needs_clean_git=True)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("got changes in params.yaml, toy/first.py; commit them first")


def test_a_nearly_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_preflight, "FREE_BYTES", 10**18)
    with pytest.raises(ValueError, match=r"expected 1000000000\.0 GB of free disk, got "):
        _preflight.check_disk(tmp_path)


def test_other_versions_than_the_pinned_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    _preflight.check_packages(lock)
    lock.write_text(f"prefect=={_preflight.version('prefect')} \\\n    --hash=sha256:0\ndvc==0.1\nsome-thing==3\n")
    with pytest.raises(
        ValueError, match=r"requirements\.lock: .*, got dvc 3\.\S+ \(pinned 0\.1\); `pip install"
    ) as caught:
        _preflight.check_packages(lock)
    assert "prefect" not in str(caught.value)


@pytest.mark.parametrize("left", ["half a line", "half the stages", "nothing of use"])
def test_fault_11_a_truncated_lock_is_named_with_the_way_back(trained: Path, left: str) -> None:
    lock = trained / "dvc.lock"
    whole = lock.read_text()
    cut = {
        "half a line": whole[: whole.index("    outs:") + 15],
        "half the stages": whole[: whole.index("  mid@resnet101:")],
    }
    lock.write_text(cut.get(left, "[]\n"))
    with pytest.raises(ValueError, match=r"dvc\.lock: .*`git checkout dvc\.lock`") as caught:
        check(trained)
    assert str(caught.value).count("\n") == 0
    if left == "half the stages":
        assert "expected the stages last, mid@resnet101, mid@resnet152" in str(caught.value)


def test_fault_11_a_damaged_object_is_named_with_its_stage_and_nothing_is_trained_on_it(trained: Path) -> None:
    (damaged,) = objects(trained, "resnet50")
    damaged.chmod(0o644)
    damaged.write_text("resnet5O")
    damaged.chmod(0o444)
    with pytest.raises(ValueError, match=r"work/mid/resnet50, made by stage mid@resnet50, are damaged") as caught:
        check_cache(trained)
    assert str(damaged.relative_to(trained)) in str(caught.value)
    assert "`dvc fetch mid@resnet50` or `dvc repro --force --single-item mid@resnet50`" in str(caught.value)
    assert _data.status(trained) == {}, "DVC has seen it: then this check isn't needed"
    damaged.unlink()
    subprocess.run(["dvc", "repro", "-q", "--force", "--single-item", "mid@resnet50"], cwd=trained, check=True)
    assert check_cache(trained) == [], "the advice doesn't help"


def test_fault_11_a_missing_object_is_told_before_its_stage_runs_again_on_the_same_data(trained: Path) -> None:
    (missing,) = objects(trained, "resnet50")
    missing.unlink()
    assert check_cache(trained) == ["note: " + _lost("mid@resnet50")]
    (trained / "work" / "mid" / "resnet50").unlink()
    assert check_cache(trained) == ["note: " + _lost("mid@resnet50")]
    lock = (trained / "dvc.lock").read_bytes()
    assert _dvc.reproduce("mid@resnet50", project=trained, write=quiet).state == "ran"
    assert (trained / "dvc.lock").read_bytes() == lock


def _lost(stage: str) -> str:
    return (
        f"not in DVC's cache, so made again from the same data, code and parameters: {stage}; "
        f"where a remote has them: `dvc fetch {stage}`"
    )


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that lives, to be named as the holder of a lock."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def write_holders(project: Path, *pids: int) -> Path:
    file = project / ".dvc" / "tmp" / "rwlock"
    held = {f"{project}/work/{pid}": {"pid": pid, "cmd": "repro"} for pid in pids}
    file.write_text(
        json.dumps({"write": held, "read": {f"{project}/data": [{"pid": pid, "cmd": "repro"} for pid in pids]}})
    )
    return file


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_fault_10_the_lock_of_a_dead_process_is_explained_and_unlock_clears_it_alone(
    trained: Path, holder: subprocess.Popen[bytes]
) -> None:
    dead = dead_process()
    file = write_holders(trained, dead, holder.pid)
    said = check(trained)
    assert f"process {dead} (dvc repro) died with a lock" in said[0]
    assert "python -m flows.train --unlock" in said[0]
    assert f"process {holder.pid} (dvc repro) works in this project" in said[1]
    command = [sys.executable, "-m", "flows.train", "--unlock"]
    told = subprocess.run(command, cwd=trained, capture_output=True, text=True, check=True).stdout
    assert f"removed: process {dead} (dvc repro) on {trained}/work/{dead}" in told
    assert f"left: process {holder.pid}" in told
    left = read_json(file)
    assert [entry["pid"] for entry in left["write"].values()] == [holder.pid]
    assert [entry["pid"] for entries in left["read"].values() for entry in entries] == [holder.pid]


def test_fault_10_a_dead_process_whose_number_another_one_has_got_is_told_apart(
    trained: Path, holder: subprocess.Popen[bytes]
) -> None:
    file = write_holders(trained, holder.pid)
    os.utime(file, (0, 0))
    with pytest.raises(ValueError, match=rf"process {holder.pid} \(dvc repro\) died with a lock, and another process"):
        check(trained)
    assert _dvc_locks.unlock(trained)[0].startswith(f"removed: process {holder.pid}")
    assert check(trained) == []


def test_fault_10_a_damaged_list_of_holders_is_removed_only_where_no_dvc_lives(trained: Path) -> None:
    file = trained / ".dvc" / "tmp" / "rwlock"
    file.write_text('{"write": {"a": {"pid": 12')
    assert check(trained) == [f"note: removed {file}: it was damaged, and no DVC runs here"]
    assert check(trained) == []
    os.mkfifo(trained / "started.fifo")
    (trained / "toy" / "mid.py").write_text((trained / "toy" / "mid.py").read_text() + "# changed\n")
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q", "-s", "mid@resnet50"], cwd=trained) as live:
        stage = int((trained / "started.fifo").read_text())
        file.write_text("{")
        with pytest.raises(Busy, match=rf"process {live.pid} is a live DVC in this project; left alone"):
            check(trained)
        assert file.read_text() == "{"
        file.write_text("{}")
        os.kill(stage, 9)
        live.wait(60)
    file.write_text("{")
    assert _dvc_locks.unlock(trained) == [f"removed {file}: it was damaged, and no DVC runs here"]
    assert _dvc_locks.unlock(trained) == []


def test_another_revision_of_the_data_is_taken_with_its_pin_and_back(project: Path) -> None:
    (project / "data" / "b.txt").write_text("b")
    with pytest.raises(ValueError, match=r"data/: differs"):
        _data.bring(project, revision=None, accept=False, write=quiet)
    _data.bring(project, revision=None, accept=True, write=quiet)
    grown = (project / "data.dvc").read_text()
    _data.bring(project, revision="HEAD", accept=False, write=quiet)
    assert [path.name for path in (project / "data").iterdir()] == ["a.txt"]
    (project / "data" / "mine.txt").write_text("not pinned")
    pin = (project / "data.dvc").read_text()
    assert pin != grown
    with pytest.raises(ValueError, match=r"git show failed"):
        _data.bring(project, revision="nonsense", accept=False, write=quiet)
    with pytest.raises(ValueError, match=r"got both"):
        _data.bring(project, revision="HEAD", accept=True, write=quiet)
    assert (project / "data" / "mine.txt").read_text() == "not pinned"
    assert (project / "data.dvc").read_text() == pin


def test_missing_data_are_pulled_where_a_remote_has_them(project: Path, tmp_path: Path) -> None:
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store")], cwd=project, check=True)
    subprocess.run(["dvc", "push", "-q"], cwd=project, check=True)
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    _data.bring(project, revision=None, accept=False, write=quiet)
    assert (project / "data" / "a.txt").read_text() == "a"


def test_the_right_data_come_into_the_cache_that_lacks_them_and_count_as_unchanged(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    pin = (project / "data.dvc").read_bytes()
    assert _data.status(project, "data.dvc")
    _data.bring(project, revision=None, accept=False, write=lambda *_: None)
    assert _data.status(project, "data.dvc") == {}
    assert (project / "data.dvc").read_bytes() == pin
