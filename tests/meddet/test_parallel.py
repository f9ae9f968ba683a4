"""Two processes on the CPU train what one trains: real ones, started by torchrun, joined by gloo."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("parallel_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(folder: Path, *cases: str, launcher: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), *cases]
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give the folder of what one process did and the folder of what two did together."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    train(one, "norm", "plain", "gan", "moved-cut", "broken", launcher=[])
    shutil.copytree(one / "moved", two / "moved")
    train(two, "norm", "plain", "gan", "two-cut", "two-resumed", "moved-resumed", "broken", launcher=TORCHRUN)
    return one, two


def result(folder: Path, case: str) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    return torch.load(folder / f"{case}.pt", weights_only=True)


def assert_same(one: tuple, two: tuple, *, by_part: set[str] = frozenset()) -> None:
    """Compare curves and weights to float32's tolerance; Adam scales noise in tiny gradients up to the rate's size."""
    (one_rows, one_state), (two_rows, two_state) = one, two
    assert [set(row) for row in one_rows] == [set(row) for row in two_rows]
    for one_row, two_row in zip(one_rows, two_rows, strict=True):
        kept = [name for name in one_row if name not in by_part]
        assert [two_row[name] for name in kept] == pytest.approx([one_row[name] for name in kept], rel=1e-4, abs=1e-6)
    assert set(one_state) == set(two_state)
    for name, tensor in one_state.items():
        torch.testing.assert_close(two_state[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_a_detector_learns_the_same(folders: tuple[Path, Path]) -> None:
    assert_same(*(result(folder, "plain") for folder in folders))


def test_a_student_with_a_critic_learns_the_same(folders: tuple[Path, Path]) -> None:
    """A teacher's share is a ratio of norms over the part of a batch: the mean of two is not the whole's."""
    one, two = (result(folder, "gan") for folder in folders)
    assert_same(one, two, by_part={"share_0", "share_1", "target_variance"})
    first, last = one[0][0], one[0][-1]
    assert first["adv"] == 0
    assert last["adv"] > 0
    assert last["critic"] < first["critic"]
    assert last["anchor"] == 0 < first["anchor"]


def test_batch_norm_sees_the_whole_batch(folders: tuple[Path, Path]) -> None:
    one, two = (result(folder, "norm")[1] for folder in folders)
    assert set(one) == set(two)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, msg=name)


def test_what_two_resume_is_bitwise_uninterrupted(folders: tuple[Path, Path]) -> None:
    """The second process alone was asked to stop: both did, after the same step."""
    _, two = folders
    assert torch.load(two / "two-cut.pt") == "stopped after step 2; run again to go on from there"
    (rows, state), (resumed_rows, resumed_state) = result(two, "gan"), result(two, "two-resumed")
    assert resumed_rows == rows
    for name, tensor in state.items():
        assert torch.equal(tensor, resumed_state[name]), name


def test_two_resume_what_one_began(folders: tuple[Path, Path]) -> None:
    one, two = folders
    assert torch.load(one / "moved-cut.pt") == "stopped after step 2; run again to go on from there"
    resumed = result(two, "moved-resumed")
    assert resumed[0][:2] == result(one, "gan")[0][:2]
    assert_same(result(one, "gan"), resumed, by_part={"share_0", "share_1", "target_variance"})


def test_fault_07_one_process_that_meets_a_nan_stops_both(folders: tuple[Path, Path]) -> None:
    lines = [torch.load(folder / "broken.pt") for folder in folders]
    for line in lines:
        assert line.startswith("loss term qfl is nan at step 1 on images ")
        assert line.endswith("; lower the rate")
    found = [line.split("images ")[1].split(";")[0].split(", ") for line in lines]
    assert ["3" in images for images in found] == [True, True]
    assert [len(images) for images in found] == [4, 2]
