import os
import subprocess
from pathlib import Path

import pytest

from flows import _git


def git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    project = tmp_path / "a clone"
    (project / "reports").mkdir(parents=True)
    for name in ("dvc.lock", "data.dvc", "code.py", "params.yaml", "reports/old.json"):
        (project / name).write_text("1\n")
    (project / ".gitignore").write_text("/reports/times.json\n")
    git(project, "init", "-q", ".")
    git(project, "config", "user.email", "person@example.org")
    git(project, "config", "user.name", "A Person")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    return project


def make_results(project: Path) -> None:
    (project / "dvc.lock").write_text("2\n")
    (project / "reports" / "old.json").unlink()
    (project / "reports" / "new.json").write_text("{}\n")
    (project / "reports" / "times.json").write_text("3\n")
    (project / "promotions").mkdir()
    (project / "promotions" / "2-against-1.md").write_text("PROMOTE\n")


def test_results_are_committed_beside_a_persons_work_which_stays_as_it_is(clone: Path) -> None:
    make_results(clone)
    (clone / "code.py").write_text("work in progress\n")
    git(clone, "add", "code.py")
    (clone / "params.yaml").write_text("not even staged\n")
    git(clone, "checkout", "-q", "--detach")
    before = git(clone, "status", "--porcelain"), git(clone, "rev-parse", "HEAD"), git(clone, "write-tree")
    commit = _git.commit_results(clone, branch="retrain/2026-11-22-abc", message="Retrain (manual)")
    assert commit is not None
    assert (git(clone, "status", "--porcelain"), git(clone, "rev-parse", "HEAD"), git(clone, "write-tree")) == before
    assert git(clone, "rev-parse", f"{commit.branch}^") == git(clone, "rev-parse", "HEAD")
    changed = git(clone, "diff", "--name-status", "--no-renames", "HEAD", commit.branch).splitlines()
    expected = ["M\tdvc.lock", "A\tpromotions/2-against-1.md", "A\treports/new.json", "D\treports/old.json"]
    assert changed == expected
    assert git(clone, "show", "-s", "--format=%an %s", commit.branch) == "A Person Retrain (manual)"


def test_the_same_results_are_one_commit_and_other_results_of_the_same_name_a_branch_of_their_own(clone: Path) -> None:
    make_results(clone)
    first = _git.commit_results(clone, branch="retrain/x", message="one")
    assert first is not None
    assert _git.commit_results(clone, branch="retrain/x", message="again") == first
    (clone / "dvc.lock").write_text("3\n")
    second = _git.commit_results(clone, branch="retrain/x", message="two")
    assert second is not None
    assert second.branch == "retrain/x-2"
    assert git(clone, "rev-parse", "retrain/x") == first.revision
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "taken over by hand")
    assert _git.commit_results(clone, branch="retrain/x", message="nothing new") is None


def test_without_an_identity_the_commit_has_a_name_of_its_own(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")) or name == "EMAIL"]:
        monkeypatch.delenv(name)
    git(clone, "config", "--unset", "user.email")
    git(clone, "config", "--unset", "user.name")
    make_results(clone)
    commit = _git.commit_results(clone, branch="retrain/x", message="one")
    assert commit is not None
    assert git(clone, "show", "-s", "--format=%an, %cn", commit.branch) == "MedDet retraining, MedDet retraining"


def test_changed_files_are_code_and_parameters_not_results(clone: Path) -> None:
    assert _git.changed_files(clone) == []
    make_results(clone)
    (clone / "notes.txt").write_text("a person's own\n")
    assert _git.changed_files(clone) == []
    (clone / "params.yaml").write_text("2\n")
    (clone / "ä new.py").write_text("\n")
    assert _git.changed_files(clone) == ["params.yaml", "ä new.py"]


def test_a_folder_without_git_or_without_a_commit_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"git status failed: .*not a git repository"):
        _git.changed_files(tmp_path)
    git(tmp_path, "init", "-q", ".")
    with pytest.raises(ValueError, match=r"git rev-parse failed"):
        _git.commit_results(tmp_path, branch="retrain/x", message="one")
    with pytest.raises(ValueError, match=r"git show failed"):
        _git.file_at(tmp_path, "--output=stolen", "data.dvc")
    assert not (tmp_path / "stolen").exists()
