import contextlib
import json
import shutil
from pathlib import Path

import pytest

from meddet.pages.report import CURVES, REPORTS
from pipeline import _stage
from tests.meddet.pages.invented import reports

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with every report, but no curves."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "reports" / "evaluate").mkdir(parents=True)
    for name, content in reports().items():
        (tmp_path / "reports" / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def outcome(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    from pipeline.report import main

    with contextlib.chdir(project):
        code = _stage._outcome(main)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_is_not_there_ends_the_stage(
    project: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "reports" / f"{name}.json").unlink()
    expected = f"error: reports/{name}.json: expected a JSON file, found none\n"
    assert outcome(project, capsys) == (_stage.BAD_INPUT, expected)
    assert not (project / "artifacts").exists()


def test_curves_that_are_not_there_end_the_stage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = outcome(project, capsys)
    assert code == _stage.BAD_INPUT
    assert said.startswith(f"error: reports/evaluate/pr.csv: expected a table of {', '.join(CURVES['pr'])}, found no")
