"""DVC as the flows see it: its stage graph, its pin on the data, and one stage reproduced in a process of its own."""

import itertools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage import PipelineStage

from flows._processes import stream

# Exit codes of pipeline/_stage.py that a second try can't change: bad input, failed validation, non-finite loss,
# full disk, memory, SIGTERM.
FINAL_CODES = frozenset({2, 3, 4, 5, 7, 143, -15})
STAGE_TIMEOUT_S = 7 * 24 * 3600.0
QUERY_TIMEOUT_S = 3600.0
_BUSY = "is busy, it is being blocked by"
_BUSY_WAIT_S = 3.0
_WAITING = re.compile(rf"{_BUSY}|^  \(PID \d+\): |^If there are no processes with such PIDs|^\s*$")
_CHATTER = re.compile(
    r"\s*$|> |Running stage|Generating lock file|Updating lock file|To track the changes|To enable auto|Use `dvc push`"
    r"|\t(git add|dvc config)|Stage '.*' didn't change, skipping|Data and pipelines are up to date"
)
_EXITED = re.compile(r"exited with (-?\d+)")


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml: its name (`pretrain@resnet50` for a matrix entry) and the stages that come before it."""

    name: str
    after: tuple[str, ...]


@dataclass(frozen=True)
class StageRun:
    """What became of a stage: `ran`, `restored` from DVC's run cache, or `unchanged`; and the seconds it took."""

    name: str
    state: str
    seconds: float


class StageFailed(Exception):  # noqa: N818 - an outcome that is announced, not a defect
    """A stage ended with an error: its name, its own exit code and its error line.

    The code is None where not the stage but DVC complains, and negative where DVC was killed by that signal.
    """

    def __init__(self, stage: str, code: int | None, line: str) -> None:
        super().__init__(f"stage {stage}: {line}" + ("" if code is None else f" (exit code {code})"))
        self.stage = stage
        self.code = code
        self.line = line

    @property
    def is_final(self) -> bool:
        """Whether a second try would end the same way."""
        return self.code is None or self.code in FINAL_CODES


def stages(project: Path) -> list[Stage]:
    """Read the graph from DVC, in an order in which every stage follows its dependencies (else as in dvc.yaml)."""
    with Repo(str(project)) as repo:
        graph = repo.index.graph
        waiting = {
            address(stage, project): {address(one, project) for one in graph.successors(stage) if _is_run(one)}
            for stage in repo.index.stages
            if _is_run(stage)
        }
    ordered: list[Stage] = []
    while waiting:
        done = {stage.name for stage in ordered}
        name = next(name for name, before in waiting.items() if before <= done)
        ordered.append(Stage(name, tuple(sorted(waiting.pop(name)))))
    return ordered


def _is_run(stage: Any) -> bool:
    """Whether it is a stage of a dvc.yaml; data.dvc is a node of the graph, too."""
    return isinstance(stage, PipelineStage)


def address(stage: PipelineStage, project: Path) -> str:
    """The stage's name from the project's root: DVC's own `addressing` is from the working directory."""
    file = Path(stage.path).relative_to(project.resolve()).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


def run(
    command: Sequence[str], *, project: Path, write: Callable[[str, bool], None], timeout_s: float = STAGE_TIMEOUT_S
) -> tuple[int, str]:
    """Run `dvc` COMMAND; where another DVC process holds what it needs, wait for that one, and show so once.

    Returns:
        The exit status, and all output but the progress.

    Errors:
        TimeoutError: it took longer than `timeout_s`, the waiting included.
    """
    deadline = time.monotonic() + timeout_s
    shown = write
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        status, output = stream(["dvc", "--wait-for-lock", *command], folder=project, write=shown, timeout_s=left)
        if status == 0 or _BUSY not in output:
            return status, output
        shown = _without(write)
        time.sleep(_BUSY_WAIT_S)


def _without(write: Callable[[str, bool], None]) -> Callable[[str, bool], None]:
    """Leave out what DVC says about another process: it has been said."""

    def shown(text: str, is_progress: bool) -> None:
        if not _WAITING.search(text):
            write(text, is_progress)

    return shown


def query(command: Sequence[str], *, project: Path) -> str:
    """Run `dvc` COMMAND in silence; return what it says on standard output.

    Errors:
        ValueError: DVC's last error line.
    """
    said: list[str] = []
    status, output = run(command, project=project, write=lambda text, _: said.append(text), timeout_s=QUERY_TIMEOUT_S)
    if status:
        raise ValueError(f"dvc {command[0]}: {complaint(output)}")
    return output


def complaint(output: str) -> str:
    """DVC's last error line, or its last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]


def has_remote(project: Path) -> bool:
    """Whether there is a default remote to push to and pull from."""
    with Repo(str(project)) as repo:
        return bool(repo.config["core"].get("remote"))


def reproduce(
    stage: str, *, project: Path, write: Callable[[str, bool], None], timeout_s: float = STAGE_TIMEOUT_S
) -> StageRun:
    """Run `dvc repro -s STAGE`: nothing where nothing has changed. Its output goes to `write` as it comes.

    Errors:
        StageFailed: with the stage's own exit code and error line.
    """
    start = time.monotonic()

    def show(text: str, is_progress: bool) -> None:
        if is_progress or not _CHATTER.match(text):
            write(text, is_progress)

    try:
        status, output = run(["repro", "-s", stage], project=project, write=show, timeout_s=timeout_s)
    except TimeoutError:
        raise StageFailed(stage, None, f"still running after {timeout_s:g} s, ended") from None
    if status == 0:
        return StageRun(stage, _state(output), time.monotonic() - start)
    lines = output.splitlines()
    if exited := _EXITED.findall(output):
        raise StageFailed(stage, int(exited[-1]), _error_line(lines))
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    raise StageFailed(
        stage, status if status < 0 else None, complaints[-1] if complaints else f"DVC ended with {status}"
    )


def _state(output: str) -> str:
    if "is cached - skipping run" in output:
        return "restored"
    return "unchanged" if "didn't change, skipping" in output and "Running stage" not in output else "ran"


def _error_line(lines: Sequence[str]) -> str:
    """The stage's own last `error: ...`, or what stands before DVC's complaint: a traceback's last line."""
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if own:
        return own[-1]
    before = itertools.takewhile(lambda line: not line.startswith("ERROR: "), lines)
    said = [line.strip() for line in before if line.strip() and not line.startswith("> ")]
    return said[-1] if said else "it said nothing"
