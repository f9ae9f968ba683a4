import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pydicom
import pytest

from meddet.data.raw import hash_patient
from tests.dicom_writer import write_dicom


def test_it_writes_enrolled_images_tables_and_the_funnel(hospital: Any) -> None:
    (hospital.root / "data/images/forgotten.png").write_bytes(b"never read")
    done = hospital.run("ingest")
    assert done.returncode == 0, done.stderr
    assert "1 files in data/images are not in annotations.json" in done.stdout
    files = hospital.files("artifacts") | hospital.files("reports")
    assert set(files) == {
        *(f"artifacts/images/{image:06d}.png" for image in range(1, 13)),
        *(f"artifacts/tables/{name}.csv" for name in TABLE_NAMES),
        *("artifacts/coco.json", "reports/enrolment.json", "reports/enrolment.png"),
        *("reports/ingest.json", "reports/raters.json"),
    }
    assert json.loads(files["reports/enrolment.json"]) == {
        "scanned": 8,
        "excluded": {"quality": 0, "incomplete": 1, "operated": 1, "no_image": 0},
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


TABLE_NAMES = ("patients", "images", "boxes", "repairs", "disagreements")
TABLES = {
    "patients": "patient_id,age,sex,scanner,field_strength_t,num_images",
    "images": "image_id,file_name,patient_id,width,height,spacing_row_mm,spacing_column_mm,study,instance,"
    "brightness,mean,std,min,max,saturated_fraction,mean_grey,p50,p75,p90,p95,p99,p99_9,below_12,12_to_40,40_to_80,"
    "80_to_160,above_160",
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
        (_cut_dicom, ("P3_1.dcm", "expected at least 4800 bytes of pixels")),
        (_cut_dicom_header, ("P3_1.dcm", "expected")),
        (_other_size, ("P2_0.png", "expected 48 x 50", "got 30 x 20")),
    ],
)
def test_fault_22_a_spoilt_image_ends_in_one_line(
    hospital: Any, spoil: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    spoil(hospital.root / "data/images")
    code, said = hospital.call("ingest")
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (code, [word for word in ("1 of 12 image files unreadable", *words) if word not in line]) == (3, []), said
    assert list((hospital.root / "artifacts").glob("*")) == []
    (found,) = hospital.report("ingest")["images"]["unreadable"]
    assert "its file" in found["reason"] and "P" not in found["reason"].replace("PNG", "").replace("PixelData", "")


def test_fault_22_every_spoilt_image_is_named_before_it_stops(hospital: Any) -> None:
    _cut_png(hospital.root / "data/images")
    _cut_dicom(hospital.root / "data/images")
    code, said = hospital.call("ingest")
    assert code == 3
    assert "unreadable: data/images/P2_0.png" in said
    assert "unreadable: data/images/P3_1.dcm" in said
    assert [entry["image_id"] for entry in hospital.report("ingest")["images"]["unreadable"]] == [3, 6]


def test_fault_22_by_the_rule_it_goes_on_without_them_and_says_so(hospital: Any) -> None:
    """One patient loses an image, another both and is left out."""
    _cut_png(hospital.root / "data/images")
    for name in ("P3_0.png", "P3_1.dcm"):
        (hospital.root / "data/images" / name).write_bytes(b"DICM?")
    hospital.set("ingest.max_unreadable", 3)
    code, said = hospital.call("ingest")
    assert code == 0, said
    assert "note: 3 image files could not be read and were left out" in said
    assert "note: 1 patients have no usable image and were left out" in said
    assert hospital.report("enrolment")["excluded"]["no_image"] == 1
    assert hospital.report("enrolment")["enrolled"] == len(hospital.table("patients")) == 5
    assert len(hospital.table("images")) == hospital.report("ingest")["images"]["written"] == 9
    assert len(list((hospital.root / "artifacts/images").iterdir())) == 9


def test_fault_26_a_link_out_of_the_folder_is_refused(hospital: Any) -> None:
    _link_outside(hospital.root / "data/images")
    hospital.refuses("ingest", "P2_0.png", "image 3", "leads out of it")
    assert not (hospital.root / "artifacts").exists()


def test_fault_26_a_path_out_of_the_folder_is_refused(hospital: Any) -> None:
    hospital.change(lambda content: content["images"][2].update(file_name="../../params.yaml"))
    hospital.refuses("ingest", "data/annotations.json", "image 3", "'../../params.yaml'", "leads out of it")
    assert not (hospital.root / "artifacts").exists()


def _spoil_boxes(content: dict[str, Any]) -> None:
    rows = content["annotations"]
    rows[0]["bbox"] = [40, 1, 9, 4]
    rows[1]["id"] = 0
    rows[2]["bbox"] = [20, 10, float("nan"), 4]
    rows[3]["category_id"] = 5


def test_fault_17_too_many_faulty_boxes_stop_it_with_the_rows_named(hospital: Any) -> None:
    hospital.change(_spoil_boxes)
    code, said = hospital.call("ingest")
    assert code == 3
    assert "at most 1 % of the rows to be faulty, got annotations.json: 4 of 28 boxes and 0 of 14 images" in said
    for row in (
        "box 1 (annotation 1) of image 1: reaches out of the image, clipped: 40 1 9 4 -> 40 1 8 4",
        "box 2 (annotation 0) of image 1: annotation id that isn't 1 or more, renumbered: 0 -> 29",
        "box 3 (annotation 3) of image 2: not finite, rejected: [20, 10, nan, 4]",
        "box 4 (annotation 4) of image 2: unknown category, rejected: 5",
    ):
        assert f"faulty: annotations.json: {row}" in said
        assert f"annotations.json: {row}" in hospital.report("ingest")["annotations"]["rows"]
    assert set(hospital.files("artifacts") | hospital.files("reports")) == {"reports/ingest.json"}


def test_fault_18_few_faulty_boxes_are_repaired_listed_and_counted(hospital: Any) -> None:
    hospital.change(_spoil_boxes)
    hospital.set("ingest.boxes.max_share", 0.15)
    code, said = hospital.call("ingest")
    assert code == 0, said
    assert "note: 4 faults in annotations were repaired or rejected" in said
    rows = [(row["annotation"], row["image_id"], row["action"]) for row in hospital.table("repairs")]
    assert rows == [("1", "1", "clipped"), ("0", "1", "renumbered"), ("3", "2", "rejected"), ("4", "2", "rejected")]
    assert hospital.report("ingest")["annotations"]["faults"]["not finite"] == {"rejected": 1}
    assert len(hospital.table("boxes")) == 22
    assert hospital.call("validate")[0] == 0


def test_fault_20_files_with_other_classes_are_refused(hospital: Any) -> None:
    content = {**hospital.annotations, "categories": [{"id": 1, "name": "normal"}, {"id": 2, "name": "protrusion"}]}
    (hospital.root / "data/annotations.b.json").write_text(json.dumps(content))
    words = ("annotations.b.json", "(non-protrusion, protrusion)", "normal, protrusion")
    hospital.refuses("ingest", *words, code=3)
    assert not (hospital.root / "artifacts").exists()


SIDE_OF_TEXT = 256
CANARIES = ("CANARYNAME", "CANARYSTUDY", "19010203", "CANARYPRIVATE")


def _identify(hospital: Any, **elements: object) -> None:
    path = hospital.root / "data/images/P2_1.dcm"
    file = pydicom.dcmread(path)
    file.PatientName, file.StudyDescription, file.PatientBirthDate = CANARIES[:3]
    file.private_block(0x0033, CANARIES[3], create=True).add_new(1, "LO", CANARIES[3])
    for keyword, value in elements.items():
        setattr(file, keyword, value)
    file.save_as(path)


def _leaks(hospital: Any, said: str) -> list[str]:
    left = {"said": said.encode(), **hospital.files("artifacts"), **hospital.files("reports")}
    return [f"{name}: {canary}" for name, content in left.items() for canary in CANARIES if canary.encode() in content]


def test_fault_25_identifying_elements_stay_behind_and_are_counted_by_name(hospital: Any) -> None:
    _identify(hospital)
    done = hospital.run("ingest")
    assert done.returncode == 0, done.stderr
    assert _leaks(hospital, done.stdout + done.stderr) == []
    tags = hospital.report("ingest")["identity"]["tags"]
    assert tags["PatientName"] == tags["StudyDescription"] == tags["PatientBirthDate"] == 1
    assert any(name.startswith("private (0033,") for name in tags)


def test_fault_25_by_the_other_rule_they_are_refused_by_name(hospital: Any) -> None:
    _identify(hospital)
    hospital.set("ingest.identity.tags", "refuse")
    code, said = hospital.call("ingest")
    assert code == 3
    assert "PatientName (1)" in said
    assert _leaks(hospital, said) == []
    assert hospital.files("artifacts") == {}


def test_fault_25_declared_text_in_the_pixels_is_refused_or_left_out(hospital: Any) -> None:
    _identify(hospital, BurnedInAnnotation="YES")
    hospital.set("ingest.identity.text", "refuse")
    code, said = hospital.call("ingest")
    assert (code, "text burned into the pixels, found some in images 4" in said) == (3, True), said
    assert hospital.files("artifacts") == {}
    hospital.set("ingest.identity.text", "leave-out")
    code, said = hospital.call("ingest")
    assert (code, "note: 1 images have text burned in" in said) == (0, True), said
    assert "artifacts/images/000004.png" not in hospital.files("artifacts")
    assert hospital.report("ingest")["identity"]["burned_in_text"] == [4]


def test_fault_25_text_that_is_seen_in_the_pixels_is_refused(hospital: Any) -> None:
    image = PIL.Image.new("L", (SIDE_OF_TEXT, SIDE_OF_TEXT), 20)
    pen = PIL.ImageDraw.Draw(image)
    pen.text((4, 4), CANARIES[0], fill=255, font=PIL.ImageFont.load_default(16))
    image.save(hospital.root / "data/images/P2_0.png")
    hospital.change(lambda content: content["images"][2].update(width=SIDE_OF_TEXT, height=SIDE_OF_TEXT))
    hospital.set("ingest.identity.text", "refuse")
    code, said = hospital.call("ingest")
    assert (code, "text burned into the pixels, found some in images 3" in said) == (3, True), said


def test_a_file_laid_otherwise_is_set_upright_with_its_boxes(hospital: Any) -> None:
    values = np.random.default_rng(99).integers(0, 4096, size=(50, 48)).astype(np.uint16)
    orientation = [0, -1, 0, 0, 0, -1]
    write_dicom(
        hospital.root / "data/images/P2_1.dcm",
        values,
        PixelSpacing=[0.5, 0.75],
        ImageOrientationPatient=orientation,
        ImagePositionPatient=[0, 0, 0],
    )
    code, said = hospital.call("ingest")
    assert code == 0, said
    assert hospital.report("ingest")["images"]["turned_upright"] == 1
    with PIL.Image.open(hospital.root / "artifacts/images/000004.png") as image:
        turned = np.asarray(image).astype(float)
    assert np.corrcoef(turned.ravel(), values[:, ::-1].astype(float).ravel())[0, 1] > 0.99
    boxes = [row for row in hospital.table("boxes") if row["image_id"] == "4"]
    assert [(row["x1"], row["y1"], row["x2"]) for row in boxes] == [("23.5", "10.0", "27.5"), ("23.5", "16.0", "27.5")]


def test_spacing_study_and_instance_come_from_annotations_where_the_file_has_none(hospital: Any) -> None:
    more = {"spacing_mm": [0.4, 0.6], "study": "0123456789ab", "instance": "ba9876543210"}
    hospital.change(lambda content: content["images"][0].update(more))
    assert hospital.call("ingest")[0] == 0
    row = hospital.table("images")[0]
    assert (row["spacing_row_mm"], row["spacing_column_mm"]) == ("0.4", "0.6")
    assert (row["study"], row["instance"]) == ("0123456789ab", "ba9876543210")
    hospital.change(lambda content: content["images"][1].update(more))
    code, said = hospital.call("ingest")
    assert (code, "expected the spacing 0.4 x 0.6 mm" in said) == (3, True), said


def _three_raters(hospital: Any) -> None:
    """The reference loses the boxes of image 3; raters a, b, c read images 1 and 3, c calls all protrusion."""
    content = hospital.annotations
    kept = [image for image in content["images"] if image["id"] in (1, 3)]
    drawn = [box for box in content["annotations"] if box["image_id"] in (1, 3)]
    for rater in "abc":
        boxes = [{**box, "category_id": 1 if rater == "c" else box["category_id"]} for box in drawn]
        said = {**content, "images": kept, "annotations": boxes}
        (hospital.root / f"data/annotations.{rater}.json").write_text(json.dumps(said))
    hospital.change(
        lambda content: content.update(annotations=[b for b in content["annotations"] if b["image_id"] != 3])
    )


def test_raters_fill_in_where_there_is_no_reference(hospital: Any) -> None:
    before = hospital.annotations["annotations"]
    _three_raters(hospital)
    code, said = hospital.call("ingest")
    assert code == 0, said
    boxes = hospital.table("boxes")
    names = {1: "protrusion", 2: "non-protrusion"}
    wanted = [(box["level"], names[box["category_id"]], str(box["bbox"][0])) for box in before if box["image_id"] == 3]
    assert [(box["level"], box["class_name"], box["x1"]) for box in boxes if box["image_id"] == "3"] == wanted
    assert len({box["annotation_id"] for box in boxes}) == len(boxes) == 24
    report = hospital.report("raters")
    assert report["raters"] == ["a", "b", "c"]
    assert report["consensus"] == {"images": 1, "boxes": 2}
    outcomes = {(row["image_id"], row["outcome"]) for row in hospital.table("disagreements")}
    assert outcomes == {("1", "annotations.json decides"), ("3", "non-protrusion")}
    assert [entry["value"] for entry in report["cohen_kappa"] if entry["level"] == "overall"] == [1.0, 0.0, 0.0]


def test_an_image_read_by_too_few_raters_is_left_out_and_said(hospital: Any) -> None:
    _three_raters(hospital)
    hospital.set("ingest.raters.min_raters", 4)
    code, said = hospital.call("ingest")
    assert (code, "note: 1 images have no reference by the raters' rule" in said) == (0, True), said
    assert "artifacts/images/000003.png" not in hospital.files("artifacts")
    assert hospital.report("ingest")["images"]["without_reference"] == [
        {"image_id": 3, "reason": "read by 3 of at least 4 raters"}
    ]


def test_a_patient_without_images_ends_in_one_line(hospital: Any) -> None:
    path = hospital.root / "data/patients.csv"
    path.write_text(path.read_text().replace("P8,48,F,A,1.5,true,false", "P8,48,F,A,1.5,true,true"))
    hospital.refuses("ingest", "data/patients.csv", "'P8'", "at least one image")
    assert not (hospital.root / "artifacts").exists()


def test_broken_json_ends_in_one_line(hospital: Any) -> None:
    (hospital.root / "data/annotations.json").write_text('{"images": [')
    hospital.refuses("ingest", "data/annotations.json", "expected JSON")
