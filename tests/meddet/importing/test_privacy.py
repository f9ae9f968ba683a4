"""Fault 25: what identifies a person never leaves the files, whatever is said about them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from meddet import cli

Writer = Callable[..., list[Path]]
CANARY = "CANARY"
_TEXT = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "CS", "AS"}
_DATES = {"DA": "19611231", "DT": "19611231235959", "TM": "235959.123"}
_NEEDED = {"PatientSex", "PatientAge", "BurnedInAnnotation"}


def poison(path: Path) -> int:
    """Put a canary, or a date, into every element of the profile that holds text, and into private elements."""
    data = pydicom.dcmread(path)
    tables = ("X_TAGS", "Z_TAGS", "D_TAGS", "Z_D_TAGS", "X_Z_TAGS", "X_D_TAGS", "X_Z_D_TAGS")
    count = 0
    for tag in {tag for table in tables for tag in getattr(profile, table) if len(tag) == 2}:
        keyword = keyword_for_tag(tag)
        if not keyword or keyword in _NEEDED or tag[0] < 8 or dictionary_VM(tag) == "0":
            continue
        vr = dictionary_VR(tag)
        if vr in _TEXT:
            value = "CANARY19611231"[: 4 if vr == "AS" else 14]
            data.add_new(tag, vr, f"{CANARY}^Jane" if vr == "PN" else value)
            count += 1
        elif vr in _DATES:
            data.add_new(tag, vr, _DATES[vr])
            count += 1
    inner = Dataset()
    inner.PatientName, inner.PatientComments = f"{CANARY}^Nested", CANARY
    data.RequestAttributesSequence = [inner]
    block = data.private_block(0x0029, f"{CANARY} creator", create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "OB", CANARY.encode())
    data.SeriesDescription = f"T2 TSE SAG HWS {CANARY}"
    data.save_as(path)
    return count


def test_fault_25_no_canary_leaves_the_tags_names_and_paths(tmp_path: Path, write_series: Writer) -> None:
    root = tmp_path / f"{CANARY}_root"
    folder = root / f"{CANARY}_Jane_19611231"
    paths = write_series(folder, f"{CANARY}_t2")
    assert min(poison(path) for path in paths) > 250
    broken = folder / f"{CANARY}_broken.dcm"
    broken.write_bytes(paths[0].read_bytes()[:3000])
    (folder / f"{CANARY}.zip").write_bytes(b"PK")
    (folder / f"{CANARY}_link").symlink_to(paths[0])
    names = [paths[0].name, paths[1].name, f"../{CANARY}.png", f"{CANARY}_absent.png"]
    images = [{"id": n, "file_name": name, "width": 112, "height": 128} for n, name in enumerate(names, start=1)]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20]}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "protrusion"}]}
    labels = root / f"{CANARY}.json"
    labels.write_text(json.dumps(content))
    arguments = ["import", str(folder), "--annotations", str(labels), "--out", "data"]
    done = subprocess.run(
        [sys.executable, "-m", "meddet.cli", *arguments], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 3, done.stderr.decode()
    assert len(list((tmp_path / "data/images").iterdir())) == 2
    for stream in (done.stdout, done.stderr):
        assert CANARY.encode() not in stream
        assert b"1961" not in stream
    for path in (tmp_path / "data").rglob("*"):
        assert CANARY not in path.name
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes()
            assert b"19611231" not in path.read_bytes()
    report = json.loads((tmp_path / "data/import.json").read_text())
    assert {"PatientName", "PatientID", "private (0029,1001)"} <= report["identity"]["elements"].keys()
    assert all(
        "PatientName" in file["identifying_elements"] for file in report["files"] if file["outcome"] == "brought"
    )


def test_fault_25_identity_may_be_refused_instead(
    tmp_path: Path, write_series: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", "t2")
    out = tmp_path / "data"
    assert cli.main(["import", str(tmp_path / "in"), "--out", str(out), "--identity", "refuse"]) == 3
    assert not out.exists()
    assert "expected a de-identified file" in capsys.readouterr().err
    clean = {"PatientName": None, "SeriesDescription": "", "ProtocolName": None, "PatientID": "pseudonym"}
    declared = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "basic profile"}
    write_series(tmp_path / "clean", "t2", **clean, **declared)
    assert cli.main(["import", str(tmp_path / "clean"), "--out", str(out), "--identity", "refuse"]) == 0


def test_fault_25_burned_in_text_is_refused_by_tag_and_by_pixels(tmp_path: Path, write_series: Writer) -> None:
    image = PIL.Image.new("L", (220, 200))
    font = PIL.ImageFont.load_default(16)
    PIL.ImageDraw.Draw(image).text((4, 4), "MUELLER, ANNA", fill=250, font=font)
    noise = np.random.default_rng(0).integers(0, 20, (200, 220))
    written = (np.asarray(image).astype(np.uint16) + noise).astype(np.uint16)
    write_series(tmp_path / "in" / "tag", "a", slices=1, study="1", BurnedInAnnotation="YES")
    write_series(tmp_path / "in" / "pixels", "b", slices=1, study="2", values=written)
    write_series(tmp_path / "in" / "clean", "c", slices=1, study="3")
    assert cli.main(["import", str(tmp_path / "in"), "--out", str(tmp_path / "data")]) == 3
    reasons = [
        (file["outcome"], file["reason"][:60])
        for file in json.loads((tmp_path / "data/import.json").read_text())["files"]
    ]
    assert reasons == [
        ("brought", ""),
        ("failed", "expected an image without writing, found what looks like tex"),
        ("failed", "expected an image without writing, its header says BurnedInA"),
    ]


def test_written_images_hold_pixels_and_nothing_else(tmp_path: Path, write_series: Writer) -> None:
    write_series(tmp_path / "in", "t2", slices=1)
    assert cli.main(["import", str(tmp_path / "in"), "--out", str(tmp_path / "data")]) == 0
    (path,) = (tmp_path / "data/images").iterdir()
    content = path.read_bytes()
    chunks, place = set(), 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.add(content[place + 4 : place + 8])
        place += 12 + length
    assert chunks == {b"IHDR", b"IDAT", b"IEND"}
