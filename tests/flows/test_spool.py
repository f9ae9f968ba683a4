import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import _spool


def entries(project: Path) -> list[str]:
    return [entry.key for entry in _spool.read_entries(project)]


def attempts(project: Path) -> list[dict[str, Any]]:
    return [dict(entry.content) for entry in _spool.read_entries(project) if entry.kind == "attempt"]


def child(project: Path, code: str) -> subprocess.CompletedProcess[str]:
    program = f"import os, resource\nfrom pathlib import Path\nfrom flows import _spool\nproject = Path.cwd()\n{code}"
    return subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False)


def test_an_entry_holds_its_content_and_files_until_it_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    (tmp_path / "code.py").write_bytes(b"2")
    linked, copied = {"bundle/weights": tmp_path / "weights"}, {"meddet/code.py": tmp_path / "code.py"}
    _spool.write_entry(tmp_path, "a", "graph", {"x": [1]}, linked=linked, copied=copied)
    (entry,) = _spool.read_entries(tmp_path)
    assert (entry.key, entry.kind, entry.content, entry.failure) == ("a", "graph", {"x": [1]}, None)
    assert (entry.folder / "bundle/weights").samefile(tmp_path / "weights")
    (tmp_path / "code.py").write_bytes(b"changed")
    assert (entry.folder / "meddet/code.py").read_bytes() == b"2"
    _spool.delete(entry.folder)
    assert entries(tmp_path) == []
    assert list((tmp_path / ".mirror").iterdir()) == []
    assert (tmp_path / "weights").read_bytes() == b"1"


def test_entries_come_in_the_order_of_time_and_a_key_once(tmp_path: Path) -> None:
    for key in ("z", "a", "m", "z"):
        _spool.write_entry(tmp_path, key, "graph", {}, linked={}, copied={})
    assert entries(tmp_path) == ["a", "m", "z"]


def test_a_damaged_entry_is_named_and_comes_last(tmp_path: Path) -> None:
    for key in ("a", "b"):
        _spool.write_entry(tmp_path, key, "graph", {})
    (tmp_path / ".mirror/a/entry.json").write_text("{")
    first, second = _spool.read_entries(tmp_path)
    assert (first.key, first.failure, second.key) == ("b", None, "a")
    assert "expected an entry of the spool" in str(second.failure)


def test_a_missing_file_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _spool.write_entry(tmp_path, "a", "graph", {}, linked={"bundle/x": tmp_path / "absent"})
    assert list((tmp_path / ".mirror").iterdir()) == []


def test_a_killed_writer_leaves_no_entry_and_its_rest_is_removed(tmp_path: Path) -> None:
    """It dies between its last file and the rename."""
    done = child(
        tmp_path, "_spool._flush = lambda _: os.kill(os.getpid(), 9)\n_spool.write_entry(project, 'a', 'graph', {})"
    )
    assert done.returncode == -9
    (rest,) = (tmp_path / ".mirror").iterdir()
    assert (rest / "entry.json").is_file()
    assert entries(tmp_path) == []
    assert not rest.exists()


def test_fault_05_a_full_disk_leaves_the_spool_as_it_was(tmp_path: Path) -> None:
    _spool.write_entry(tmp_path, "old", "graph", {"x": 1})
    (tmp_path / "big").write_bytes(b"0" * 100_000)
    done = child(
        tmp_path,
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    _spool.write_entry(project, 'old', 'graph', {'x': 2}, copied={'big': project / 'big'})\n"
        "except OSError as error:\n    print(error.errno)",
    )
    assert done.stdout.strip() == "27", done.stderr
    (entry,) = _spool.read_entries(tmp_path)
    assert entry.content == {"x": 1}
    assert [path.name for path in (tmp_path / ".mirror").iterdir()] == ["old"]


def test_a_finished_attempt_leaves_nothing(tmp_path: Path) -> None:
    attempt = _spool.begin(tmp_path, "manual")
    assert (tmp_path / ".mirror/attempt.json").is_file()
    _spool.bury(tmp_path)
    assert attempts(tmp_path) == []
    attempt.finish("FINISHED")
    assert list((tmp_path / ".mirror").iterdir()) == []


def test_a_failed_attempt_is_kept_with_its_stage_and_message(tmp_path: Path) -> None:
    attempt = _spool.begin(tmp_path, "schedule")
    attempt.finish("FAILED", "distill", "non-finite loss")
    (told,) = attempts(tmp_path)
    assert told.items() >= {"reason": "schedule", "status": "FAILED", "stage": "distill"}.items()
    assert told["start_ms"] == attempt.start_ms <= told["end_ms"]
    assert not (tmp_path / ".mirror/attempt.json").exists()


@pytest.mark.parametrize("finder", ["_spool.begin(project, 'next').finish('FINISHED')", "_spool.bury(project)"])
def test_fault_14_an_attempt_whose_process_was_killed_is_told_at_the_next_start(tmp_path: Path, finder: str) -> None:
    killed = child(tmp_path, "_spool.begin(project, 'drift')\nos.kill(os.getpid(), 9)")
    assert killed.returncode == -9
    assert attempts(tmp_path) == []
    for _ in range(2):
        assert child(tmp_path, finder).returncode == 0
    (told,) = attempts(tmp_path)
    assert told.items() >= {"reason": "drift", "status": "KILLED", "message": _spool.GONE}.items()


def test_a_process_id_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    _spool.begin(tmp_path, "manual")
    path = tmp_path / ".mirror/attempt.json"
    content = json.loads(path.read_text())
    assert content["pid"] == os.getpid()
    path.write_text(json.dumps({**content, "process": content["process"] + "0"}))
    _spool.bury(tmp_path)
    assert [told["status"] for told in attempts(tmp_path)] == ["KILLED"]
    assert not path.exists()


def test_an_attempt_that_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    (tmp_path / ".mirror").mkdir()
    (tmp_path / ".mirror/attempt.json").write_text("{")
    _spool.begin(tmp_path, "manual").finish("FINISHED")
    assert attempts(tmp_path) == []


def test_the_end_of_an_attempt_that_does_not_fit_on_the_disk_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = _spool.begin(tmp_path, "manual")
    (tmp_path / ".mirror").rename(tmp_path / "aside")
    (tmp_path / ".mirror").write_bytes(b"")
    attempt.finish("FAILED", "first", "no")
    assert "the attempt's end is not written" in capsys.readouterr().out
