import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from meddet.config import load_params
from pipeline.validate import box_rules, image_rules, patient_rules

ROOT = Path(__file__).parents[2]


def spoil(hospital: Any, table: str, edit: Callable[[pd.DataFrame], object]) -> None:
    path = hospital.root / f"artifacts/tables/{table}.csv"
    frame = pd.read_csv(path)
    edited = edit(frame)
    (edited if isinstance(edited, pd.DataFrame) else frame).to_csv(path, index=False)


def report(hospital: Any) -> dict[str, Any]:
    return json.loads((hospital.root / "reports/validation.json").read_text())


def test_good_data_pass_and_the_reports_are_the_same_each_time(ingested: Any) -> None:
    done = ingested.run("validate")
    assert (done.returncode, done.stderr) == (0, "")
    first = ingested.files("reports") | ingested.files("artifacts")
    content = report(ingested)
    assert (content["success"], content["failed"]) == (True, 0)
    assert content["rows"] == {"patients": 6, "images": 12, "boxes": 24}
    assert content["expectations"] == len(content["results"]) >= 50
    assert "All" in first["artifacts/validation.html"].decode()
    assert content["duplicates"] == {
        **{"rule": "group", "likeness": 0.955, "groups": []},
        **{"across_patients": [], "within_patients": []},
    }
    groups = first["artifacts/groups.csv"].decode().splitlines()
    assert groups[0] == "patient_id,group"
    assert [len(set(line.split(","))) for line in groups[1:]] == [1] * 6
    assert ingested.call("validate")[0] == 0
    assert ingested.files("reports") | ingested.files("artifacts") == first


def test_every_kind_of_fault_is_found_with_its_rows(ingested: Any) -> None:
    """All faults at once: each rule names just its own rows."""

    def patients(frame: pd.DataFrame) -> None:
        frame.loc[0, ["age", "sex"]] = [150, "X"]
        frame.loc[1, "scanner"] = None

    def images(frame: pd.DataFrame) -> None:
        frame.loc[0, ["std", "mean"]] = [0, 1.5]
        frame.loc[1, "patient_id"] = "0123456789ab"
        frame.loc[2, "spacing_row_mm"] = -1.0
        frame["study"] = frame["study"].astype(object)
        frame.loc[3, "study"] = "1.2.840"
        frame.loc[4, ["p99", "below_12"]] = [300.0, 1.25]

    def boxes(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, "x2"] = 48.5
        frame.loc[1, "y1"] = -0.5
        frame.loc[2, "width"] = 0
        frame.loc[3, "class_name"] = "hernia"
        frame.loc[4, "annotation_id"] = 6
        frame.loc[6, "image_id"] = 99
        frame.loc[8, "height"] = 40
        extra = frame.loc[[23] * 7].assign(annotation_id=range(100, 107))
        return pd.concat([frame, extra])

    ids = pd.read_csv(ingested.root / "artifacts/tables/patients.csv")["patient_id"]
    for table, edit in (("patients", patients), ("images", images), ("boxes", boxes)):
        spoil(ingested, table, edit)
    ingested.refuses("validate", "expectations failed", "reports/validation.json", "artifacts/validation.html", code=3)
    found = {
        f"{result['table']}.{result['kwargs'].get('column') or result['kwargs']['column_B']}": result["rows"]
        for result in report(ingested)["results"]
        if not result["success"]
    }
    owner = pd.read_csv(ingested.root / "artifacts/tables/images.csv").loc[0, "patient_id"]
    assert owner in set(ids)
    assert found == {
        "patients.age": [ids[0]],
        "patients.sex": [ids[0]],
        "patients.scanner": [ids[1]],
        "images.std": ["1"],
        "images.mean": ["1"],
        "images.num_patients": ["2"],
        "images.spacing_row_mm": ["3"],
        "images.num_boxes": ["12"],
        "images.study": ["4"],
        "images.p99": ["5"],
        "images.below_12": ["5"],
        "boxes.x2": ["1"],
        "boxes.y1": ["2"],
        "boxes.width": ["3"],
        "boxes.width_fraction": ["3"],
        "boxes.class_name": ["4"],
        "boxes.annotation_id": ["6"],
        "boxes.num_images": ["7"],
        "boxes.height_fraction": ["9"],
    }
    page = (ingested.root / "artifacts/validation.html").read_text()
    assert "expectations failed. The graph stops here." in page
    assert str(ids[0]) in page


def test_a_patient_who_lost_all_images_is_named(ingested: Any) -> None:
    path = ingested.root / "artifacts/tables/images.csv"
    frame = pd.read_csv(path)
    lost = frame["patient_id"][0]
    frame[frame["patient_id"] != lost].to_csv(path, index=False)
    code, said = ingested.call("validate")
    assert code == 3
    assert f"patients.num_images: expected a number of images (1 to 4), not so in 1 of 6 rows: {lost}" in said


def test_a_missing_column_is_told_from_bad_values(ingested: Any) -> None:
    spoil(ingested, "patients", lambda frame: frame.drop(columns="scanner"))
    code, said = ingested.call("validate")
    assert code == 3
    assert 'patients.scanner: expected a value, got an error: Error: The column "scanner"' in said


def test_images_without_boxes_are_allowed(ingested: Any) -> None:
    spoil(ingested, "boxes", lambda frame: frame[:0])
    code, said = ingested.call("validate")
    assert (code, "0 boxes" in said) == (0, True), said


def share(hospital: Any, column: str, images: tuple[int, int]) -> list[str]:
    """Let two images name one study or instance; give their patients."""
    owners: list[str] = []

    def edit(frame: pd.DataFrame) -> None:
        frame[column] = frame[column].astype(object)
        rows = frame["image_id"].isin(images)
        frame.loc[rows, column] = "0123456789ab"
        owners.extend(frame.loc[rows, "patient_id"])

    spoil(hospital, "images", edit)
    return sorted(set(owners))


@pytest.mark.parametrize("column", ["study", "instance"])
def test_fault_15_a_shared_study_or_instance_groups_two_patients(ingested: Any, column: str) -> None:
    owners = share(ingested, column, (2, 5))
    code, said = ingested.call("validate")
    assert code == 0, said
    found = report(ingested)["duplicates"]
    assert found["groups"] == [owners]
    assert [(link["reason"], link["images"]) for link in found["across_patients"]] == [(f"one {column}", [2, 5])]
    groups = pd.read_csv(ingested.root / "artifacts/groups.csv")
    assert groups["group"].value_counts().max() == 2
    assert "note: 1 groups of patients belong together" in said
    assert f"one {column}" in (ingested.root / "artifacts/validation.html").read_text()


def test_fault_15_by_the_other_rule_it_is_refused_with_the_pairs_named(ingested: Any) -> None:
    owners = share(ingested, "study", (2, 5))
    (ingested.root / "artifacts/groups.csv").unlink(missing_ok=True)
    ingested.set("validate.duplicates", "refuse")
    ingested.refuses("validate", "images 2 and 5", *owners, "one study", "reports/validation.json", code=3)
    assert report(ingested)["success"] is False
    assert not (ingested.root / "artifacts/groups.csv").exists()
    assert "Doubles: refused" in (ingested.root / "artifacts/validation.html").read_text()


def test_fault_16_one_picture_twice_is_listed_within_a_patient(ingested: Any) -> None:
    images = ingested.root / "artifacts/images"
    (images / "000002.png").write_bytes((images / "000001.png").read_bytes())
    code, said = ingested.call("validate")
    assert code == 0, said
    found = report(ingested)["duplicates"]
    assert [(link["reason"], link["images"]) for link in found["within_patients"]] == [("the same picture", [1, 2])]
    assert found["groups"] == []


def test_fault_16_one_picture_of_two_patients_groups_them(ingested: Any) -> None:
    images = ingested.root / "artifacts/images"
    with PIL.Image.open(images / "000001.png") as image:
        PIL.Image.fromarray(np.ascontiguousarray(np.asarray(image)[:, ::-1])).save(images / "000007.png")
    code, said = ingested.call("validate")
    assert code == 0, said
    (link,) = report(ingested)["duplicates"]["across_patients"]
    assert (link["reason"], sorted(link["images"])) == ("alike", [1, 7])
    assert "flip left-right" in link["detail"]
    assert link["score"] == pytest.approx(1, abs=0.01)


def test_without_tables_it_ends_in_one_line(hospital: Any) -> None:
    code, said = hospital.call("validate")
    assert code == 2
    assert said == "error: artifacts/tables/patients.csv: expected a table of ingest, found none; run ingest first\n"


@pytest.mark.parametrize("rules", [patient_rules, image_rules, box_rules])
def test_rules_are_written_once(rules: Callable[..., list[Any]]) -> None:
    made = [(rule.type, str(rule.kwargs)) for rule in rules(load_params(ROOT / "params.yaml").validate_)]
    assert len(set(made)) == len(made)
