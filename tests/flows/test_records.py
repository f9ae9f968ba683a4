import subprocess
from pathlib import Path

import pytest

from flows import _records

STAGES = ["first", "mid@resnet50", "mid@resnet101", "mid@resnet152", "last"]


@pytest.fixture(scope="module")
def finished(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "toy"
    subprocess.run(["cp", "-r", str(template), str(folder)], check=True)
    subprocess.run(["dvc", "repro", "-q"], cwd=folder, check=True)
    return folder


def test_records_hold_numbers_curves_and_parameters_of_the_stages(finished: Path) -> None:
    records = {record.name: record for record in _records.read_records(finished, STAGES)}
    assert list(records) == STAGES
    assert records["last"].metrics == {"a": 1.5, "c.d": 2.0}
    assert records["mid@resnet50"].curves == {"loss": [(0, 1.5), (10, 0.5)]}
    assert records["mid@resnet50"].params["split.seed"] == "7"
    assert records["first"].params == {}


def test_a_key_is_the_stages_own(finished: Path) -> None:
    keys = [record.key for record in _records.read_records(finished, STAGES)]
    assert keys == [record.key for record in _records.read_records(finished, STAGES)]
    assert len(set(keys)) == len(STAGES)


def test_a_report_that_was_edited_is_refused(finished: Path) -> None:
    path = finished / "reports" / "last.json"
    before = path.read_text()
    path.write_text(before.replace("1.5", "9.5"))
    with pytest.raises(ValueError, match=r"last\.json: expected the file that dvc\.lock pins"):
        _records.read_records(finished, STAGES)
    path.write_text(before)


def test_lineage_names_revision_data_and_what_is_uncommitted(finished: Path) -> None:
    lineage = _records.read_lineage(finished)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=finished, check=True, capture_output=True, text=True)
    assert lineage.revision == head.stdout.strip()
    assert not lineage.dirty, "dvc.lock and reports/ are results"
    assert lineage.data_md5.endswith(".dir")
    assert lineage.tags()["use"] == "research use only"
    params = finished / "params.yaml"
    params.write_text(params.read_text() + "# changed\n")
    assert _records.read_lineage(finished).dirty


def test_no_lock_file_is_one_clear_line(project: Path) -> None:
    with pytest.raises(ValueError, match=r"dvc\.lock: expected the record of a finished graph, found none"):
        _records.read_records(project, STAGES)
