import contextlib
import json
import shutil
from pathlib import Path

import pytest

from meddet.pages.report import CURVES
from pipeline import _stage
from pipeline.report import REPORT_FILES
from tests.meddet.pages.invented import reports

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with every report, but no curves."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name, content in reports().items():
        path = tmp_path / REPORT_FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path


def outcome(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    from pipeline.report import main

    with contextlib.chdir(project):
        code = _stage._outcome(main)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("path", REPORT_FILES.values(), ids=str)
def test_a_report_that_is_not_there_ends_the_stage(
    project: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / path).unlink()
    expected = f"error: {path}: expected a JSON file, found none\n"
    assert outcome(project, capsys) == (_stage.BAD_INPUT, expected)
    assert not (project / "artifacts").exists()


def test_curves_that_are_not_there_end_the_stage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = outcome(project, capsys)
    assert code == _stage.BAD_INPUT
    assert said.startswith(f"error: reports/evaluate/pr.csv: expected a table of {', '.join(CURVES['pr'])}, found no")
