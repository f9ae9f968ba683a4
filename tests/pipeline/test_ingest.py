import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from meddet.data.raw import hash_patient


def test_it_writes_enrolled_images_tables_and_the_funnel(hospital: Any) -> None:
    (hospital.root / "data/images/forgotten.png").write_bytes(b"never read")
    done = hospital.run("ingest")
    assert done.returncode == 0, done.stderr
    assert "1 files in data/images are not in annotations.json" in done.stdout
    files = hospital.files("artifacts") | hospital.files("reports")
    assert set(files) == {
        *(f"artifacts/images/{image:06d}.png" for image in range(1, 13)),
        *(f"artifacts/tables/{name}.csv" for name in ("patients", "images", "boxes")),
        *("artifacts/coco.json", "reports/enrolment.json", "reports/enrolment.png"),
    }
    assert json.loads(files["reports/enrolment.json"]) == {
        "scanned": 8,
        "excluded": {"quality": 0, "incomplete": 1, "operated": 1},
        "enrolled": 6,
        "images": 12,
        "boxes": {"protrusion": 12, "non-protrusion": 12},
        "unlisted_files": 1,
    }
    with PIL.Image.open(io.BytesIO(files["artifacts/images/000002.png"])) as image:
        assert (image.mode, image.size) == ("I;16", (48, 50))


def test_tables_and_coco_agree(ingested: Any) -> None:
    files = ingested.files("artifacts")
    coco = json.loads(files["artifacts/coco.json"])
    tables = {
        name: list(csv.DictReader(io.StringIO(files[f"artifacts/tables/{name}.csv"].decode()))) for name in TABLES
    }
    assert {name: ",".join(rows[0]) for name, rows in tables.items()} == TABLES
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", coco["info"]["data_md5"])
    assert coco["images"][1] == {
        "id": 2,
        "file_name": "000002.png",
        "width": 48,
        "height": 50,
        "patient_id": hash_patient("P1"),
        "spacing_mm": [0.5, 0.75],
    }
    assert coco["images"][0]["spacing_mm"] is None
    assert coco["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "category_id": 1,
        "bbox": [20.5, 16.0, 4, 2.25],
        "area": 9.0,
        "iscrowd": 0,
        "level": "C3/4",
    }
    box = tables["boxes"][1]
    assert (box["x1"], box["y1"], box["x2"], box["y2"]) == ("20.5", "16.0", "24.5", "18.25")
    assert (box["class_name"], box["image_width"], box["image_height"]) == ("protrusion", "48", "50")
    image = tables["images"][0]
    with PIL.Image.open(io.BytesIO(files["artifacts/images/000001.png"])) as file:
        unit = np.asarray(file) / 65535
    assert float(image["mean"]) == pytest.approx(unit.mean(), abs=1e-6)
    assert float(image["std"]) == pytest.approx(unit.std(), abs=1e-6)
    assert float(image["saturated_fraction"]) == pytest.approx((unit == 1).mean(), abs=1e-6)
    patient = next(row for row in tables["patients"] if row["patient_id"] == hash_patient("P3"))
    assert (patient["age"], patient["sex"], patient["num_images"]) == ("43.0", "M", "2")


TABLES = {
    "patients": "patient_id,age,sex,scanner,field_strength_t,num_images",
    "images": "image_id,file_name,patient_id,width,height,spacing_row_mm,spacing_column_mm,mean,std,min,max,"
    "saturated_fraction",
    "boxes": "annotation_id,image_id,patient_id,x1,y1,x2,y2,width,height,class_name,level,image_width,image_height",
}


def test_no_artifact_knows_a_patient_or_a_file_name(ingested: Any) -> None:
    text = b"".join(content for name, content in ingested.files("artifacts").items() if not name.endswith(".png"))
    assert not re.search(rb"P\d", text)


def test_same_data_is_the_same_bytes(ingested: Any) -> None:
    first = ingested.files("artifacts") | ingested.files("reports")
    assert ingested.run("ingest").returncode == 0
    assert ingested.files("artifacts") | ingested.files("reports") == first


def test_classes_go_by_name_whatever_their_ids(ingested: Any) -> None:
    def swap(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 7, "name": "non-protrusion"}, {"id": 3, "name": "protrusion"}]
        for box in content["annotations"]:
            box["category_id"] = {1: 3, 2: 7}[box["category_id"]]

    before = json.loads(ingested.files("artifacts")["artifacts/coco.json"])
    ingested.change(swap)
    assert ingested.run("ingest").returncode == 0
    after = json.loads(ingested.files("artifacts")["artifacts/coco.json"])
    assert {**after, "info": None} == {**before, "info": None}


def _missing(root: Path) -> None:
    (root / "P2_0.png").unlink()


def _not_an_image(root: Path) -> None:
    (root / "P2_0.png").write_bytes(b"an image, they said")


def _cut_png(root: Path) -> None:
    (root / "P2_0.png").write_bytes((root / "P2_0.png").read_bytes()[:-900])


def _cut_dicom(root: Path) -> None:
    (root / "P3_1.dcm").write_bytes((root / "P3_1.dcm").read_bytes()[:-900])


def _cut_dicom_header(root: Path) -> None:
    (root / "P3_1.dcm").write_bytes((root / "P3_1.dcm").read_bytes()[:200])


def _link_outside(root: Path) -> None:
    (root.parent.parent / "outside.png").write_bytes((root / "P2_0.png").read_bytes())
    (root / "P2_0.png").unlink()
    (root / "P2_0.png").symlink_to("../../outside.png")


def _other_size(root: Path) -> None:
    PIL.Image.new("L", (30, 20)).save(root / "P2_0.png")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing, ("P2_0.png", "found none")),
        (_not_an_image, ("P2_0.png", "expected a PNG image")),
        (_cut_png, ("P2_0.png", "expected a whole PNG image")),
        (_cut_dicom, ("P3_1.dcm", "expected a whole DICOM image")),
        (_cut_dicom_header, ("P3_1.dcm", "expected")),
        (_link_outside, ("P2_0.png", "image 3", "leads out of it")),
        (_other_size, ("P2_0.png", "expected 48 x 50", "got 30 x 20")),
    ],
)
def test_a_spoilt_image_ends_in_one_line(hospital: Any, spoil: Callable[[Path], None], words: tuple[str, ...]) -> None:
    spoil(hospital.root / "data/images")
    hospital.refuses("ingest", *words)
    assert list((hospital.root / "artifacts").glob("*")) == []


def _path_outside(content: dict[str, Any]) -> None:
    content["images"][2]["file_name"] = "../../params.yaml"


def _box_outside(content: dict[str, Any]) -> None:
    content["annotations"][4]["bbox"] = [40, 1, 9, 4]


def _unknown_class(content: dict[str, Any]) -> None:
    content["categories"][1]["name"] = "hernia"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_path_outside, ("image 3", "'../../params.yaml'", "leads out of it")),
        (_box_outside, ("annotation 5", "image 3", "P2_0.png", "inside 48 x 50", "40.0, 1.0, 9.0, 4.0")),
        (_unknown_class, ("annotation 1", "protrusion, non-protrusion", "'hernia'")),
    ],
)
def test_a_wrong_annotation_ends_in_one_line(
    hospital: Any, edit: Callable[[dict[str, Any]], None], words: tuple[str, ...]
) -> None:
    hospital.change(edit)
    hospital.refuses("ingest", "data/annotations.json", *words)
    assert not (hospital.root / "artifacts").exists()


def test_a_patient_without_images_ends_in_one_line(hospital: Any) -> None:
    path = hospital.root / "data/patients.csv"
    path.write_text(path.read_text().replace("P8,48,F,A,1.5,true,false", "P8,48,F,A,1.5,true,true"))
    hospital.refuses("ingest", "data/patients.csv", "'P8'", "at least one image")
    assert not (hospital.root / "artifacts").exists()


def test_broken_json_ends_in_one_line(hospital: Any) -> None:
    (hospital.root / "data/annotations.json").write_text('{"images": [')
    hospital.refuses("ingest", "data/annotations.json", "expected JSON")
