import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest
import torch

from meddet.checkpoint import Checkpoints, changes, content_sum, fingerprint, held


def test_the_newest_state_comes_back_bitwise(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "a")
    state = {"weights": torch.randn(5), "rows": [{"loss": 0.1}]}
    checkpoints.save(3, {"weights": torch.zeros(5), "rows": []})
    checkpoints.save(7, state)
    restored = checkpoints.restore()
    assert restored is not None
    assert restored[0] == 7
    assert torch.equal(restored[1]["weights"], state["weights"])
    assert restored[1]["rows"] == state["rows"]


def test_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "a")
    for step in (10, 20, 30):
        checkpoints.save(step, {"step": step})
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == ["step_00000020.pt", "step_00000030.pt"]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-10], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b[:20], lambda _: b""],
    ids=["truncated", "bit flip", "only half a sum", "empty"],
)
def test_fault_03_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, damage, capsys) -> None:
    checkpoints = Checkpoints(tmp_path / "a")
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
    newest = tmp_path / "a" / "step_00000002.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.restore() == (1, {"step": 1})
    assert f"{newest}: damaged" in capsys.readouterr().out
    assert not newest.exists()


def test_fault_03_without_a_whole_checkpoint_it_says_that_it_starts_afresh(tmp_path: Path, capsys) -> None:
    checkpoints = Checkpoints(tmp_path / "a")
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
        (tmp_path / "a" / f"step_{step:08d}.pt").write_bytes(b"garbage")
    assert checkpoints.restore() is None
    assert "no checkpoint is whole, the training starts afresh" in capsys.readouterr().out


def test_an_empty_folder_restores_nothing(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").restore() is None


def test_a_second_holder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with (
        held(tmp_path / "a", {"steps": 1}),
        pytest.raises(ValueError, match=f"expected no other training of this stage, but process {os.getpid()} "),
        held(tmp_path / "a", {"steps": 2}),
    ):
        raise AssertionError("both hold it")


def test_fingerprints_differ_by_content_and_not_by_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_the_sum_of_a_folder_is_that_of_its_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "one.png").write_bytes(b"1")
    assert content_sum(tmp_path / "a") == content_sum(tmp_path / "b")
    (tmp_path / "b" / "deep" / "one.png").write_bytes(b"2")
    assert content_sum(tmp_path / "a") != content_sum(tmp_path / "b")
    (tmp_path / "b" / "deep" / "one.png").write_bytes(b"1")
    (tmp_path / "b" / "deep" / "one.png").rename(tmp_path / "b" / "one.png")
    assert content_sum(tmp_path / "a") != content_sum(tmp_path / "b")


def test_changes_are_named_by_what_differs_came_or_went() -> None:
    old = {"distill.tau": 0.4, "meddet/train.py": "aa", "torch": "2.15", "gone": None}
    new = {"distill.tau": 0.5, "meddet/train.py": "aa", "torch": "2.16", "new": None}
    assert changes(old, new) == ["distill.tau", "gone", "new", "torch"]


def test_fault_04_checkpoints_of_another_training_are_dropped_with_the_reason(tmp_path: Path, capsys) -> None:
    identity = {"distill.schedule.steps": 10, "meddet/train.py": "aa", "artifacts/images": "bb"}
    with held(tmp_path, identity) as first:
        first.save(4, {"step": 4})
    with held(tmp_path, identity | {"distill.schedule.steps": 12, "meddet/train.py": "cc"}) as second:
        assert second.restore() is None
    said = capsys.readouterr().out
    assert "dropped (step 4), the training starts afresh: changed distill.schedule.steps, meddet/train.py\n" in said
    assert not first.folder.exists()


def test_fault_04_the_same_training_keeps_its_checkpoints(tmp_path: Path, capsys) -> None:
    with held(tmp_path, {"steps": 10}) as first:
        first.save(4, {"step": 4})
    with held(tmp_path, {"steps": 10}) as second:
        assert second.restore() == (4, {"step": 4})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [None, "{"], ids=["absent", "damaged"])
def test_fault_04_checkpoints_without_a_name_are_dropped(tmp_path: Path, capsys, content: str | None) -> None:
    with held(tmp_path, {"steps": 10}) as first:
        first.save(4, {"step": 4})
    name = first.folder / "identity.json"
    name.unlink() if content is None else name.write_text(content)
    with held(tmp_path, {"steps": 12}) as second:
        assert second.restore() is None
    assert "what it belongs to is unknown" in capsys.readouterr().out


WRITTEN = {"weights": torch.arange(30_000.0)}


def die_at_event(number: int) -> None:
    """Let the kernel kill this process at the event of that number: every file opened, locked, renamed, removed, ..."""
    events = count()
    sys.addaudithook(lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(events) == number else None)


def die_at_byte(number: int) -> None:
    """Let the kernel kill this process in the write that goes over that many bytes of a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))


def save_in_a_child(home: Path, die: Callable[[int], None], number: int) -> int:
    """Write step 3 in a process of its own; return how that ended, 0 or a negative signal."""
    child = os.fork()
    if child == 0:
        try:
            with held(home, {"steps": 10}) as checkpoints:
                die(number)
                checkpoints.save(3, WRITTEN)
            os._exit(0)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("die", "numbers", "kill"),
    [(die_at_event, range(1000), -signal.SIGKILL), (die_at_byte, (0, 1, 31, 32, 33, 60_000, 120_000), -signal.SIGXFSZ)],
    ids=["between two system calls", "within a write"],
)
def test_fault_02_a_kill_in_the_write_of_a_checkpoint_leaves_a_whole_one(
    tmp_path: Path, die: Callable[[int], None], numbers: Iterable[int], kill: int
) -> None:
    with held(tmp_path / "home", {"steps": 10}) as before:
        before.save(1, {"step": 1})
        before.save(2, {"step": 2})
    outcomes = set()
    for number in numbers:
        home = tmp_path / str(number)
        shutil.copytree(tmp_path / "home", home)
        ended = save_in_a_child(home, die, number)
        leftovers = len(list(home.glob("*/.step*")))
        with held(home, {"steps": 10}) as after:
            restored = after.restore()
            assert restored is not None
            assert sorted(path.name for path in after.folder.iterdir() if "step" not in path.name) == ["identity.json"]
        assert not list(home.rglob(".*"))
        step, state = restored
        assert torch.equal(state["weights"], WRITTEN["weights"]) if step == 3 else (step, state) == (2, {"step": 2})
        outcomes.add((step, leftovers))
        if ended == 0:
            break
        assert ended == kill
    assert (2, 1) in outcomes, "no kill left a part of a file, so the test has tried nothing"
    assert die is die_at_byte or {(2, 0), (2, 1), (3, 0)} <= outcomes
