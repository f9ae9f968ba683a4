import shutil
import subprocess
from pathlib import Path

import pytest

from flows import _remote
from meddet.files import read_json, write_json

TEACHER = "mid@resnet50"


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def home(project: Path, tmp_path: Path) -> Path:
    run("dvc", "remote", "add", "-q", "-d", "shared", str(tmp_path / "remote"), folder=project)
    run("git", "commit", "-qam", "remote", folder=project)
    run("dvc", "repro", "-q", "-s", "first", folder=project)
    return project


def worker(home: Path, tmp_path: Path, stage: str) -> Path:
    """A fresh clone that has the order."""
    clone = tmp_path / "clone"
    run("git", "clone", "-q", str(home), str(clone), folder=tmp_path)
    shutil.copytree(home / ".prefect", clone / ".prefect")
    assert _remote.order_path(clone, stage).is_file()
    return clone


def test_inputs_travel_out_and_results_with_their_reports_home(home: Path, tmp_path: Path) -> None:
    assert _remote.restore(home, TEACHER) is None
    _remote.send(home, TEACHER)
    clone = worker(home, tmp_path, TEACHER)
    _remote.fetch(clone, TEACHER)
    assert (clone / "work" / "first.txt").is_file()
    assert not (clone / "data").exists()
    run("dvc", "repro", "-q", "-s", TEACHER, folder=clone)
    _remote.deliver(clone, TEACHER)
    assert _remote.restore(home, TEACHER) == "restored"
    assert (home / "work" / "mid" / "resnet50").read_text() == "resnet50"
    assert (home / "reports" / "mid" / "resnet50.csv").is_file()
    assert _remote.restore(home, TEACHER) == "unchanged"

    (home / "toy" / "mid.py").write_text("print()\n")
    assert _remote.restore(home, TEACHER) is None, "a result of other code"


def test_a_worker_with_another_input_refuses_and_names_it(home: Path, tmp_path: Path) -> None:
    _remote.send(home, TEACHER)
    clone = worker(home, tmp_path, TEACHER)
    (clone / "toy" / "mid.py").write_text("print()\n")
    with pytest.raises(ValueError, match=rf"stage {TEACHER}: toy/mid\.py: not what the coordinator has"):
        _remote.fetch(clone, TEACHER)


def test_a_worker_with_other_parameters_refuses(home: Path, tmp_path: Path) -> None:
    _remote.send(home, TEACHER)
    order = read_json(_remote.order_path(home, TEACHER))
    order["reads"]["params.yaml"]["split"]["seed"] += 1
    write_json(_remote.order_path(home, TEACHER), order)
    clone = worker(home, tmp_path, TEACHER)
    with pytest.raises(ValueError, match=r"params\.yaml: not what the coordinator has"):
        _remote.fetch(clone, TEACHER)


def test_a_stage_that_reads_a_report_stays_at_home(home: Path) -> None:
    graph = (home / "dvc.yaml").read_text()
    page = "  page:\n    cmd: python -m toy.first\n    deps: [reports/last.json]\n    outs: [page.html]\n"
    (home / "dvc.yaml").write_text(graph + page)
    with pytest.raises(ValueError, match=r"stage page: reads reports/last\.json, which is not in DVC's cache"):
        _remote.send(home, "page")


def test_the_mark_in_dvc_yaml_says_which_stages_go(home: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a stage with `meta: \{pool: true\}`, got none"):
        _remote.for_pools(home)
    graph = (home / "dvc.yaml").read_text()
    (home / "dvc.yaml").write_text(graph.replace("  mid:\n", "  mid:\n    meta: {pool: true}\n"))
    assert _remote.for_pools(home) == {"mid@resnet50", "mid@resnet101", "mid@resnet152"}


def test_without_a_remote_there_is_nothing_to_share(project: Path) -> None:
    with pytest.raises(ValueError, match="expected a default remote"):
        _remote.for_pools(project)
