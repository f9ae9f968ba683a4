"""DVC as the flows see it: its stage graph, its pin on the data, and one stage reproduced in a process of its own."""

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo
from dvc.stage import PipelineStage

from flows._processes import stream
from meddet.data.digest import dvc_md5

# Exit codes of pipeline/_stage.py that a second try can't change: bad input, failed validation, non-finite loss,
# full disk, SIGTERM.
FINAL_CODES = frozenset({2, 3, 4, 5, 143})
STAGE_TIMEOUT_S = 7 * 24 * 3600.0
_WRITE_PHANTOM = "`python -m meddet.cli phantom --preset quick --out data`"
_BUSY_TRIES = 20
_BUSY_WAIT_S = 3.0
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
        self.code = code

    @property
    def is_final(self) -> bool:
        """Whether a second try would end the same way."""
        return self.code is None or self.code in FINAL_CODES


def stages(project: Path) -> list[Stage]:
    """Read the graph from DVC, in an order in which every stage follows its dependencies (else as in dvc.yaml)."""
    with Repo(str(project)) as repo:
        graph = repo.index.graph
        waiting = {
            _address(stage, project): {_address(one, project) for one in graph.successors(stage) if _is_run(one)}
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


def _address(stage: PipelineStage, project: Path) -> str:
    """The stage's name from the project's root: DVC's own `addressing` is from the working directory."""
    file = Path(stage.path).relative_to(project.resolve()).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


def guard_data(project: Path) -> None:
    """Refuse data that differ from data.dvc: `dvc repro` would accept them and rewrite the pin.

    Errors:
        ValueError: one line with what to do.
    """
    if not (project / "data.dvc").is_file():
        raise ValueError(
            "data.dvc: expected the pin of the data, found none; put your data in data/ and run `dvc add data`"
        )
    if not (project / "data").is_dir():
        raise ValueError(
            f"data/: expected the data that data.dvc pins, found none; write the phantom ({_WRITE_PHANTOM}) "
            "or pull yours (`dvc pull data.dvc`)"
        )
    command = [sys.executable, "-m", "dvc", "status", "--json", "data.dvc"]
    status = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=3600, check=False)
    if status.returncode:
        raise ValueError(f"data.dvc: DVC cannot compare it with data/: {status.stderr.strip().splitlines()[-1]}")
    changes = json.loads(status.stdout)
    # In a fresh clone DVC says this of any content, right or wrong: its cache is empty, and it looks there first.
    uncached = changes == {"data.dvc": [{"changed outs": {"data": "not in cache"}}]}
    if not changes or (uncached and dvc_md5(project / "data") == _pinned_md5(project)):
        return
    raise ValueError(
        f"data/: differs from what data.dvc pins; restore it ({_WRITE_PHANTOM} after `rm -r data`, "
        "or `dvc checkout data.dvc`), or accept the new data: `dvc add data`, then commit data.dvc"
    )


def _pinned_md5(project: Path) -> str:
    (pin,) = yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))["outs"]
    return str(pin["md5"])


def reproduce(
    stage: str, *, project: Path, write: Callable[[str, bool], None], timeout_s: float = STAGE_TIMEOUT_S
) -> StageRun:
    """Run `dvc repro -s STAGE`: nothing where nothing has changed. Its output goes to `write` as it comes.

    Errors:
        StageFailed: with the stage's own exit code and error line.
    """
    command = ["dvc", "--wait-for-lock", "repro", "-s", stage]
    start = time.monotonic()

    def show(text: str, is_progress: bool) -> None:
        if is_progress or not _CHATTER.match(text):
            write(text, is_progress)

    for _ in range(_BUSY_TRIES):
        try:
            status, output = stream(command, folder=project, write=show, timeout_s=timeout_s)
        except TimeoutError:
            raise StageFailed(stage, None, f"still running after {timeout_s:g} s, ended") from None
        if status == 0:
            return StageRun(stage, _state(output), time.monotonic() - start)
        if "is busy, it is being blocked by" not in output:
            break
        time.sleep(_BUSY_WAIT_S)
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
