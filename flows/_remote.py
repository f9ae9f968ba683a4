"""How one stage travels between machines: its inputs to a worker, its results home, both by the shared DVC remote.

`python -m flows._remote order|fetch|deliver|restore STAGE`, each a process of its own: DVC's locks belong to processes.

- `order` (home) restores the stage; where there is nothing to restore, it pushes what the stage reads from other
  stages and writes an order: those stages' entries of dvc.lock, and the hash of everything that the stage reads: code,
  parameters, data.
- `fetch` (worker) pulls just that, and refuses where anything the stage reads differs from the order.
- `deliver` (worker) pushes the stage's outputs, its reports, and then its entry of DVC's run cache.
- `restore` (home) does what `dvc repro -s --pull` does on a hit in the run cache, and never runs the stage.

Why not the commands alone, tried with DVC 3.67.1: `dvc push --run-cache` leaves out reports (`cache: false`), so that
`dvc repro --pull` at home finds half a result and trains again in silence; `dvc pull --run-cache` in a fresh clone
pulls data/, too. Why not the worker's entry of dvc.lock put into ours: the run cache is keyed by what the stage read,
so a result made from anything else can't come home.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import yaml
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo, lock_repo
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError

from meddet.files import read_json, write_json

ORDER = Path(".prefect") / "order"
POOL_KEY = "pool"
RESTORE_CODES = {0: "unchanged", 3: "restored", 4: None}


def for_pools(project: Path) -> frozenset[str]:
    """Name the stages that dvc.yaml marks for worker pools: `meta: {pool: true}`.

    Errors:
        ValueError: none is marked, or there is no remote to share with the workers.
    """
    with Repo(str(project)) as repo:
        if not repo.config["core"].get("remote"):
            raise ValueError(f"{project / '.dvc'}: expected a default remote that the workers share, got none")
        marked = (one for one in repo.index.stages if isinstance(one, PipelineStage) and (one.meta or {}).get(POOL_KEY))
        names = frozenset(str(one.name) for one in marked)
    if not names:
        raise ValueError(f"{project / 'dvc.yaml'}: expected a stage with `meta: {{{POOL_KEY}: true}}`, got none")
    return names


def order_path(project: Path, stage: str) -> Path:
    """Name the file that `order` writes and `fetch` reads."""
    return project / ORDER / f"{stage}.json"


def send(project: Path, name: str) -> None:
    """Push the stage's inputs and write its order.

    Errors:
        ValueError: an input is a report: DVC doesn't keep those in its cache, so that none can travel.
    """
    with _opened(project) as repo:
        stage = repo.stage.load_one(name=name)
        upstream = list(repo.index.graph.successors(stage))
        outs = [out for one in upstream for out in one.outs if _is_read(stage, out)]
        if reports := [str(out.def_path) for out in outs if not out.use_cache]:
            raise ValueError(f"stage {name}: reads {reports[0]}, which is not in DVC's cache: it can't go to a worker")
        paths = [str(out.def_path) for out in outs]
        if paths:
            repo.push(targets=paths)
        names = {one.name for one in upstream if isinstance(one, PipelineStage)}
        lock = _read_lock(project)
        entries = {key: entry for key, entry in lock["stages"].items() if key in names}
        order = {"paths": paths, "lock": {**lock, "stages": entries}, "reads": _reads(stage)}
        write_json(order_path(project, name), order)


def fetch(project: Path, name: str) -> None:
    """Pull what the order names, and check that this clone would run the stage on exactly that.

    dvc.lock is written anew: the entries of the stages before this one, nothing else.

    Errors:
        ValueError: what the stage reads is not what the order says: the first few paths.
    """
    order = read_json(order_path(project, name))
    (project / "dvc.lock").write_text(yaml.safe_dump(order["lock"], sort_keys=False), encoding="utf-8")
    with _opened(project) as repo:
        if order["paths"]:
            repo.pull(targets=order["paths"], force=True)
        reads = _reads(repo.stage.load_one(name=name))
    expected = order["reads"]
    if wrong := sorted(path for path in {*reads, *expected} if reads.get(path) != expected.get(path)):
        raise ValueError(f"stage {name}: {', '.join(wrong[:3])}: not what the coordinator has; commit it and push")


def deliver(project: Path, name: str) -> None:
    """Push all that the stage made; the entry in the run cache comes last, so that it never promises what isn't there.

    Errors:
        ValueError: a report could not be pushed.
    """
    with _opened(project) as repo:
        stage = repo.stage.load_one(name=name)
        repo.push(targets=[name])
        if repo.cloud.push({out.hash_info for out in stage.outs if not out.use_cache}).failed:
            raise ValueError(f"stage {name}: its reports could not be pushed")
        repo.stage_cache.push(None)


def restore(project: Path, name: str) -> str | None:
    """Bring the stage's results here, from DVC's cache or from the remote.

    Returns:
        "unchanged", "restored", or None where nobody has run the stage on what it reads now.
    """
    with _opened(project) as repo:
        stage = repo.stage.load_one(name=name)
        if not stage.changed():
            return "unchanged"
        repo.stage_cache.pull(None)
        stage.remove_outs()
        try:
            repo.stage_cache.restore(stage, pull=True)
        except RunCacheNotFoundError:
            return None
        stage.save()
        stage.commit()
        stage.dump(update_pipeline=False)
        return "restored"


@contextmanager
def _opened(project: Path) -> Iterator[Repo]:
    """DVC's repository under its lock; targets are names and paths in the working directory."""
    with chdir(project), Repo(str(project), _wait_for_lock=True) as repo, lock_repo(repo):
        yield repo


def _is_read(stage: PipelineStage, out: Output) -> bool:
    """Whether a dependency is this output, a part of it, or a folder around it."""
    return any(
        dep.fs.isin_or_eq(dep.fs_path, out.fs_path) or dep.fs.isin(out.fs_path, dep.fs_path)
        for dep in stage.deps
        if not isinstance(dep, ParamsDependency)
    )


def _reads(stage: PipelineStage) -> dict[str, Any]:
    """The hash of every dependency, and the values of the parameters."""
    stage.save_deps()
    return {str(dep.def_path): dep.hash_info.value for dep in stage.deps}


def _read_lock(project: Path) -> dict[str, Any]:
    path = project / "dvc.lock"
    lock = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {"schema": "2.0"}
    return {"stages": {}, **lock}


def main(arguments: list[str] | None = None) -> int:
    """Do one step for the project in the working directory.

    Returns:
        0; 1 after one line; of `order` and `restore` one of RESTORE_CODES.
    """
    parser = argparse.ArgumentParser(prog="python -m flows._remote", description=__doc__)
    parser.add_argument("step", choices=["order", "fetch", "deliver", "restore"])
    parser.add_argument("stage")
    options = parser.parse_args(arguments)
    project = Path.cwd()
    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        if options.step in {"fetch", "deliver"}:
            {"fetch": fetch, "deliver": deliver}[options.step](project, options.stage)
            return 0
        state = restore(project, options.stage)
        if state is None and options.step == "order":
            send(project, options.stage)
        return next(code for code, meaning in RESTORE_CODES.items() if meaning == state)
    except (DvcException, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
