import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meddet.classes import LEVELS
from meddet.data.raw import RawBox, RawData, enrolled, hash_patient
from meddet.data.reading import OtherClasses, read_raw
from meddet.data.repair import BoxRules

RULES = BoxRules(
    outside="repair", min_visible=0.5, negative_sides="repair", corners="repair", swapped="repair", ids="repair"
)

HEADER = "patient_id,age,sex,scanner,field_strength_t,quality_ok,complete,operated\n"
PATIENTS = HEADER + "A,50,F,X,1.5,true,true,false\nB,60.5,M,Y,3,True,true,false\nC,70,M,Y,3,true,true,true\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two enrolled patients with an image each, and an operated one without."""
    (tmp_path / "images/deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.dcm"):
        (tmp_path / "images" / name).touch()
    (tmp_path / "patients.csv").write_text(PATIENTS)
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 48, "height": 50, "patient_id": "A", "license": 3},
            {"id": 5, "file_name": "deep/b.dcm", "width": 64, "height": 64, "patient_id": "B"},
        ],
        "annotations": [
            {"id": 4, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 0},
            {"id": 5, "image_id": 5, "category_id": 2, "bbox": [60.1, 0, 3.9, 64], "level": "C5/6"},
        ],
        "categories": [{"id": 9, "name": "non-protrusion"}, {"id": 2, "name": "protrusion", "supercategory": "disc"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def read(folder: Path) -> RawData:
    return read_raw(folder, RULES)


def refused(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "data")


def test_levels_are_those_of_the_library() -> None:
    for level in LEVELS:
        assert RawBox(id=1, image_id=1, category_id=1, bbox=[0.0, 0.0, 1.0, 1.0], level=level).level == level


def test_rows_are_typed_and_classes_go_by_name(folder: Path) -> None:
    raw = read(folder)
    assert [enrolled(patient) for patient in raw.patients] == [True, True, False]
    assert (raw.patients[1].age, raw.patients[1].sex, raw.patients[1].field_strength_t) == (60.5, "M", 3.0)
    assert [(box.id, box.category_id, box.bbox, box.level) for box in raw.boxes] == [
        (4, 2, [1, 2, 3.5, 4], None),
        (5, 1, [60.1, 0, 3.9, 64], "C5/6"),
    ]


def test_a_spreadsheet_with_byte_order_mark_and_more_columns_is_read(folder: Path) -> None:
    lines = PATIENTS.splitlines()
    text = "\n".join([lines[0] + ",remark", *(line + ",fine" for line in lines[1:])])
    (folder / "patients.csv").write_text(text, encoding="utf-8-sig")
    assert [patient.patient_id for patient in read(folder).patients] == ["A", "B", "C"]


def test_a_patient_becomes_a_stable_hash() -> None:
    assert hash_patient("A") == "745032cbacd1"


def put(kind: str, index: int, key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        content[kind][index][key] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (put("images", 1, "file_name", "../patients.csv"), ("image 5", "'../patients.csv'", "leads out of it")),
        (put("images", 1, "file_name", "deep/../a.png"), ("image 5", "leads out of it")),
        (put("images", 1, "file_name", "/etc/hostname"), ("image 5", "'/etc/hostname'", "leads out of it")),
        (put("images", 1, "file_name", "..\\a.png"), ("image 5", "leads out of it")),
        (put("images", 1, "file_name", "./a.png"), ("image 5", "expected what image 1 of the same file says")),
        (put("images", 1, "id", 1), ("image id", "expected unique", "1 for several files")),
        (put("images", 1, "spacing_mm", [0.5]), ("images entry with id 5", "spacing_mm", "[0.5]")),
        (put("images", 1, "study", "1.2.840.113619"), ("images entry with id 5", "study", "pattern")),
        (put("images", 1, "id", 0), ("images entry with id 0", "greater than or equal to 1")),
        (put("images", 1, "id", "5"), ("images entry with id '5'", "valid integer")),
        (put("images", 1, "width", 0), ("images entry with id 5", "width", "got 0")),
        (put("categories", 1, "id", 9), ("category id", "expected unique", "9 2 times")),
        (lambda content: content.pop("images"), ("images: Field required",)),
        (lambda content: content.update(images=[3]), ("images.0", "got 3")),
    ],
)
def test_a_wrong_annotation_is_named(
    folder: Path, edit: Callable[[dict[str, Any]], object], words: tuple[str, ...]
) -> None:
    change(folder, edit)
    message = refused(folder)
    assert message.startswith("data/annotations.json: ")
    assert [word for word in words if word not in message] == [], message


def test_fault_26_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "images/a.png").unlink()
    (folder / "images/a.png").symlink_to("../patients.csv")
    assert "image 1" in refused(folder)
    assert "leads out of it" in refused(folder)


def test_fault_18_an_image_of_an_unknown_patient_goes_with_its_boxes(folder: Path) -> None:
    change(folder, put("images", 1, "patient_id", "Z"))
    (folder / "patients.csv").write_text(
        PATIENTS.replace("B,60.5,M,Y,3,True,true,false", "B,60.5,M,Y,3,True,false,false")
    )
    raw = read(folder)
    assert [image.id for image in raw.images] == [1]
    assert [box.id for box in raw.boxes] == [4]
    assert [str(repair) for repair in raw.repairs] == [
        "annotations.json: image 2 (image 5): image of an unknown patient, rejected",
        "annotations.json: box 2 (annotation 5): annotation of an unknown image, rejected: 5",
    ]


def test_fault_18_an_image_listed_twice_goes_on_once_with_all_its_boxes(folder: Path) -> None:
    def twice(content: dict[str, Any]) -> None:
        content["images"].append({**content["images"][0], "id": 9, "file_name": "./a.png"})
        content["annotations"].append({"id": 6, "image_id": 9, "category_id": 2, "bbox": [9, 9, 3, 4]})

    change(folder, twice)
    raw = read(folder)
    assert [image.id for image in raw.images] == [1, 5]
    assert [(box.id, box.image_id) for box in raw.boxes] == [(4, 1), (5, 5), (6, 1)]
    assert [str(repair) for repair in raw.repairs] == [
        "annotations.json: image 3 (image 9): image listed twice, dropped: 9 -> 1"
    ]


def rater(folder: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "annotations.json").read_text())
    edit(content)
    (folder / f"annotations.{name}.json").write_text(json.dumps(content))


def test_fault_20_classes_go_by_name_whatever_their_ids_and_order(folder: Path) -> None:
    def swap(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 9, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
        for box in content["annotations"]:
            box["category_id"] = 11 - box["category_id"]

    rater(folder, "b", swap)
    rater(folder, "a", lambda content: content.update(info={}))
    raw = read(folder)
    assert [reading.rater for reading in raw.readings] == ["a", "b"]
    assert raw.readings[0].boxes == raw.readings[1].boxes == raw.boxes
    assert raw.listed == {"annotations.json": (2, 2), "annotations.a.json": (2, 2), "annotations.b.json": (2, 2)}


def test_fault_20_other_class_names_are_refused_with_both_sets(folder: Path) -> None:
    rater(folder, "b", lambda content: content["categories"].append({"id": 1, "name": "bulge"}))
    with pytest.raises(OtherClasses) as caught:
        read(folder)
    assert str(caught.value).replace(str(folder), "data") == (
        "data/annotations.b.json: expected the classes of annotations.json (non-protrusion, protrusion), "
        "got bulge, non-protrusion, protrusion"
    )


def test_a_raters_images_go_by_file_name_whatever_their_ids(folder: Path) -> None:
    def renumber(content: dict[str, Any]) -> None:
        content["images"] = [{**image, "id": 6 - image["id"]} for image in content["images"]]
        for box in content["annotations"]:
            box["image_id"] = 6 - box["image_id"]
        content["images"].append({**content["images"][0], "id": 8, "file_name": "unknown.png"})

    rater(folder, "x", renumber)
    raw = read(folder)
    assert raw.readings[0].boxes == raw.boxes
    assert raw.readings[0].images == {1, 5}
    assert [repair.fault for repair in raw.repairs] == ["image that annotations.json doesn't list"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3,true,true,true", "3,true,true,false", ("patient 'C'", "at least one image")),
        ("A,50", "A,old", ("line 2 (patient 'A')", "age", "'old'")),
        ("A,50", "A,nan", ("line 2", "age", "finite")),
        ("A,50", "A,", ("line 2", "age", "''")),
        ("A,50", ",50", ("line 2 (patient '')", "patient_id")),
        ("A,50,F", "A,50,X", ("line 2", "sex", "'X'")),
        ("A,50,F,X,1.5", "A,50,F,X,0", ("line 2", "field_strength_t", "greater than 0")),
        ("A,50", "B,50", ("patient_id", "'B' 2 times")),
        ("operated", "surgery", ("expected the columns", "operated missing")),
        (",", ";", ("expected the columns", "missing")),
        ("F,X,1.5,true", "F,X,1.5,perhaps", ("line 2", "quality_ok", "'perhaps'")),
        (PATIENTS, HEADER, ("at least one patient",)),
        (PATIENTS, "", ("expected the columns",)),
    ],
)
def test_a_wrong_patient_is_named(folder: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    assert old in PATIENTS
    (folder / "patients.csv").write_text(PATIENTS.replace(old, new) if old == "," else PATIENTS.replace(old, new, 1))
    message = refused(folder)
    assert message.startswith("data/patients.csv: ")
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("name", ["patients.csv", "annotations.json"])
def test_files_that_are_absent_or_not_text_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe\x00")
    assert f"data/{name}: expected" in refused(folder)
    (folder / name).unlink()
    assert f"data/{name}: expected" in refused(folder)
