"""Does nmODE^2 in the head make the student resist noise, as the paper claims? Train it with and without, and look.

    python -m studies.noise --seeds 3          or: make study-noise; results in studies/noise/

The same plain student (stage baseline, so that no teacher decides), on the same seeds and budget, with nmODE^2
integrated, nmODE integrated, ReLU alone and nmODE^2 by its table (what is shipped). Each is a DVC experiment:

    dvc exp run -S model.ode=nmode -S model.solver=rk4 -S baseline.seed=22 --single-item baseline

in a clone of the commit that is checked out, which shares this project's cache: what was trained before is fetched, and
a killed training goes on. It is scored on spoilt test images as stage robustness does it. Run `dvc repro locate` first.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from tqdm import tqdm

from meddet.checkpoint import content_sum
from meddet.config import Params, load_params
from meddet.data.batches import ImageSet, load_images
from meddet.data.coco import load_part
from meddet.data.transforms import cover
from meddet.evaluate import robustness
from meddet.evaluate.robustness import CLEAN, METRICS, Cell, Values, Withstood
from meddet.files import read_json, write_atomic, write_json
from meddet.inference import detect_all
from meddet.models.detector import load_detector
from meddet.models.locator import load_locator, locate, points_of
from studies.noise_report import NOTICE, noise_png, noise_report, noise_text

ROOT = Path(__file__).parents[1]
STAGE = "baseline"
HEADS = {
    "nmODE^2": ("nmode2", "rk4"),
    "nmODE": ("nmode", "rk4"),
    "ReLU": ("none", "rk4"),
    "nmODE^2 by table": ("nmode2", "fast"),
}
_SCORING = ("meddet/evaluate/corruptions.py", "meddet/evaluate/robustness.py")


@dataclass(frozen=True)
class Plan:
    """What is trained and shown."""

    steps: int
    ode_steps: int
    images: int | Literal["all"]
    severities: tuple[int, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score and write what is missing, seed by seed; the results are written anew after every seed."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    clone = _clone(options.work)
    params = load_params(clone / "params.yaml")
    plan = Plan(
        steps=options.steps or params.baseline.steps,
        ode_steps=params.model.ode_steps,
        images=options.images or params.robustness.images,
        severities=tuple(options.severities or params.robustness.severities),
    )
    identity = _identity(clone, plan)
    sets: list[tuple[Cell, ImageSet]] = []
    seen: dict[str, dict[int, Withstood]] = {head: {} for head in HEADS}
    for seed in tqdm([params.baseline.seed + place for place in range(options.seeds)], desc="study", unit="seed"):
        for head, (ode, solver) in HEADS.items():
            scores = options.work / "scores" / f"{identity}-{ode}-{solver}-{seed}.npz"
            if not scores.exists():
                _train(clone, plan, ode=ode, solver=solver, seed=seed, threads=options.threads)
                sets = sets or _sets(clone, params, plan)
                _save(scores, _score(clone, params, sets))
            seen[head][seed] = _load(scores)
        _write(options.out, seen, plan, params, clone)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds, from baseline.seed on (default: 3)")
    parser.add_argument("--steps", type=int, help="of each training (default: as in params.yaml)")
    parser.add_argument("--images", type=_images, help="test images, or all (default: as in params.yaml)")
    parser.add_argument("--severities", type=int, nargs="+", help="1 to 5 (default: as in params.yaml)")
    parser.add_argument("--threads", type=int, default=2, help="of training and scoring (default: 2)")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "noise", help="folder of the clone and the scores")
    parser.add_argument("--out", type=Path, default=ROOT / "studies" / "noise", help="folder of the results")
    return parser.parse_args(arguments)


def _images(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else int(text)


def _clone(work: Path) -> Path:
    """Set up the clone at this commit, or bring it there; checkpoints in it stay.

    Errors:
        ValueError: the cache lacks what the stage needs.
    """
    clone = work.resolve() / "clone"
    head = _git("rev-parse", "HEAD", cwd=ROOT)
    if not (clone / ".git").exists():
        clone.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", "--quiet", "--no-checkout", str(ROOT), str(clone), cwd=ROOT)
    _git("fetch", "--quiet", "origin", head, cwd=clone)
    _git("checkout", "--quiet", "--force", "--detach", head, cwd=clone)
    _dvc("config", "--local", "cache.dir", str(ROOT / ".dvc" / "cache"), cwd=clone)
    needed = [dep for dep in _dependencies(clone) if dep.startswith("artifacts/")]
    try:
        _dvc("checkout", "--quiet", "--force", *needed, "artifacts/locate", cwd=clone)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:]
        raise ValueError(f"{ROOT}: expected the outputs of ingest, split and locate in the cache, got {last}") from None
    return clone


def _train(clone: Path, plan: Plan, *, ode: str, solver: str, seed: int, threads: int) -> None:
    changes = {
        "model.ode": ode,
        "model.solver": solver,
        f"{STAGE}.seed": str(seed),
        f"{STAGE}.steps": str(plan.steps),
    }
    settings = [word for name, value in changes.items() for word in ("-S", f"{name}={value}")]
    message = f"noise: {ode}, {solver}, seed {seed}, {plan.steps} steps"
    command = [_tool("dvc"), "exp", "run", "--single-item", "-m", message, *settings, STAGE]
    environment = _environment() | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)


def _sets(clone: Path, params: Params, plan: Plan) -> list[tuple[Cell, ImageSet]]:
    """Spoil the test images and find the column on them, once for all trainings."""
    artifacts = clone / "artifacts"
    samples = load_part(artifacts / "coco.json", artifacts / "split.json", "test")
    samples = [samples[index] for index in robustness.choose_images(samples, plan.images)]
    regions = {sample.image_id: cover(sample.width, sample.height, aspect=1.0) for sample in samples}
    locator, settings = load_locator(artifacts / "locate")
    cells = tqdm(robustness.cells_of(plan.severities), desc="spoil", unit="fault", mininterval=1, leave=False)
    find = partial(locate, points_of(locator), settings=settings)
    test = load_images(artifacts / "images", samples, regions)
    return [(cell, robustness.faulty(test, cell, locate=find, seed=params.robustness.seed)) for cell in cells]


def _score(clone: Path, params: Params, sets: Sequence[tuple[Cell, ImageSet]]) -> Withstood:
    detector, size = load_detector(clone / "artifacts" / STAGE)
    limits = params.detect.model_dump()
    models = {"model": partial(detect_all, detector, size=size, **limits)}
    floors = {"score_threshold": limits["score_threshold"], "nms_iou": limits["nms_iou"]}
    shown = tqdm(sets, desc="score", unit="fault", mininterval=1, leave=False)
    seen, _ = robustness.withstood(robustness.look(images, cell, models, **floors) for cell, images in shown)
    return seen["model"]


def _write(out: Path, seen: dict[str, dict[int, Withstood]], plan: Plan, params: Params, clone: Path) -> None:
    """Write results.json, noise.png and noise.md of the seeds that every head has."""
    report = noise_report(seen) | {
        "plan": {**asdict(plan), "batch_size": params.baseline.batch_size, "corruption_seed": params.robustness.seed},
        "commit": _git("rev-parse", "HEAD", cwd=clone),
        "data_md5": read_json(clone / "artifacts" / "coco.json")["info"]["data_md5"],
        "notice": NOTICE,
    }
    write_json(out / "results.json", report)
    write_atomic(out / "noise.png", noise_png(seen, report))
    write_atomic(out / "noise.md", noise_text(report).encode())


def _save(path: Path, model: Withstood) -> None:
    cells = {f"{name}|{severity}|{metric}": v for (name, severity), each in _all(model) for metric, v in each.items()}
    partial_path = path.with_suffix(".part.npz")
    partial_path.parent.mkdir(parents=True, exist_ok=True)
    with partial_path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **cells)
    partial_path.replace(path)


def _all(model: Withstood) -> Iterator[tuple[Cell, Values]]:
    yield CLEAN, model.clean
    yield from model.cells.items()


def _load(path: Path) -> Withstood:
    values: dict[Cell, Values] = {}
    with np.load(path) as content:
        for key in content.files:
            name, severity, metric = key.split("|")
            values.setdefault((name, int(severity)), {})[metric] = content[key]
    assert all(set(each) == set(METRICS) for each in values.values())
    return Withstood(values.pop(CLEAN), values)


def _identity(clone: Path, plan: Plan) -> str:
    """Stand for all that decides a score beside head and seed: inputs, code, parameters, budget, faults."""
    content = yaml.safe_load((clone / "params.yaml").read_text(encoding="utf-8"))
    chosen = {name: content[name] for name in ("view", "model", "augment", STAGE, "detect", "robustness")}
    sums = {name: content_sum(clone / name) for name in [*_dependencies(clone), *_SCORING]}
    text = json.dumps([chosen, sums, asdict(plan)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _dependencies(clone: Path) -> list[str]:
    stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [str(name) for name in stages[STAGE]["deps"]]


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": ""}


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _dvc(*words: str, cwd: Path) -> None:
    subprocess.run([_tool("dvc"), *words], cwd=cwd, env=_environment(), check=True, capture_output=True, text=True)


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(error.cmd)}: ended with {error.returncode}; run again to go on from there")
