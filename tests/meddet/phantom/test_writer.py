import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from meddet.data.identity import identifying_tags
from meddet.phantom.look import to_uint8
from meddet.phantom.presets import PRESETS
from meddet.phantom.render import render
from meddet.phantom.roles import roles
from meddet.phantom.scanner import SCANNERS
from meddet.phantom.study import draw_patient, draw_slice
from meddet.phantom.writer import write_dataset

TINY = PRESETS["tiny"]
_DIGEST = """
import hashlib, sys
from pathlib import Path
from meddet.phantom.presets import PRESETS
from meddet.phantom.writer import write_dataset
import numpy._core._multiarray_umath
if __name__ == "__main__":
    out = Path(sys.argv[1])
    write_dataset(PRESETS["tiny"], out, workers=int(sys.argv[2]))
    features = numpy._core._multiarray_umath.__cpu_features__
    print(features["X86_V3"] or features["X86_V4"])
"""

_DEATH = """
import os, sys
from pathlib import Path
from meddet.phantom import writer
from meddet.phantom.presets import PRESETS
if __name__ == "__main__":
    writer.write_dataset(PRESETS["tiny"], Path(sys.argv[1]), workers=2)
else:
    os._exit(9)
"""


def digest(folder: Path) -> str:
    total = hashlib.md5()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "data"
    write_dataset(TINY, out, workers=1)
    return out


def test_annotations_name_every_image_and_stay_inside(data):
    coco = json.loads((data / "annotations.json").read_text())
    files = {path.name for path in (data / "images").iterdir()}
    images = {image["id"]: image for image in coco["images"]}
    assert {image["file_name"] for image in coco["images"]} == files
    assert [category["name"] for category in coco["categories"]] == ["protrusion", "non-protrusion"]
    for box in coco["annotations"]:
        x, y, w, h = box["bbox"]
        image = images[box["image_id"]]
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= image["width"] and y + h <= image["height"]
    assert len({box["id"] for box in coco["annotations"]}) == len(coco["annotations"])
    assert {box["category_id"] for box in coco["annotations"]} == {1, 2}


def test_patients_carry_the_flags_of_enrolment(data):
    with (data / "patients.csv").open() as file:
        rows = list(csv.DictReader(file))
    good = [r for r in rows if (r["quality_ok"], r["complete"], r["operated"]) == ("true", "true", "false")]
    assert (len(rows), len(good)) == (12, 9)
    assert [
        sum(r[k] == v for r in rows) for k, v in (("quality_ok", "false"), ("complete", "false"), ("operated", "true"))
    ] == [1] * 3


def test_truth_has_a_row_for_each_box(data):
    coco = json.loads((data / "annotations.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    with (data / "truth" / "discs.csv").open() as file:
        rows = {(r["file_name"], r["level"]): r for r in csv.DictReader(file)}
    read = {image["file_name"] for image in json.loads((data / "annotations.a.json").read_text())["images"]}
    assert len([name for name, _ in rows if name not in read]) == len(coco["annotations"])
    for box in coco["annotations"]:
        assert names[box["image_id"]] not in read
        depth = float(rows[names[box["image_id"]], box["level"]]["h_mm"])
        assert abs(depth - 1.2) < 0.001 or (depth >= 1.2) == (box["category_id"] == 1)


def test_png_and_dicom_hold_the_rendered_pixels(data):
    for dicom in (False, True):
        number = next(n for n in range(1, 13) if roles(TINY)[n - 1].dicom == dicom)
        patient = draw_patient(TINY, number)
        picture = render(TINY, draw_slice(TINY, patient, 1))
        if not dicom:
            pixels = np.asarray(Image.open(data / "images" / f"{patient.name}_1.png"))
            np.testing.assert_array_equal(pixels, to_uint8(picture.grey))
            continue
        files = [pydicom.dcmread(data / "images" / f"{patient.name}_{k}.dcm") for k in (1, 2)]
        image = files[0]
        values = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        low = float(image.WindowCenter) - float(image.WindowWidth) / 2
        grey = (values - low) / float(image.WindowWidth) * 255
        assert np.abs(grey - picture.grey).max() <= 0.5 / 8 + 1e-6
        assert image.pixel_array.dtype == np.uint16
        assert float(image.PixelSpacing[0]) == pytest.approx(patient.frame.fov_mm / patient.protocol.side, abs=1e-6)
        assert [float(v) for v in image.ImageOrientationPatient] == [0, 1, 0, 0, 0, -1]
        assert files[0].StudyInstanceUID == files[1].StudyInstanceUID
        assert files[0].SOPInstanceUID != files[1].SOPInstanceUID
        assert all(len(uid) <= 64 for uid in (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID))


def test_dicom_files_name_nobody_and_no_day(data):
    for path in (data / "images").glob("*.dcm"):
        image = pydicom.dcmread(path)
        assert identifying_tags(image) == []
        assert (image.PatientIdentityRemoved, image.DeidentificationMethod) == ("YES", "synthetic")
        assert str(image.PatientName) == "" and image.PatientID == path.stem.split("_")[0]
        assert not [element.keyword for element in image if element.VR in ("DA", "DT", "TM")]


def test_dicom_files_say_how_the_slice_was_taken(data):
    for path in (data / "images").glob("*.dcm"):
        image = pydicom.dcmread(path)
        protocol = draw_patient(TINY, int(path.stem[1:5])).protocol
        assert (image.Rows, image.Columns) == image.pixel_array.shape == (protocol.rows, protocol.columns)
        assert (image.ScanningSequence, image.SequenceVariant, image.MRAcquisitionType) == ("SE", "SK", "2D")
        assert float(image.EchoTime) == pytest.approx(protocol.sequence.echo_ms, abs=0.05)
        assert float(image.MagneticFieldStrength) == protocol.sequence.field_t


def test_png_entries_carry_spacing_and_hashed_uids(data):
    coco = json.loads((data / "annotations.json").read_text())
    png = [image for image in coco["images"] if image["file_name"].endswith("png")]
    assert len({image["instance"] for image in png}) == len(png)
    assert len({image["study"] for image in png}) == len({image["patient_id"] for image in png})
    for image in png:
        frame = draw_patient(TINY, int(image["patient_id"][1:])).frame
        assert image["spacing_mm"][0] == pytest.approx(frame.size_mm[1] / image["height"], abs=1e-5)
        assert image["spacing_mm"][1] == pytest.approx(frame.size_mm[0] / image["width"], abs=1e-5)
        assert len(image["study"]) == len(image["instance"]) == 12
    for image in coco["images"]:
        if image["file_name"].endswith("png"):
            size = Image.open(data / "images" / image["file_name"]).size
            assert size == (image["width"], image["height"])


def test_rated_patients_are_in_the_files_of_the_raters_alone(data):
    names = {f"P{number:04d}" for number, role in enumerate(roles(TINY), start=1) if role.rated}
    reference = json.loads((data / "annotations.json").read_text())
    owner = {image["id"]: image["patient_id"] for image in reference["images"]}
    assert len(names) == 2
    assert not {owner[box["image_id"]] for box in reference["annotations"]} & names
    for rater in "abc":
        read = json.loads((data / f"annotations.{rater}.json").read_text())
        assert {image["patient_id"] for image in read["images"]} == names
        assert 20 < len(read["annotations"]) <= 6 * len(read["images"])
    assert {path.name for path in data.glob("annotations*")} == {
        "annotations.json", "annotations.a.json", "annotations.b.json", "annotations.c.json"
    }  # fmt: skip


def test_truth_says_how_each_slice_was_taken(data):
    scans = json.loads((data / "truth" / "scans.json").read_text())
    assert {scan["file_name"] for scan in scans["scans"]} == {path.name for path in (data / "images").iterdir()}
    assert set(scans["rater_bias_mm"]) == {"a", "b", "c"}
    modes = {scan["file_name"].split("_")[0]: scan["protocol"]["mode"] for scan in scans["scans"]}
    with (data / "patients.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["scanner"] in SCANNERS[modes[row["patient_id"]]]
    assert sorted(modes.values()) == ["default"] * 6 + ["diverse"] * 6


def test_scanners_tell_the_modes_apart():
    names = [name for scanners in SCANNERS.values() for name in scanners]
    assert len(set(names)) == len(names)


def test_share_of_dicom_patients():
    quick = PRESETS["quick"]
    assert sum(role.dicom for role in roles(quick)) == 24


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_depend_on_neither_processor_nor_workers(data, tmp_path, workers):
    script = tmp_path / "write.py"
    script.write_text(_DIGEST)
    plain = {"NPY_DISABLE_CPU_FEATURES": _features(), "OPENBLAS_CORETYPE": "Haswell"} if workers == 1 else {}
    environment = os.environ | plain | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-W", "error::ImportWarning", str(script), str(tmp_path / "data"), str(workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    if workers == 1:
        assert done.stdout.strip() == "False"
    assert digest(tmp_path / "data") == digest(data)


def _features() -> str:
    """Name the vector extensions that this numpy can switch off on this processor."""
    from numpy._core import _multiarray_umath as core

    return " ".join(name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name))


def test_refuses_a_folder_that_holds_files(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="expected no folder or an empty one"):
        write_dataset(TINY, tmp_path, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meddet.phantom.writer.write_png", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_dataset(replace(TINY, dicom_share=0.0), tmp_path / "data", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_worker_ends_the_run(tmp_path):
    script = tmp_path / "die.py"
    script.write_text(_DEATH)
    command = [sys.executable, str(script), str(tmp_path / "data")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BrokenProcessPool" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["die.py"]
