import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from meddet import cli
from meddet.data.images import read_image

Writer = Callable[..., list[Path]]
SAGITTAL = ["0", "1", "0", "0", "0", "-1"]
AXIAL = ["1", "0", "0", "0", "1", "0"]
WHO = "patient_id,age,sex,scanner,field_strength_t\n"


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., int]:
    def run(*arguments: object, out: str = "data") -> int:
        return cli.main(["import", *map(str, arguments), "--out", str(tmp_path / out)])

    return run


def report(tmp_path: Path, out: str = "data") -> dict[str, Any]:
    return json.loads((tmp_path / out / "import.json").read_text())


def rows(tmp_path: Path, out: str = "data") -> list[dict[str, str]]:
    with (tmp_path / f"{out}.files.csv").open() as file:
        return list(csv.DictReader(file))


def annotations(tmp_path: Path, out: str = "data") -> dict[str, Any]:
    return json.loads((tmp_path / out / "annotations.json").read_text())


def coco(path: Path, *images: tuple[str, tuple[int, int], list[list[float]]], label: str = "protrusion") -> Path:
    entries, boxes = [], []
    for number, (name, (width, height), given) in enumerate(images, start=1):
        entries.append({"id": number, "file_name": name, "width": width, "height": height})
        for bbox in given:
            entry = {"id": len(boxes) + 1, "image_id": number, "category_id": 5, "bbox": bbox, "level": "C5/6"}
            boxes.append(entry)
    content = {"images": entries, "annotations": boxes, "categories": [{"id": 5, "name": label}]}
    path.write_text(json.dumps(content))
    return path


def grey(path: Path, seed: int = 0, size: tuple[int, int] = (112, 128)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 255, (8, 7)).astype(np.uint8))
    small.resize(size, PIL.Image.Resampling.BICUBIC).save(path)
    return path


def test_of_a_study_the_sagittal_t2_series_and_its_middle_slices_are_brought(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    positions = {0: "9", 1: "-9", 2: "0", 3: "3", 4: "-3", 5: "6", 6: "-6"}
    for number, place in positions.items():
        write_series(study / "a", f"t2_{number}", slices=1, SeriesInstanceUID="1.7",
                     ImagePositionPatient=[place, "-50", "60"])  # fmt: skip
    write_series(study / "b", "stir", SeriesDescription="STIR sag HWS", InversionTime="160")
    write_series(study / "c", "t1", EchoTime="11", RepetitionTime="500", SeriesDescription="T1 TSE SAG HWS")
    write_series(study / "d", "axial", ImageOrientationPatient=AXIAL, SeriesDescription="T2 TRA HWS")
    write_series(study / "e", "lumbar", SeriesDescription="T2 SAG LWS", BodyPartExamined="LSPINE")
    assert bring(study) == 0
    brought = [Path(row["path"]).name for row in rows(tmp_path) if row["outcome"] == "brought"]
    assert brought == ["t2_2_00.dcm", "t2_3_00.dcm", "t2_4_00.dcm"]
    outcomes = {series["outcome"]: series["reasons"] for series in report(tmp_path)["series"]}
    assert "T2 (TR 3000 ms, TE 100 ms)" in outcomes["chosen"]
    assert outcomes["left out"][-1] == "another series of its study fits better"
    reasons = " ".join(row["reason"] for row in rows(tmp_path) if row["outcome"] == "outside the intended use")
    assert all(words in reasons for words in ("T1, not T2", "axial, not sagittal", "another region"))
    images = annotations(tmp_path)["images"]
    assert len({image["study"] for image in images}) == 1
    assert len({image["instance"] for image in images}) == 3
    assert all(image["spacing_mm"] == [1.0, 1.0] for image in images)
    assert "patients 1, images 3, boxes 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageOrientationPatient": AXIAL},
        {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]},
        {"EchoTime": "11", "RepetitionTime": "500"},
        {"SeriesDescription": "T2 SAG LWS"},
        {"SeriesDescription": "T2 SAG", "BodyPartExamined": "KNEE"},
        {"Modality": "CT"},
        {"values": np.full((128, 112), 700, dtype=np.uint16)},
    ],
    ids=["axial", "coronal", "t1", "lumbar", "knee", "ct", "blank"],
)
def test_fault_24_a_series_outside_the_intended_use_ends_with_4_and_writes_nothing(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], elements: dict[str, Any]
) -> None:
    write_series(tmp_path / "in", "s", **elements)
    assert bring(tmp_path / "in") == 4
    assert not (tmp_path / "data").exists()
    assert {row["outcome"] for row in rows(tmp_path)} <= {"outside the intended use", "left out"}


def test_fault_24_a_photo_is_outside_the_intended_use(tmp_path: Path, bring: Callable[..., int]) -> None:
    (tmp_path / "in").mkdir()
    colours = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    PIL.Image.fromarray(colours).save(tmp_path / "in/photo.png")
    assert bring(tmp_path / "in") == 4
    assert [row["reason"] for row in rows(tmp_path)] == ["a colour picture, not an image of a scanner"]


@pytest.mark.parametrize(
    ("orientation", "spacing"),
    [
        (SAGITTAL, ["1", "1"]),
        (["0", "-1", "0", "0", "0", "-1"], ["1", "1"]),
        (["0", "1", "0", "0", "0", "1"], ["1", "1"]),
        (["0", "0", "-1", "0", "1", "0"], ["1", "1"]),
        (["0", "0", "1", "0", "-1", "0"], ["1", "0.5"]),
        (SAGITTAL, ["0.5", "1"]),
    ],
)
def test_boxes_follow_the_image_upright_and_to_square_pixels(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], orientation: list[str], spacing: list[str]
) -> None:
    values = np.random.default_rng(1).integers(0, 60, (128, 112)).astype(np.uint16)
    values[20:30, 60:80] = 1000
    (path,) = write_series(
        tmp_path / "in", "s", slices=1, values=values, ImageOrientationPatient=orientation, PixelSpacing=spacing
    )
    boxes = coco(tmp_path / "boxes.json", (path.name, (112, 128), [[60, 20, 20, 10]]))
    assert bring(tmp_path / "in", "--annotations", boxes) == 0
    content = annotations(tmp_path)
    (image,), (box,) = content["images"], content["annotations"]
    assert (box["level"], box["category_id"]) == ("C5/6", 1)
    pixels = np.asarray(PIL.Image.open(tmp_path / "data/images" / image["file_name"]))
    assert pixels.dtype == np.uint16
    assert pixels.shape == (image["height"], image["width"])
    bright_rows, bright_columns = np.nonzero(pixels > 33000)
    x, y, width, height = box["bbox"]
    found = (bright_columns.min(), bright_rows.min(), bright_columns.max() + 1, bright_rows.max() + 1)
    assert found == pytest.approx((x, y, x + width, y + height), abs=1)
    # 20 columns of 0.5 or 1 mm by 10 rows, turned or not, in the finer of the two spacings
    sizes = np.array([20 * float(spacing[1]), 10 * float(spacing[0])]) / min(map(float, spacing))
    turned = sizes[::-1] if orientation[2] != "0" else sizes
    assert (width, height) == pytest.approx(tuple(turned))


def test_a_slicer_box_lands_on_the_slices_it_passes(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    write_series(tmp_path / "in" / "case7", "t2")
    roi = {"type": "ROI", "coordinateSystem": "LPS", "center": [1.5, -20, 35], "size": [4, 8, 6],
           "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "controlPoints": [{"label": "herniation C5-6"}]}  # fmt: skip
    (tmp_path / "marks" / "case7").mkdir(parents=True)
    (tmp_path / "marks/case7/R.mrk.json").write_text(json.dumps({"markups": [roi]}))
    assert bring(tmp_path / "in", "--annotations", tmp_path / "marks") == 0
    brought = [Path(row["path"]).name for row in rows(tmp_path) if row["outcome"] == "brought"]
    assert brought == ["t2_02.dcm", "t2_03.dcm"]
    # y from -24 to -16 with the first pixel's centre at -50; z from 38 down to 32 with it at 60
    assert [box["bbox"] for box in annotations(tmp_path)["annotations"]] == [[26.5, 22.5, 8.0, 6.0]] * 2
    assert {box["level"] for box in annotations(tmp_path)["annotations"]} == {"C5/6"}


def test_one_bad_file_never_stops_the_others(tmp_path: Path, write_series: Writer, bring: Callable[..., int]) -> None:
    paths = write_series(tmp_path / "in", "t2")
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    (tmp_path / "in/empty.dcm").write_bytes(b"")
    (tmp_path / "in/notes.txt").write_text("to be read by nobody")
    assert bring(tmp_path / "in") == 3
    assert report(tmp_path)["counts"]["outcomes"] == {
        **{"brought": 3, "failed": 2, "ignored": 1, "left out": 1},
        "outside the intended use": 0,
    }


def test_fault_26_links_archives_and_names_that_lead_out_are_refused(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (secret,) = write_series(tmp_path / "elsewhere", "secret", slices=1)
    (path,) = write_series(tmp_path / "in", "t2", slices=1)
    (tmp_path / "in/link.dcm").symlink_to(secret)
    (tmp_path / "in/folder").symlink_to(secret.parent)
    (tmp_path / "in/study.zip").write_bytes(b"PK\x03\x04")
    names = ["../../etc/passwd", "/etc/passwd", "..\\..\\windows", "../elsewhere/secret_00.dcm", "absent.png"]
    boxes = coco(tmp_path / "boxes.json", *[(name, (112, 128), []) for name in (path.name, *names)])
    assert bring(tmp_path / "in", "--annotations", boxes) == 3
    outcomes = {Path(row["path"]).name: row["outcome"] for row in rows(tmp_path)}
    assert outcomes == {"link.dcm": "failed", "folder": "failed", "study.zip": "failed", "t2_00.dcm": "brought"}
    defects = report(tmp_path)["annotations"]["defects"]
    assert [line.split(": ")[1] for line in defects] == [f"image {number}" for number in (2, 3, 4, 5, 6)]
    assert sum("leads out" in line for line in defects) == 4
    assert "link" in capsys.readouterr().err
    (tmp_path / "way").symlink_to(tmp_path / "in")
    assert bring(tmp_path / "way", out="second") == 2


def test_fault_26_a_dicomdir_is_never_followed(tmp_path: Path, write_series: Writer, bring: Callable[..., int]) -> None:
    write_series(tmp_path / "in", "t2", slices=1)
    directory, record = Dataset(), Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["..", "..", "etc", "passwd"]
    directory.DirectoryRecordSequence = [record]
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.save_as(tmp_path / "in/DICOMDIR", enforce_file_format=True)
    assert bring(tmp_path / "in") == 0
    assert [row["outcome"] for row in rows(tmp_path)] == ["ignored", "brought"]


def test_an_unknown_class_is_refused_with_the_list_and_may_be_named(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = write_series(tmp_path / "in", "t2", slices=1)
    boxes = coco(tmp_path / "boxes.json", (path.name, (112, 128), [[1, 2, 9, 9], [3, 4, 9, 9]]), label="bulge")
    assert bring(tmp_path / "in", "--annotations", boxes) == 2
    assert "'bulge' 2 times" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert bring(tmp_path / "in", "--annotations", boxes, "--classes", "Bulge=protrusion") == 0
    assert [box["category_id"] for box in annotations(tmp_path)["annotations"]] == [1, 1]
    assert bring(tmp_path / "in", "--annotations", boxes, "--classes", "bulge=ignore", out="second") == 0
    assert annotations(tmp_path, "second")["annotations"] == []


def test_annotations_of_another_size_spoil_their_image(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    first, second = write_series(tmp_path / "in", "t2", slices=2)
    boxes = coco(tmp_path / "b.json", (first.name, (112, 128), []), (second.name, (512, 512), [[1, 2, 9, 9]]))
    assert bring(tmp_path / "in", "--annotations", boxes) == 3
    outcomes = {Path(row["path"]).name: row["reason"] for row in rows(tmp_path) if row["outcome"] == "failed"}
    assert outcomes == {second.name: "expected annotations of 112 x 128 (width x height), got some of 512 x 512"}


def test_images_are_found_by_uid_by_stem_and_by_folder(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    write_series(tmp_path / "in" / "a", "im", slices=1, study="1")
    write_series(tmp_path / "in" / "b", "im", slices=1, study="2")
    write_series(tmp_path / "in" / "c", "other", slices=1, study="3", SOPInstanceUID="1.2.3.4")
    grey(tmp_path / "in" / "d" / "7.png")
    who = tmp_path / "who.csv"
    who.write_text(WHO + "d,50,M,Maker,3.0\n")
    names = ["x/a/im_00.png", "b/im_00.jpg", "1.2.3.4", "7"]
    boxes = coco(tmp_path / "b.json", *[(name, (112, 128), [[n, 2, 9, 9]]) for n, name in enumerate(names)])
    assert bring(tmp_path / "in", "--annotations", boxes, "--patients", who) == 0
    content = annotations(tmp_path)
    assert [box["bbox"][0] for box in content["annotations"]] == [0, 1, 2, 3]
    ambiguous = coco(tmp_path / "c.json", ("im_00.png", (112, 128), []))
    assert bring(tmp_path / "in", "--annotations", ambiguous, out="second") == 3
    assert not (tmp_path / "second").exists()


def test_slices_of_a_volume_are_named_as_predict_names_them(tmp_path: Path, bring: Callable[..., int]) -> None:
    (tmp_path / "in").mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, (12, 100, 110)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([3.0, 1.0, 1.0, 1.0])), tmp_path / "in/v.nii.gz")
    who = tmp_path / "who.csv"
    who.write_text(WHO.replace("id,", "id,file,") + "one,v.nii.gz,50,M,Maker,3.0\n")
    boxes = coco(tmp_path / "b.json", ("v_sag_004.png", (100, 110), [[10, 20, 30, 40]]))
    assert bring(tmp_path / "in", "--annotations", boxes, "--patients", who) == 0
    content = annotations(tmp_path)
    assert content["annotations"][0]["bbox"] == [10, 20, 30, 40]
    pixels = np.asarray(PIL.Image.open(tmp_path / "data/images" / content["images"][0]["file_name"])).astype(float)
    assert np.corrcoef(pixels.ravel(), voxels[4, ::-1, ::-1].T.ravel())[0, 1] > 0.999


def test_patients_keep_their_new_names_with_the_key_and_their_rows_are_completed(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    write_series(tmp_path / "in" / "a", "s", study="1", PatientAge="093Y")
    write_series(tmp_path / "in" / "b", "s", study="2", PatientID="id-18", PatientSex="O")
    assert bring(tmp_path / "in") == 3
    assert "P" in (tmp_path / "data/patients.csv").read_text()
    who = tmp_path / "who.csv"
    who.write_text("patient_id,sex,operated\nid-18,M,true\n")
    assert bring(tmp_path / "in", "--patients", who, "--key", tmp_path / "data.key", out="second") == 0
    with (tmp_path / "data/patients.csv").open() as file:
        (first,) = csv.DictReader(file)
    with (tmp_path / "second/patients.csv").open() as file:
        both = {row.pop("patient_id"): row for row in csv.DictReader(file)}
    name = first.pop("patient_id")
    assert first == both.pop(name)
    assert (first["age"], first["sex"], first["scanner"], first["field_strength_t"]) == (
        "90",
        "F",
        "Maker Model",
        "1.5",
    )
    (other,) = both.values()
    assert (other["sex"], other["operated"]) == ("M", "true")
    for secret in ("data.key", "data.files.csv"):
        assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600


def test_the_same_image_twice_is_brought_once(tmp_path: Path, write_series: Writer, bring: Callable[..., int]) -> None:
    (path,) = write_series(tmp_path / "in", "s", slices=1)
    (tmp_path / "in" / "copy").mkdir()
    (tmp_path / "in/copy/again").write_bytes(path.read_bytes())
    assert bring(tmp_path / "in") == 0
    assert sorted(row["reason"] for row in rows(tmp_path)) == ["", "the same image as file 1"]


def test_a_folder_that_holds_files_is_not_touched(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    write_series(tmp_path / "in", "s", slices=1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").write_text("x")
    assert bring(tmp_path / "in") == 2
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]
    assert bring(tmp_path / "nowhere", out="other") == 2
    assert bring(tmp_path / "in", "--key", tmp_path / "other/key", out="other") == 2


def test_raters_get_a_file_each_and_the_reference_may_be_absent(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    names = [path.name for path in write_series(tmp_path / "in", "t2", slices=3)]
    size = (112, 128)
    first = coco(tmp_path / "1.json", (names[0], size, [[1, 2, 9, 9]]), (names[1], size, []))
    second = coco(tmp_path / "2.json", (names[1], size, [[3, 4, 9, 9]]), ("absent.png", size, []))
    assert bring(tmp_path / "in", "--rater", f"a={first}", "--rater", f"b={second}") == 3
    content = annotations(tmp_path)
    assert (len(content["images"]), content["annotations"]) == (2, [])
    files = {}
    for rater in ("a", "b"):
        part = json.loads((tmp_path / f"data/annotations.{rater}.json").read_text())
        by_id = {image["id"]: image["file_name"][-6:] for image in part["images"]}
        files[rater] = (sorted(by_id.values()), [(by_id[b["image_id"]], b["bbox"]) for b in part["annotations"]])
    assert files == {
        "a": (["01.png", "02.png"], [("01.png", [1, 2, 9, 9])]),
        "b": (["02.png"], [("02.png", [3, 4, 9, 9])]),
    }
    assert report(tmp_path)["annotations"]["defects"] == [
        "rater b: annotation file 1: image 2: expected the name of an image that was given, got none of theirs"
    ]
    with pytest.raises(SystemExit):
        bring(tmp_path / "in", "--rater", "../x=y", out="second")


@pytest.mark.parametrize("window", [{}, {"WindowCenter": "700", "WindowWidth": "1000"}])
def test_an_imported_image_is_read_as_the_file_itself(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int], window: dict[str, str]
) -> None:
    (path,) = write_series(tmp_path / "in", "t2", slices=1, **window)
    assert bring(tmp_path / "in") == 0
    (image,) = annotations(tmp_path)["images"]
    assert image.get("windowed", False) == bool(window)
    percentiles = (0.5, 99.9)
    straight = read_image(path, percentiles=percentiles, max_pixels=2**20).pixels
    written = tmp_path / "data/images" / image["file_name"]
    if window:
        assert np.abs(np.asarray(PIL.Image.open(written)) / 65535 - straight).max() < 1e-4
    else:
        assert np.abs(read_image(written, percentiles=percentiles, max_pixels=2**20).pixels - straight).max() < 1e-4


def test_a_blank_picture_is_outside_the_intended_use(tmp_path: Path, bring: Callable[..., int]) -> None:
    (tmp_path / "in").mkdir()
    PIL.Image.fromarray(np.full((200, 200), 90, dtype=np.uint8)).save(tmp_path / "in/blank.png")
    assert bring(tmp_path / "in") == 4


def test_of_an_enhanced_file_the_middle_frames_are_brought_by_position(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    values = np.stack([_gradient(level) for level in range(5)])
    shared, timing, echo, orientation, measures = (Dataset() for _ in range(5))
    timing.RepetitionTime, echo.EffectiveEchoTime = 3000.0, 100.0
    orientation.ImageOrientationPatient, measures.PixelSpacing = SAGITTAL, ["1", "1"]
    shared.MRTimingAndRelatedParametersSequence, shared.MREchoSequence = [timing], [echo]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    frames = []
    for place in (0, 12, 3, 9, 6):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [str(place), "-50", "60"]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    classic = ("RepetitionTime", "EchoTime", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
    elements = dict.fromkeys(classic) | {
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }
    (path,) = write_series(tmp_path / "in", "e", slices=1, values=values, **elements)
    assert bring(tmp_path / "in") == 0
    assert report(tmp_path)["series"][0]["reasons"][1:3] == ["sagittal (0 degrees off)", "T2 (TR 3000 ms, TE 100 ms)"]
    names = [image["file_name"] for image in annotations(tmp_path)["images"]]
    tops = [int(np.argmax(np.asarray(PIL.Image.open(tmp_path / "data/images" / name))[:, 0])) for name in names]
    assert tops == [30, 40, 20]  # at 9, 6 and 3 mm: the normal of these slices runs to the right
    boxes = coco(tmp_path / "b.json", (f"{path.stem}_frame_002.png", (112, 128), [[1, 2, 9, 9]]))
    assert bring(tmp_path / "in", "--annotations", boxes, out="second") == 0
    assert len(annotations(tmp_path, "second")["annotations"]) == 1


def _gradient(level: int) -> np.ndarray:
    """Draw a ramp whose brightest row tells the frame: 0, 10, 20, 30, 40."""
    values = np.tile(np.linspace(0, 500, 112), (128, 1))
    values[10 * level] = 1000
    return values.astype(np.uint16)


def test_a_dicom_file_without_an_image_is_outside_the_intended_use(
    tmp_path: Path, write_series: Writer, bring: Callable[..., int]
) -> None:
    write_series(tmp_path / "in", "t2")
    write_series(tmp_path / "in", "report", slices=1, SOPClassUID=BasicTextSRStorage, Modality="SR")
    assert bring(tmp_path / "in") == 0
    assert [row["reason"] for row in rows(tmp_path) if "report" in row["path"]] == ["a DICOM file without an image"]
