"""Trainings killed and given again: what they write is what an uninterrupted one writes, to the bit.

Three kills and one SIGTERM; `make kills` does thirty.
"""

import random
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from benchmarks.kills import (
    DISTILL,
    DVC_PRETRAIN,
    PRETRAIN,
    Command,
    Kill,
    after_checkpoint,
    in_write,
    kill_again_and_again,
    make_project,
    uninterrupted,
)

DRAW = random.Random(4)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("kills") / "project", steps=8, checkpoint_steps=2)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def expected(project: Path) -> dict[Command, str]:
    return {command: uninterrupted(command, project) for command in (PRETRAIN, DISTILL)}


@pytest.fixture(scope="module")
def distillation(project: Path, expected: dict[Command, str]) -> tuple[list[Kill], bool]:
    """A distillation with a discriminator, killed at a random step, in a write, and asked to end; and its equality."""
    plan = [
        (SIGKILL, after_checkpoint(DRAW.uniform(0, 0.2))),
        (SIGKILL, in_write(DRAW.uniform(0, 0.9))),
        (SIGTERM, after_checkpoint(DRAW.uniform(0, 0.2))),
    ]
    kills, found = kill_again_and_again(DISTILL, project, plan)
    return kills, found == expected[DISTILL]


def test_fault_01_a_killed_distillation_resumes_and_gives_the_same_bits(
    distillation: tuple[list[Kill], bool],
) -> None:
    kills, equal = distillation
    assert kills[0].exit_code == -SIGKILL
    assert "resuming at step" in kills[0].went_on
    assert equal


def test_fault_02_a_kill_in_the_write_goes_on_from_the_checkpoint_before(distillation: tuple[list[Kill], bool]) -> None:
    kills, equal = distillation
    assert kills[1].exit_code == -SIGKILL
    assert kills[1].went_on == kills[0].went_on
    assert equal


def test_fault_06_sigterm_keeps_the_step_and_ends_with_143(distillation: tuple[list[Kill], bool]) -> None:
    kills, equal = distillation
    assert kills[2].exit_code == 143
    assert kills[2].seconds < 60  # two or three on an idle core; `make kills` shows them
    assert "resuming at step" in kills[2].went_on
    assert equal


def test_fault_01_a_killed_dvc_leaves_no_trainer_and_resumes(project: Path, expected: dict[Command, str]) -> None:
    (kill,), found = kill_again_and_again(
        DVC_PRETRAIN, project, [(SIGKILL, after_checkpoint(DRAW.uniform(0, 0.2)))]
    )  # asserts that the trainer ended, too
    assert kill.exit_code == -SIGKILL
    assert "resuming at step" in kill.went_on
    assert found == expected[PRETRAIN]
