import os
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
    "damage", [lambda b: b[:-10], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda _: b""]
)
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, damage, capsys) -> None:
    checkpoints = Checkpoints(tmp_path / "a")
    checkpoints.save(1, {"step": 1})
    checkpoints.save(2, {"step": 2})
    newest = tmp_path / "a" / "step_00000002.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.restore() == (1, {"step": 1})
    assert "step_00000002.pt: damaged" in capsys.readouterr().out


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
