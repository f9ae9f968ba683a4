import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from flows._clone import check_packages, give_to_pool, revision, take_revision


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(project: Path, tmp_path: Path) -> Path:
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    run("git", "add", "dvc.lock", folder=project)
    run("git", "commit", "-qm", "lock", folder=project)
    run("git", "clone", "-q", str(project), str(tmp_path / "clone"), folder=tmp_path)
    return tmp_path / "clone"


def commit(project: Path, path: str, text: str) -> str:
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text(text)
    run("git", "add", path, folder=project)
    run("git", "commit", "-qm", path, folder=project)
    return revision(project)


def test_a_workers_clone_follows_the_coordinator_and_gives_up_results_alone(project: Path, clone: Path) -> None:
    give_to_pool(clone, "a")
    (clone / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (clone / "reports").mkdir()
    (clone / "reports" / "new.json").write_text("{}")
    (clone / "notes.txt").write_text("mine")
    commit(project, "reports/new.json", "[]")
    wanted = commit(project, "toy/mid.py", "print()\n")
    take_revision(clone, wanted)
    assert revision(clone) == wanted
    assert (clone / "toy" / "mid.py").read_text() == "print()\n"
    assert (clone / "dvc.lock").read_text() == "schema: '2.0'\n"
    assert (clone / "reports" / "new.json").read_text() == "[]"
    assert (clone / "notes.txt").read_text() == "mine"


def test_a_clone_that_nobody_gave_to_a_pool_is_not_touched(clone: Path) -> None:
    with pytest.raises(ValueError, match="not given to a pool"):
        take_revision(clone, revision(clone))


def test_a_clone_with_changes_is_not_taken_by_a_pool(clone: Path) -> None:
    (clone / "dvc.lock").write_text("mine\n")
    with pytest.raises(ValueError, match=r"expected a clean clone, got changes of dvc\.lock"):
        give_to_pool(clone, "a")


def test_changes_of_a_person_stay(project: Path, clone: Path) -> None:
    give_to_pool(clone, "a")
    wanted = commit(project, "toy/new.py", "theirs\n")
    (clone / "toy" / "new.py").write_text("mine\n")
    with pytest.raises(ValueError, match=r"toy/new\.py is not committed here"):
        take_revision(clone, wanted)
    assert (clone / "toy" / "new.py").read_text() == "mine\n"
    (clone / "toy" / "new.py").unlink()
    (clone / "params.yaml").write_text("mine\n")
    with pytest.raises(ValueError, match=r"got changes of params\.yaml"):
        take_revision(clone, wanted)
    assert (clone / "params.yaml").read_text() == "mine\n"


def test_a_revision_that_was_not_pushed_is_named(clone: Path) -> None:
    give_to_pool(clone, "a")
    with pytest.raises(ValueError, match="revision 0123456789ab is not at origin; push it"):
        take_revision(clone, "0123456789ab" + 28 * "0")


def test_packages_are_those_of_the_lock(tmp_path: Path) -> None:
    check_packages(tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"prefect=={version('prefect')} \\\n    --hash=sha256:0\nno-such-package==1.0\n")
    check_packages(tmp_path)
    lock.write_text("prefect==0.0.1 \\\n    --hash=sha256:0\n")
    with pytest.raises(ValueError, match=f"expected prefect 0.0.1, got {version('prefect')}"):
        check_packages(tmp_path)
