"""DVC's cache, checked against dvc.lock: DVC itself restores a damaged object without a word."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage

from flows import _dvc

_IN_OUTPUTS = "changed outs"


def damaged(project: Path) -> list[str]:
    """Read every object that dvc.lock names and that is in the cache (about 500 MB/s); a line for each damaged output.

    Objects are shared: a damaged one is told for each stage that has it.
    """
    seen: dict[Path, bool] = {}
    lines = []
    with Repo(str(project)) as repo:
        for name, out in _cached_outputs(repo, project):
            bad = [path for path in _objects(out) if not seen.setdefault(path, _is_whole(path))]
            if bad:
                shown = ", ".join(str(path.relative_to(project.resolve())) for path in bad[:3])
                lines.append(
                    f"DVC's cache: {len(bad)} objects of {out.def_path}, made by stage {name}, are damaged "
                    f"({shown}{', ...' if len(bad) > 3 else ''}); delete them, then `dvc fetch {name}` "
                    f"or `dvc repro --force --single-item {name}`"
                )
    return lines


def lost(project: Path, changes: Mapping[str, Any]) -> list[str]:
    """Name the stages that would run again for no other reason than that the cache has not got what they made.

    Args:
        project: its folder.
        changes: what `dvc status` says of the whole graph.
    """
    only_outputs = {
        name
        for name, reasons in changes.items()
        if all(isinstance(reason, dict) and set(reason) == {_IN_OUTPUTS} for reason in reasons)
    }
    with Repo(str(project)) as repo:
        outputs = list(_cached_outputs(repo, project))
        return sorted({name for name, out in outputs if name in only_outputs and not _is_complete(out)})


def _cached_outputs(repo: Repo, project: Path) -> Iterator[tuple[str, Output]]:
    """The stages' outputs that belong into the cache, each with its stage's name."""
    for stage in repo.index.stages:
        for out in stage.outs:
            if isinstance(stage, PipelineStage) and out.use_cache and out.hash_info:
                yield _dvc.address(stage, project), out


def _objects(out: Output) -> Iterator[Path]:
    """The files in the cache that make up an output, as far as they are there; none of a list that is damaged."""
    top = _place(out, str(out.hash_info.value))
    if not top.is_file():
        return
    yield top
    if out.hash_info.isdir and _is_whole(top):
        for entry in json.loads(top.read_text(encoding="utf-8")):
            if (path := _place(out, entry["md5"])).is_file():
                yield path


def _is_complete(out: Output) -> bool:
    top = _place(out, str(out.hash_info.value))
    if not top.is_file():
        return False
    if not out.hash_info.isdir:
        return True
    return all(_place(out, entry["md5"]).is_file() for entry in json.loads(top.read_text(encoding="utf-8")))


def _place(out: Output, md5: str) -> Path:
    return Path(out.cache.oid_to_path(md5))


def _is_whole(path: Path) -> bool:
    expected = (path.parent.name + path.name).removesuffix(".dir")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == expected
