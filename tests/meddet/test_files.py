import fcntl
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meddet.files import read_json, sweep, write_atomic, write_json


def test_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.5, "ä"]})
    write_json(tmp_path / "b.json", {"a": [0.5, "ä"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [0.5, "ä"], "b": 1}


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_fault_05_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    write_atomic(target, b"old")
    script = (
        "import sys; from pathlib import Path; from meddet.files import write_atomic\n"
        "try: write_atomic(Path(sys.argv[1]), b'x' * 100_000)\n"
        "except OSError as error: print(error.filename, error.strerror); sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.returncode == 7, done.stderr
    assert str(target) in done.stdout
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


def test_a_sweep_removes_what_a_killed_writer_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    write_atomic(folder / "whole.json", b"{}")
    (folder / ".dotfile").write_bytes(b"")
    script = (
        "import os, signal, sys; from pathlib import Path; from meddet.files import write_atomic\n"
        "def die(event, _): os.kill(os.getpid(), signal.SIGKILL) if event == 'os.rename' else None\n"
        "sys.addaudithook(die); write_atomic(Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder / "whole.json")], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = (path for path in folder.iterdir() if path.name.startswith(".whole.json."))
    with left.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as its writer did
        sweep(tmp_path)
        assert left.exists()
    sweep(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [".dotfile", "whole.json"]


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: expected JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"b\.json: expected a JSON file, found none"):
        read_json(tmp_path / "b.json")
