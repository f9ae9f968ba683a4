"""Kill trainings, give the same command again, and compare the weights with those of an uninterrupted training.

python -m benchmarks.kills --out out/kills.json    30 kills of pretrain, GAN distillation, dvc; exit 1 if a bit differs

The trainings are tiny and run on one thread, on images of noise: what is measured is the resuming, not the learning.
"""

import argparse
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from meddet.checkpoint import content_sum
from meddet.data.images import write_canonical
from meddet.files import write_json

ROOT = Path(__file__).parents[1]
NOTICE = "Research use only; these trainings learn nothing."
TIMEOUT_S = 600.0
PRETRAIN = ("pipeline.pretrain", "resnet50")
DISTILL = ("pipeline.distill",)
BASELINE = ("pipeline.baseline",)
DVC_PRETRAIN = ("dvc", "repro", "-s", "pretrain@resnet50")
_OUTPUTS = {PRETRAIN: "pretrain", DISTILL: "distill", BASELINE: "baseline", DVC_PRETRAIN: "pretrain"}
_HOMES = {**_OUTPUTS, PRETRAIN: "pretrain-resnet50", DVC_PRETRAIN: "pretrain-resnet50"}
_ABOUT = re.compile(r"resuming at step \d+ of \d+|warning: [^\r\n]*")

Command = tuple[str, ...]


@dataclass(frozen=True)
class Kill:
    """One line of the table."""

    command: str
    signal: str
    where: str
    exit_code: int
    seconds: float
    """From the signal until the last of its processes had ended."""
    went_on: str = ""
    """What the same command said when it was given again."""

    def __str__(self) -> str:
        return (
            f"  {self.command:<32} {self.signal:<8} {self.where:<52} exit {self.exit_code:>4} "
            f"in {self.seconds:5.2f} s   {self.went_on}"
        )


class Attempt:
    """A command that trains, and what can be seen of it from outside."""

    def __init__(self, command: Command, project: Path) -> None:
        self.command = command
        self.home = project / ".ckpt" / _HOMES[command]
        self.log = project / "attempt.log"
        self.before = self.newest()
        self.remains = self._temporaries()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=project, env=environment(project), stdout=log, stderr=log
            )

    def newest(self) -> int:
        """Return the steps done at the newest checkpoint, 0 where there is none."""
        steps = [int(path.stem.removeprefix("step_")) for path in self.home.glob("*/step_*.pt")]
        return max(steps, default=0)

    def being_written(self) -> int:
        """Return the size in bytes of the checkpoint that it is writing, 0 where none is."""
        sizes = [0]
        for path in self._temporaries() - self.remains:
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        return max(sizes)

    def _temporaries(self) -> set[Path]:
        return set(self.home.glob("*/.step_*"))

    def reach(self, condition: Callable[[], bool], *, limit_s: float = TIMEOUT_S) -> bool:
        """Wait until the condition holds (True), or the process has ended or the time is over (False)."""
        deadline = time.monotonic() + limit_s
        watched = os.pidfd_open(self.process.pid)
        try:
            while not condition():
                if time.monotonic() > deadline or select.select([watched], [], [], 0.0005)[0]:
                    return False
            return True
        finally:
            os.close(watched)

    def said(self) -> str:
        """Return what it said about checkpoints."""
        found = _ABOUT.findall(self.log.read_text(errors="replace"))
        return "; ".join(found) or ("killed again before it said" if self.before else "from the start")

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; return the exit code of the command, and the seconds until it and its trainer had ended."""
        trainer = _pidfd(int(text)) if (text := _holder(self.home)) else None
        start = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_S)
        if trainer is not None:
            assert select.select([trainer], [], [], TIMEOUT_S)[0], f"an orphan trains on: {self.home}"
            os.close(trainer)
        return code, time.monotonic() - start


Moment = Callable[[Attempt], str]
Plan = Sequence[tuple[signal.Signals, Moment]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, print the table and write it; 1 if an output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments of the kills (default: 0)")
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project", steps=40, checkpoint_steps=2)
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project, check=True)
        tables = [_table(command, project, draw) for command in (PRETRAIN, DISTILL, DVC_PRETRAIN)]
    write_json(options.out, {"notice": NOTICE, "seed": options.seed, "trainings": tables})
    print(NOTICE)
    return 0 if all(table["equal"] for table in tables) else 1


def _table(command: Command, project: Path, draw: random.Random) -> dict[str, Any]:
    expected = uninterrupted(PRETRAIN if command == DVC_PRETRAIN else command, project)
    kills, found = kill_again_and_again(command, project, _plan(command, draw))
    said = "equal" if found == expected else "DIFFERENT"
    print(f"{' '.join(command)}: {len(kills)} kills, outputs {said}: {found}", flush=True)
    table = {"expected": expected, "found": found, "equal": found == expected}
    return {"command": " ".join(command), **table, "kills": [asdict(kill) for kill in kills]}


def _plan(command: Command, draw: random.Random) -> Plan:
    """Draw moments: one while it starts, then others at random steps and in writes, in random order."""
    steps = [(signal.SIGKILL, after_checkpoint(draw.uniform(0, 1))) for _ in range(5)]
    asked = [(signal.SIGTERM, after_checkpoint(draw.uniform(0, 1))) for _ in range(2)]
    if command == DVC_PRETRAIN:
        plan = [*steps[:4], asked[0]]
    else:
        writes = [(signal.SIGKILL, in_write(draw.uniform(0, 0.95))) for _ in range(4)]
        plan = [*steps, *writes, *asked]
    draw.shuffle(plan)
    return [(signal.SIGKILL, after_start(draw.uniform(0, 4))), *plan]


def after_checkpoint(wait_s: float) -> Moment:
    """Some time after the next checkpoint: in the middle of a step."""

    def wait(attempt: Attempt) -> str:
        assert attempt.reach(lambda: attempt.newest() > attempt.before), attempt.log.read_text()
        step = attempt.newest()
        attempt.reach(lambda: False, limit_s=wait_s)
        return f"{wait_s:.2f} s after checkpoint {step}"

    return wait


def in_write(share: float) -> Moment:
    """While the next checkpoint is written, `share` of the bytes of the one before."""

    def wait(attempt: Attempt) -> str:
        sizes = [path.stat().st_size for path in attempt.home.glob("*/step_*.pt")]
        least = share * max(sizes, default=1)
        assert attempt.reach(lambda: attempt.being_written() > least), attempt.log.read_text()
        return f"in the write of a checkpoint, {attempt.being_written() / 1e6:.1f} MB written"

    return wait


def after_start(wait_s: float) -> Moment:
    """While it starts: imports, images, networks."""

    def wait(attempt: Attempt) -> str:
        attempt.reach(lambda: False, limit_s=wait_s)
        return f"{wait_s:.2f} s after its start"

    return wait


def kill_again_and_again(command: Command, project: Path, plan: Plan) -> tuple[list[Kill], str]:
    """Kill the command at every moment of the plan, each time giving it again; then let it finish.

    Returns:
        The kills, and the sum of what it wrote in the end.
    """
    kills: list[Kill] = []

    def went_on(attempt: Attempt) -> None:
        if kills:
            kills[-1] = replace(kills[-1], went_on=attempt.said())
            print(kills[-1], flush=True)

    for number, moment in plan:
        attempt = Attempt(command, project)
        where = moment(attempt)
        code, seconds = attempt.end(number)
        went_on(attempt)
        kills.append(Kill(" ".join(command), number.name, where, code, round(seconds, 2)))
    attempt = Attempt(command, project)
    assert attempt.process.wait(TIMEOUT_S) == 0, attempt.log.read_text()
    went_on(attempt)
    assert not list((project / ".ckpt").glob("*/*/")), "checkpoints are left after success"
    return kills, outputs_sum(command, project)


def outputs_sum(command: Command, project: Path) -> str:
    """Return the sum of the weights, the curve and everything else that a training writes."""
    folders = [project / top / _OUTPUTS[command] for top in ("artifacts", "reports")]
    return " ".join(content_sum(folder) for folder in folders)


def uninterrupted(command: Command, project: Path) -> str:
    """Run the command in peace, and return the sum of what it wrote."""
    attempt = Attempt(command, project)
    assert attempt.process.wait(TIMEOUT_S) == 0, attempt.log.read_text()
    return outputs_sum(command, project)


def make_project(folder: Path, *, steps: int, checkpoint_steps: int) -> Path:
    """Write a project that can train: a copy of the code, small parameters, twelve images of noise with two boxes."""
    for package in ("meddet", "pipeline"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    chosen = {"steps": steps, "checkpoint_steps": checkpoint_steps, "batch_size": 2}
    params["teachers"] = ["resnet50"]
    params["pretrain"] = {"resnet50": params["pretrain"]["resnet50"] | chosen}
    params["baseline"] |= chosen
    params["distill"]["schedule"] |= chosen
    params["distill"]["method"]["anchor"] = "resnet50"
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    _write_artifacts(folder / "artifacts")
    return folder


def environment(project: Path) -> dict[str, str]:
    """Return the environment of commands in a project: its own code, our Python, one thread, a plain shell.

    DVC runs commands in $SHELL; where there is none, as under cron, in /bin/sh, which may stay as their parent.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    return {**os.environ, **ours, "SHELL": "/bin/sh"}


def _write_artifacts(folder: Path) -> None:
    side, ids = 64, range(1, 13)
    draw = np.random.default_rng(0)
    for number in ids:
        write_canonical(folder / "images" / f"{number:06d}.png", draw.random((side, side), dtype=np.float32))
    images: list[dict[str, Any]] = [
        {"id": i, "file_name": f"{i:06d}.png", "width": side, "height": side, "patient_id": f"p{i}", "spacing_mm": None}
        for i in ids
    ]
    boxes = [
        {"id": 2 * i + k, "image_id": i, "category_id": 1 + k, "bbox": [20.0 + i, 12.0 + 24 * k, 14.0, 9.0],
         "area": 126.0, "iscrowd": 0, "level": None}
        for i in ids
        for k in range(2)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
    info = {"data_md5": "0" * 32}
    write_json(folder / "coco.json", {"info": info, "images": images, "annotations": boxes, "categories": categories})
    parts = {"train": ids[:10], "validation": ids[10:11], "test": ids[11:]}
    write_json(folder / "split.json", {part: [f"p{i}" for i in chosen] for part, chosen in parts.items()})
    write_json(folder / "regions.json", {str(i): [0.0, 0.0, float(side), float(side)] for i in ids})


def _holder(home: Path) -> str:
    try:
        return (home / "lock").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


if __name__ == "__main__":
    sys.exit(main())
