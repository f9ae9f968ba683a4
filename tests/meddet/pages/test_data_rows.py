from typing import Any

import pandas as pd

from meddet.pages.data_rows import (
    Share,
    classes_by_level,
    gates,
    overlaps,
    patients_by_age,
    patients_by_part,
    rater_rows,
)

PATIENTS = pd.DataFrame(
    {
        "patient_id": ["a", "b", "c", "d"],
        "age": [29, 30, 79, 80],
        "sex": ["F", "F", "M", "F"],
        "scanner": ["X", "X", "Y", "X"],
        "field_strength_t": [1.5, 3.0, 3.0, 3.0],
        "num_images": [2, 2, 3, 2],
    }
)
PART_OF = {"a": "train", "b": "train", "c": "validation", "d": "test"}


def reports(**changes: Any) -> dict[str, Any]:
    identity = {"dicom_files": 2, "tags": {}, "burned_in_text": []}
    ingest = {
        "annotations": {"files": [{"boxes": 100, "boxes_touched": 0}, {"boxes": 50, "boxes_touched": 0}]},
        "images": {"read": 9, "unreadable": [], "without_reference": []},
        "identity": identity,
    }
    doubles: dict[str, Any] = {"across_patients": [], "within_patients": [], "groups": []}
    return {
        "ingest": ingest,
        "validation": {"expectations": 55, "failed": 0, "duplicates": doubles},
        "import": None,
        **changes,
    }


def test_patients_are_counted_in_all_and_in_each_part() -> None:
    rows = dict(patients_by_part(PATIENTS, PART_OF))
    assert rows["patients"] == ["4", "2", "1", "1"]
    assert rows["images"] == ["9", "4", "3", "2"]
    assert rows["age, median (quartiles)"][1] == "29.5 (29.25 to 29.75)"
    assert rows["age, range"][0] == "29 to 80"
    assert rows["women"] == ["3 (75 %)", "2 (100 %)", "0 (0 %)", "1 (100 %)"]
    assert rows["3 T"] == ["3 (75 %)", "1 (50 %)", "1 (100 %)", "1 (100 %)"]
    assert rows["Y"] == ["1 (25 %)", "0 (0 %)", "1 (100 %)", "0 (0 %)"]


def test_an_empty_part_has_dashes() -> None:
    rows = dict(patients_by_part(PATIENTS, dict.fromkeys("abcd", "train")))
    assert rows["women"][2] == "–"
    assert rows["age, range"][3] == "–"


def test_ages_fall_into_decades() -> None:
    counts = {name: share.count for name, share in patients_by_age(PATIENTS)}
    assert counts == {
        "below 30": 1, "30 to 39": 1, "40 to 49": 0, "50 to 59": 0, "60 to 69": 0, "70 to 79": 1, "80 and above": 1,
    }  # fmt: skip


def test_boxes_without_a_level_have_a_row_of_their_own() -> None:
    classes = ["protrusion", "protrusion", "non-protrusion", "non-protrusion"]
    boxes = pd.DataFrame({"level": ["C5/6", None, "C2/3", "C5/6"], "class_name": classes})
    rows = dict(classes_by_level(boxes))
    assert list(rows) == ["C2/3", "C5/6", "no level", "all"]
    assert rows["C5/6"] == (Share(1, 2), Share(1, 2))
    assert rows["all"][0].percent == 50
    assert Share(0, 0).percent == 0


def test_an_image_in_two_parts_would_show() -> None:
    none = {"patients": 0, "groups": 0}
    split = {"overlap": dict.fromkeys(("train and validation", "train and test", "validation and test"), none)}
    images = pd.DataFrame({"image_id": [1, 2, 3, 1], "patient_id": ["a", "b", "c", "d"]})
    counts = {row["parts"]: row["counts"] for row in overlaps(split, images, PART_OF)}
    assert counts == {
        "train and validation": [0, 0, 0], "train and test": [0, 0, 1], "validation and test": [0, 0, 0],
    }  # fmt: skip


def test_raters_are_laid_out_by_level() -> None:
    assert rater_rows({"raters": []}) == ([], [])
    pairs, rows = rater_rows(
        {
            "raters": ["a", "b"],
            "cohen_kappa": [{"raters": ["a", "b"], "level": "overall", "n": 5, "value": 0.5}],
            "fleiss_kappa": [{"level": "overall", "n": 5, "value": "undefined (n=5, no variation)"}],
            "gwet_ac1": [{"level": "overall", "n": 6, "value": 0.7}],
        }
    )
    assert pairs == ["a and b"]
    assert rows == [{"level": "overall", "n": 6, "values": [0.5, "undefined (n=5, no variation)", 0.7]}]


def test_gates_that_found_nothing_say_so() -> None:
    found = gates(reports())
    assert {gate.tone for gate in found} == {"good"}
    assert {gate.outcome for gate in found} == {"nothing found"}
    assert found[0].found == "0 of 150 boxes touched"


def test_gates_name_tags_and_what_the_import_left() -> None:
    found = reports()
    found["ingest"]["identity"] = {"dicom_files": 3, "tags": {"PatientName": 3}, "burned_in_text": [4]}
    outcomes = {"brought": 5, "left out": 0, "failed": 2}
    found["import"] = {"counts": {"files": 7, "images": 5, "outcomes": outcomes}}
    said = {gate.name: gate for gate in gates(found)}
    assert said["import"].found == "7 files gave 5 images; 2 failed"
    assert said["identity in DICOM headers"].found == "3 files: PatientName (3)"
    assert said["text burned in"].tone == "odd"
