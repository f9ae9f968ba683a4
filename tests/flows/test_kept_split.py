import hashlib
import json
from pathlib import Path

import pytest
import yaml

from flows._kept_split import keep_split

SPLIT = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


@pytest.fixture
def split_project(tmp_path: Path) -> Path:
    """What a finished graph leaves: the pin of the data, the lock, the split."""
    content = json.dumps(SPLIT).encode()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/split.json").write_bytes(content)
    entry = {"path": "artifacts/split.json", "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}
    stages = {"ingest": {"deps": [{"path": "data", "md5": "old.dir"}]}, "split": {"outs": [entry]}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "data.split.json").write_text(json.dumps({"train": ["z"], "validation": [], "test": ["b"]}))
    pin(tmp_path, "old.dir")
    return tmp_path


def pin(project: Path, md5: str) -> None:
    (project / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": md5, "path": "data"}]}))


def kept(project: Path) -> dict[str, list[str]]:
    return dict(json.loads((project / "data.split.json").read_text()))


def test_the_same_data_keep_the_split_as_it_is(split_project: Path) -> None:
    before = kept(split_project)
    assert keep_split(split_project) == 0
    assert kept(split_project) == before


def test_new_data_keep_everybody_where_the_last_split_put_them_and_who_left_before(split_project: Path) -> None:
    pin(split_project, "new.dir")
    assert keep_split(split_project) == 5
    assert kept(split_project) == {"train": ["a", "b", "z"], "validation": ["c"], "test": ["d"]}


def test_before_the_first_run_nothing_is_kept(split_project: Path) -> None:
    (split_project / "dvc.lock").unlink()
    assert keep_split(split_project) == 0


def test_a_split_that_is_not_the_locked_one_is_refused(split_project: Path) -> None:
    pin(split_project, "new.dir")
    (split_project / "artifacts/split.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected the split that dvc\.lock pins, got another or none; `dvc checkout"):
        keep_split(split_project)
    assert kept(split_project)["test"] == ["b"]
