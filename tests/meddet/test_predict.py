import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

from meddet import cli
from meddet.bundle import load_bundle
from meddet.data.images import read_slices
from meddet.data.upright import Turn
from meddet.evaluate.calibration import protrusion_shares
from tests.dicom_writer import write_dicom

SIZE = (120, 100)
BLUR = np.array([1, 4, 6, 4, 1]) / 16


def scene() -> np.ndarray:
    """Smooth noise of 12 bits that reaches both ends."""
    values = np.random.default_rng(3).random(SIZE)
    for axis in (0, 1):
        values = np.apply_along_axis(lambda row: np.convolve(row, BLUR, mode="same"), axis, values)
    return np.rint((values - values.min()) / np.ptp(values) * 4095).astype(np.uint16)


def identity(bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "US", [value * (2**bits - 1) // 4095 for value in range(4096)])
    return item


def palette() -> dict[str, Any]:
    names, shades = ("Red", "Green", "Blue"), np.arange(0, 65536, 16, dtype=np.uint16).tobytes()
    return {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": [4096, 0, 16] for name in names},
        **{f"{name}PaletteColorLookupTableData": shades for name in names},
    }


STORED = scene()
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}
KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "plain": (STORED, WINDOW),
    "inverted": (4095 - STORED, {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"}),
    "rescaled": (
        STORED,
        {"RescaleSlope": "3", "RescaleIntercept": "-7", "WindowCenter": "6136", "WindowWidth": 12286},
    ),
    "signed": (STORED.astype(np.int16) - 2048, {"WindowCenter": "0", "WindowWidth": "4096"}),
    "table": (STORED, {"VOILUTSequence": [identity(16)]}),
    "palette": (STORED, palette()),
    "jpeg2000": (STORED, {**WINDOW, "TransferSyntaxUID": JPEG2000Lossless}),
    "jpeg_lossless": (STORED, {**WINDOW, "TransferSyntaxUID": JPEGLosslessSV1}),
    "enhanced": (STORED[None], {**WINDOW, "TransferSyntaxUID": RLELossless}),
    "eight_bits": ((STORED >> 4).astype(np.uint8), {"WindowCenter": "128", "WindowWidth": "256"}),
    "jpeg": ((STORED >> 4).astype(np.uint8), {"TransferSyntaxUID": JPEGBaseline8Bit}),
}


def predict(bundle: Path, out: Path, *files: Path) -> int:
    return cli.main(["predict", *map(str, files), "--model", str(bundle), "--out", str(out)])


def found(path: Path) -> tuple[np.ndarray, list[str]]:
    (entry,) = json.loads(path.read_text())["images"]
    rows = entry["detections"]
    return np.array([row["box_xyxy_px"] for row in rows]).reshape(-1, 4), [row["label"] for row in rows]


def best_ious(boxes: np.ndarray, labels: list[str], others: np.ndarray, other_labels: list[str]) -> np.ndarray:
    low, high = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others)]
    ious = shared / (areas[0][:, None] + areas[1] - shared)
    return np.where(np.array(labels)[:, None] == np.array(other_labels), ious, 0).max(axis=1)


def test_fault_23_every_format_gives_the_detections_of_its_plain_copy(small_bundle: Path, tmp_path: Path) -> None:
    PIL.Image.fromarray((STORED.astype(np.uint32) * 65535 // 4095).astype(np.uint16)).save(tmp_path / "copy.png")
    PIL.Image.fromarray(STORED).save(tmp_path / "other.tif")
    for kind, (values, elements) in KINDS.items():
        write_dicom(tmp_path / f"{kind}.dcm", values, **elements)
    files = [tmp_path / "copy.png", tmp_path / "other.tif", *(tmp_path / f"{kind}.dcm" for kind in KINDS)]
    assert predict(small_bundle, tmp_path / "out", *files) == 0
    boxes, labels = found(tmp_path / "out/copy.json")
    assert len(boxes) > 5
    for name in ("other", *KINDS):
        same, same_labels = found(tmp_path / f"out/{name}.json")
        lossy = name in ("eight_bits", "jpeg")
        assert lossy or same_labels == labels, name
        share = (best_ious(boxes, labels, same, same_labels) >= 0.98).mean()
        assert share >= (0.8 if lossy else 1.0), name


@pytest.mark.parametrize("turn", [Turn(), Turn(True, False, True), Turn(False, True, True), Turn(True)])
def test_fault_23_a_slice_stored_in_another_way_is_found_upright_and_its_boxes_are_the_file_s(
    small_bundle: Path, tmp_path: Path, turn: Turn
) -> None:
    back, feet = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
    stored = turn.inverse().pixels(STORED)
    signs = turn.of_axes((turn.flip_columns, turn.flip_rows))
    axes = turn.of_axes((back, feet))
    orientation = [*(axes[0] * (-1 if signs[0] else 1)), *(axes[1] * (-1 if signs[1] else 1))]
    write_dicom(tmp_path / "plain.dcm", STORED, **WINDOW)
    write_dicom(tmp_path / "turned.dcm", stored, ImageOrientationPatient=[float(x) for x in orientation], **WINDOW)
    assert predict(small_bundle, tmp_path / "out", tmp_path / "plain.dcm", tmp_path / "turned.dcm") == 0
    boxes, labels = found(tmp_path / "out/plain.json")
    turned, turned_labels = found(tmp_path / "out/turned.json")
    assert turned_labels == labels
    assert np.allclose(turn.boxes(turned, stored.shape), boxes, atol=0.011)
    (entry,) = json.loads((tmp_path / "out/turned.json").read_text())["images"]
    assert (entry["height"], entry["width"]) == stored.shape


def test_fault_22_a_bad_file_is_an_error_and_never_no_finding(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tmp_path / "good.dcm", STORED, **WINDOW)
    write_dicom(tmp_path / "bomb.dcm", STORED, Rows=65535, Columns=65535)
    write_dicom(tmp_path / "empty.dcm", STORED, PixelData=None)
    write_dicom(tmp_path / "padding.dcm", np.zeros_like(STORED), PixelPaddingValue=0)
    write_dicom(tmp_path / "blank.dcm", np.full_like(STORED, 77))
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "good.dcm").read_bytes()[:9000])
    names = ["bomb", "empty", "padding", "blank", "cut", "good"]
    assert predict(small_bundle, tmp_path / "out", *(tmp_path / f"{name}.dcm" for name in names)) == 3
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert [line.split(": expected ")[0] for line in lines] == [f"error: {tmp_path / n}.dcm" for n in names[:-1]]
    assert "0 boxes" not in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.json", "good.png"]


def test_each_box_has_its_level_and_what_validation_makes_of_its_score(small_bundle: Path, tmp_path: Path) -> None:
    PIL.Image.fromarray(STORED).save(tmp_path / "image.png")
    assert predict(small_bundle, tmp_path / "out", tmp_path / "image.png") == 0
    bundle = load_bundle(small_bundle)
    (entry,) = json.loads((tmp_path / "out/image.json").read_text())["images"]
    rows = entry["detections"]
    found, region = bundle.predict(
        read_slices(tmp_path / "image.png", percentiles=(0.5, 99.9), max_pixels=10**6)[0][1].pixels
    )
    by_score = {round(score, 4): row for row, score in enumerate(found.scores.tolist())}
    names = bundle.name(found, region)
    share = protrusion_shares(found, least_score=0.05)
    assert len(rows) > 5
    assert any(row["level"] for row in rows)
    for row in rows:
        place = by_score[row["score"]]
        assert row["level"] == names[place]
        assert row["protrusion_probability"] == pytest.approx(
            np.interp(share[place], [0.2, 0.8], [0.25, 0.75]), abs=1e-4
        )
        ends = ([0.1, 0.6], [0.05, 0.7] if row["label"] == "protrusion" else [0.1, 0.8])
        assert row["expected_iou"] == pytest.approx(np.interp(row["score"], *ends), abs=1e-4)
