import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from meddet.data.digest import dvc_md5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names that sort differently as paths, as text and by case, an empty file, and what .dvcignore leaves out."""
    files = {"b.txt": b"two", "a/z.bin": bytes(range(256)), "a/b/c.csv": b"x,y\r\n1,2\r\n", "a.b": b"", "B.txt": b"B"}
    files |= {"Bild ä.png": b"umlaut", "a/.hidden": b"h", ".DS_Store": b"no", "a/Thumbs.db": b"no", "a-b": b"-"}
    for name, content in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "data/empty").mkdir()
    return tmp_path / "data"


def test_it_is_dvc_s_own_digest(folder: Path) -> None:
    project = folder.parent
    (project / ".dvcignore").write_text(".DS_Store\nThumbs.db\n")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "HOME": str(project)}
    environment |= {"DVC_SITE_CACHE_DIR": str(project / "site"), "DVC_GLOBAL_CONFIG_DIR": str(project / "config")}
    for command in (["init", "-q", "--no-scm"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=project, env=environment, check=True, timeout=120)
    (out,) = yaml.safe_load((project / "data.dvc").read_text())["outs"]
    assert dvc_md5(folder) == out["md5"]


def test_it_changes_with_names_and_content_only(folder: Path) -> None:
    before = dvc_md5(folder)
    (folder / "b.txt").touch()
    (folder / "another/empty").mkdir(parents=True)
    assert dvc_md5(folder) == before
    (folder / "b.txt").write_bytes(b"twO")
    assert dvc_md5(folder) != before
    (folder / "b.txt").write_bytes(b"two")
    (folder / "b.txt").rename(folder / "c.txt")
    assert dvc_md5(folder) != before


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none: expected a folder, found none"):
        dvc_md5(tmp_path / "none")
