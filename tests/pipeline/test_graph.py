"""The real graph on a tiny phantom: from nothing to a bundle and reports, and a second time nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "PYTHONPATH": ".",
}


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900)


CANARY = "Canary^Coalmine"


def name_somebody(path: Path) -> None:
    """Write a name into a DICOM file, where a hospital's would be and where nobody looks."""
    file = pydicom.dcmread(path)
    file.PatientIdentityRemoved = "NO"
    file.PatientName = file.InstitutionName = file.StudyDescription = file.SeriesDescription = CANARY
    file.private_block(0x0011, CANARY, create=True).add_new(0x01, "LO", CANARY)
    file.save_as(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the tiny preset, its phantom pinned, and every stage run once."""
    folder = tmp_path_factory.mktemp("project")
    for package in ("meddet", "pipeline", "flows"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data.split.json", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "params" / "tiny.yaml", folder / "params.yaml")
    command("git", "init", "--quiet", cwd=folder)
    assert command("dvc", "init", "--quiet", cwd=folder).returncode == 0
    phantom = command("python", "-m", "meddet.cli", "phantom", "--preset", "tiny", "--out", "data", cwd=folder)
    assert phantom.returncode == 0, phantom.stderr
    for path in (folder / "data" / "images").glob("*.dcm"):
        name_somebody(path)
    assert command("dvc", "add", "--quiet", "data", cwd=folder).returncode == 0
    done = command("dvc", "repro", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_second_run_does_nothing(project: Path) -> None:
    again = command("dvc", "repro", cwd=project)
    assert again.returncode == 0
    assert "Running stage" not in again.stdout
    assert "up to date" in again.stdout


def test_checkpoints_are_gone_after_success(project: Path) -> None:
    assert [path for path in (project / ".ckpt").rglob("*") if path.suffix == ".pt"] == []


def test_every_model_is_evaluated_and_measured(project: Path) -> None:
    evaluated = json.loads((project / "reports" / "evaluate.json").read_text())
    measured = json.loads((project / "reports" / "benchmark.json").read_text())
    for name in ("student", "resnet50", "resnet101", "resnet152"):
        assert name in evaluated
        assert name in measured["models"]
    assert "baseline" in evaluated


def test_no_identity_reaches_an_artifact(project: Path) -> None:
    patients = [line.split(",")[0] for line in (project / "data" / "patients.csv").read_text().splitlines()[1:]]
    texts = [p for folder in ("artifacts", "reports") for p in (project / folder).rglob("*") if p.is_file()]
    for path in texts:
        content = path.read_bytes()
        found = [patient for patient in patients if patient.encode() in content]
        assert not found, f"{path.name} holds {found}"


def test_fault_25_no_name_reaches_artifacts_logs_mlflow_or_the_bundle(project: Path) -> None:
    mirrored = command("python", "-m", "flows.mirror", cwd=project)
    assert mirrored.returncode == 0, mirrored.stderr
    assert (project / "mlflow.db").is_file()
    searched = [path for path in project.rglob("*") if path.is_file() and "data" not in path.relative_to(project).parts]
    assert len([path for path in searched if path.is_relative_to(project / "mlartifacts")]) > 5
    found = [str(path) for path in searched if ".dvc" not in path.parts and CANARY.encode() in path.read_bytes()]
    assert found == []
    assert CANARY not in mirrored.stdout + mirrored.stderr
    identity = json.loads((project / "reports" / "ingest.json").read_text())["identity"]
    assert identity["tags"]["PatientName"] == identity["dicom_files"] > 0, "the gate counts by tag name"


def test_the_data_page_is_made(project: Path) -> None:
    assert "PatientName (" in (project / "artifacts" / "data_page" / "data.html").read_text()


def test_outputs_are_the_same_from_a_clean_start(project: Path) -> None:
    """Data stages and training give the same bytes again; only what holds times may differ."""
    before = (project / "dvc.lock").read_text()
    forced = command("dvc", "repro", "--force", "-s", "split", "locate", "baseline", cwd=project)
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert (project / "dvc.lock").read_text() == before


def test_a_wrong_parameter_stops_the_stage_in_one_line(project: Path) -> None:
    params = project / "params.yaml"
    good = params.read_text()
    try:
        params.write_text(good.replace("    steps: 2", "    steps: many", 1))
        stopped = command("python", "-m", "pipeline.pretrain", "resnet50", cwd=project)
    finally:
        params.write_text(good)
    assert stopped.returncode == 2
    assert stopped.stderr.startswith("error: params.yaml: pretrain.resnet50.steps:")
    assert stopped.stderr.count("\n") == 1


def test_a_wrong_teacher_is_named(project: Path) -> None:
    stopped = command("python", "-m", "pipeline.pretrain", "resnet18", cwd=project)
    assert stopped.returncode == 2
    assert "expected one teacher of resnet50, resnet101, resnet152, got resnet18" in stopped.stderr
