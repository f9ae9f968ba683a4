import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import _summary, train
from flows._dvc import StageRun
from meddet.files import write_json

COMMAND = [sys.executable, "-m", "flows.train"]


def flow(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, cwd=project, capture_output=True, text=True, timeout=300, check=False)


def test_the_flow_runs_the_graph_tries_a_crash_again_and_a_failed_validation_not(project: Path) -> None:
    (project / "trouble.txt").write_text("crash once")
    first = flow(project)
    assert first.returncode == 0, first.stderr
    assert (project / "attempts.txt").read_text() == "xx"
    names = ["first", "mid@resnet50", "mid@resnet101", "mid@resnet152", "last"]
    said = [line for line in first.stdout.splitlines() if line.startswith("== ")]
    assert said == [*(f"== {name}  ({index} of 5)" for index, name in enumerate(names, 1)), "== MLflow"]
    assert f"mirrored 5 stages into sqlite:///{project}/mlflow.db" in first.stdout
    assert _summary.NOTICE in first.stdout
    assert (project / ".prefect" / "prefect.db").is_file()
    assert not list(project.glob("mlruns"))

    (project / "trouble.txt").write_text("3")
    (project / "toy" / "first.py").write_text((project / "toy" / "first.py").read_text() + "# changed\n")
    second = flow(project)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == "error: stage first: first: expected calm, got trouble (exit code 3)"
    assert "Traceback" not in second.stdout + second.stderr
    assert "mid@resnet50" not in second.stdout
    assert (project / "attempts.txt").read_text() == "xxx", "a failed validation was tried again"


def test_sigterm_ends_flow_server_and_stage_and_a_second_flow_is_refused_meanwhile(project: Path) -> None:
    os.mkfifo(project / "started.fifo")
    running = subprocess.Popen(COMMAND, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stage = os.pidfd_open(int((project / "started.fifo").read_text()))
    refused = flow(project)
    assert refused.returncode == 1
    assert f"another training (process {running.pid}) runs in this project" in refused.stderr
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert select.select([stage], [], [], 0)[0], "the stage is still there"
    assert "Traceback" not in said
    assert "ended by SIGTERM; finished stages are kept" in said
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"_child.py {running.pid} " not in processes


def test_a_wrong_parameter_ends_before_anything_starts(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("test_fraction: 0.2", "test_fraction: 2"))
    ended = flow(project)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "params.yaml: split.test_fraction" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_report_shows_what_the_stages_measured(tmp_path: Path) -> None:
    quality = {"ap50_coco": 0.5, "class_agnostic": {"ap50_coco": 0.91, "recall50": 0.95}, "discs": {"auc": 0.7}}
    undefined = {**quality, "discs": {"auc": "undefined (n=0)", "auc_level_prior": 0.6}}
    evaluate: dict[str, object] = {"resnet50": quality, "baseline": undefined, "student": quality, "remarks": ["weak"]}
    evaluate["notes"] = {"class_agnostic": "labels dropped"}
    write_json(tmp_path / "reports" / "evaluate.json", evaluate)
    models = {
        name: {"parameters": number, "gmac_512": 1.5, "latency": {"onnxruntime": {"p50_ms": ms}}}
        for name, number, ms in (("student", 10_419_531, 20.0), ("resnet50", 32_260_747, 50.0))
    }
    against = {"teacher": "resnet50", "parameters_saved_percent": 67.7, "speedup": {"onnxruntime": 2.5}}
    paper = {"parameters_saved_percent": 67.8, "speedup": 5.08}
    benchmark = {"models": models, "student_against_smallest_teacher": against, "paper": paper}
    write_json(tmp_path / "reports" / "benchmark.json", benchmark)
    (tmp_path / "reports" / "evaluate").mkdir()
    (tmp_path / "reports" / "evaluate" / "pr.png").write_bytes(b"")
    (tmp_path / "artifacts" / "data_page").mkdir(parents=True)
    (tmp_path / "artifacts" / "data_page" / "data.html").write_bytes(b"")

    lines = train.report(tmp_path, [StageRun("ingest", "ran", 72.4)]).splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[:6] if line}
    assert table["student"] == ["0.910", "0.950", "0.500", "0.700", "-", "10,419,531", "1.50", "20.0", "2.50"]
    assert table["baseline"][3:7] == ["undefined", "(n=0)", "0.600", "10,419,531"]
    assert table["resnet50"][-1] == "1.00"
    assert "weak" in lines
    assert any("2.50x as fast in ONNX Runtime (paper 5.08x" in line for line in lines)
    assert "  reports/evaluate/pr.png" in lines
    assert "  artifacts/data_page/data.html" in lines
    assert any(line.split() == ["ingest", "ran", "1", "min", "12", "s"] for line in lines)
    assert lines[-1] == _summary.NOTICE


def test_the_report_of_a_graph_without_results_is_still_one(tmp_path: Path) -> None:
    assert _summary.read_results(tmp_path).models == {}
    assert _summary.NOTICE in train.report(tmp_path, [])


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("train", {"prefect", "mlflow", "torch", "great_expectations"}),
        ("mirror", {"prefect", "mlflow", "torch", "great_expectations"}),
        ("_flow", {"mlflow", "torch", "great_expectations"}),
        ("_mlflow", {"prefect", "torch", "great_expectations"}),
        ("_served_model", {"prefect", "torch", "great_expectations"}),
    ],
)
def test_a_flow_module_loads_nothing_heavy(module: str, unwanted: set[str], project: Path) -> None:
    code = f"import sys, flows.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())
