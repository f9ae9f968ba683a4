"""Fault 23: an image is the same image however its file keeps it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from meddet.data.images import Image, read_image, read_slices
from tests.dicom_writer import write_dicom

PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (*PLAIN, RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
LIMITS: dict[str, Any] = {"percentiles": (0.0, 100.0), "max_pixels": 10**6}


def scene(levels: int = 4096, size: tuple[int, int] = (40, 32)) -> np.ndarray:
    """A smooth grey image that uses all `levels`."""
    rows, columns = np.mgrid[: size[0], : size[1]] / 8
    unit = (np.sin(rows) * np.cos(columns) + 1) / 2
    unit = (unit - unit.min()) / np.ptp(unit)
    return np.rint(unit * (levels - 1)).astype(np.uint16)


def read(path: Path) -> Image:
    return read_image(path, **LIMITS)


def same(path: Path, expected: np.ndarray, atol: float = 1e-6) -> None:
    pixels = read(path).pixels
    assert pixels.dtype == np.float32
    assert np.abs(pixels - expected).max() <= atol


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: UID(uid).keyword)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "12 of 16 bits"])
def test_fault_23_every_lossless_transfer_syntax_keeps_the_image(tmp_path: Path, syntax: str, kind: str) -> None:
    values = scene(200) if kind == "uint8" else scene()
    elements: dict[str, Any] = {"BitsStored": 12, "HighBit": 11} if kind == "12 of 16 bits" else {}
    stored = values.astype(np.int16) - 1000 if kind == "int16" else values.astype(kind if "bits" not in kind else "u2")
    write_dicom(tmp_path / "a.dcm", stored, TransferSyntaxUID=syntax, **elements)
    same(tmp_path / "a.dcm", values / values.max())


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda uid: UID(uid).keyword)
def test_fault_23_lossy_jpeg_keeps_it_within_its_loss(tmp_path: Path, syntax: str) -> None:
    write_dicom(tmp_path / "a.dcm", scene(256).astype(np.uint8), TransferSyntaxUID=syntax)
    same(tmp_path / "a.dcm", scene(256) / 255, atol=2.5 / 255)


def test_jpeg_extended_of_12_bits_has_no_free_decoder(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", scene(), TransferSyntaxUID=JPEGExtended12Bit, BitsStored=12, HighBit=11)
    refused(tmp_path / "a.dcm", "12-bit")


def test_fault_23_rubbish_in_unused_bits_is_not_seen(tmp_path: Path) -> None:
    rubbish = np.random.default_rng(0).integers(0, 16, (40, 32)).astype(np.uint16) << 12
    write_dicom(tmp_path / "a.dcm", scene() | rubbish, BitsStored=12, HighBit=11)
    same(tmp_path / "a.dcm", scene() / 4095)
    signed = ((scene().astype(np.int16) - 2048) & 0xFFF) | rubbish.astype(np.int16)
    write_dicom(tmp_path / "b.dcm", signed.astype(np.int16), BitsStored=12, HighBit=11)
    same(tmp_path / "b.dcm", scene() / 4095)
    write_dicom(tmp_path / "c.dcm", scene() << 4, BitsStored=12, HighBit=15)
    refused(tmp_path / "c.dcm", "the lowest are used")


def table(values: np.ndarray, *, first: int = 0, bits: int = 16) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % 65536, first, bits])
    item.add_new("LUTData", "US", [int(value) for value in values])
    return Sequence([item])


def palette(values: np.ndarray, *, blue: int = 0) -> dict[str, Any]:
    shades = (values.astype(np.uint16), values.astype(np.uint16), (values + blue).astype(np.uint16))
    names = ("Red", "Green", "Blue")
    descriptor = [len(values), 0, 16]
    return {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": descriptor for name in names},
        **{f"{n}PaletteColorLookupTableData": s.tobytes() for n, s in zip(names, shades, strict=True)},
    }


STORED, UNIT = scene(), scene() / 4095
MR = STORED.astype(np.int16) - 1024
CUT = np.clip((STORED - 1000.0) / 2000, 0, 1)
CURVED = np.rint(np.sqrt(np.arange(4096) / 4095) * 65535)
CASES: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    "slope and intercept": (STORED, {"RescaleSlope": "2.5", "RescaleIntercept": "-31"}, UNIT),
    "slope without intercept": (STORED, {"RescaleSlope": "-1"}, 1 - UNIT),
    "signed": (MR, {}, UNIT),
    "MONOCHROME1": (STORED, {"PhotometricInterpretation": "MONOCHROME1"}, 1 - UNIT),
    "modality table": (
        STORED,
        {"ModalityLUTSequence": table(np.arange(4096) * 16)},
        np.arange(4096)[STORED] / 4095,
    ),
    "modality table from below 0": (
        MR,
        {"ModalityLUTSequence": table(np.arange(4096) * 4, first=-1024, bits=14)},
        UNIT,
    ),
    "window": (
        MR,
        {"WindowCenter": "976.5", "WindowWidth": "2001", "RescaleSlope": "1", "RescaleIntercept": "0"},
        CUT,
    ),
    "window of rescaled values": (
        STORED,
        {"RescaleSlope": "2", "RescaleIntercept": "10", "WindowCenter": "4010.5", "WindowWidth": "4001"},
        CUT,
    ),
    "exact window, the first of two": (
        STORED,
        {"WindowCenter": ["2000", "1"], "WindowWidth": ["2000", "2"], "VOILUTFunction": "LINEAR_EXACT"},
        CUT,
    ),
    "sigmoid": (
        STORED,
        {"WindowCenter": "2000", "WindowWidth": "1500", "VOILUTFunction": "SIGMOID"},
        1 / (1 + np.exp(-4 * (STORED - 2000.0) / 1500)),
    ),
    "VOI table": (STORED, {"VOILUTSequence": table(CURVED)}, np.sqrt(UNIT)),
    "VOI table of 8 bits": (
        STORED,
        {"VOILUTSequence": table(np.arange(4096) // 16, bits=8)},
        np.arange(4096)[STORED] // 16 / 255,
    ),
    "VOI table of rescaled values": (
        STORED,
        {"RescaleSlope": "1", "RescaleIntercept": "-1024", "VOILUTSequence": table(CURVED, first=-1024)},
        np.sqrt(UNIT),
    ),
    "grey palette": (STORED, palette(np.arange(4096) * 16), UNIT),
}


@pytest.mark.parametrize("case", CASES)
def test_fault_23_shades_are_those_of_the_plain_copy(tmp_path: Path, case: str) -> None:
    stored, elements, expected = CASES[case]
    write_dicom(tmp_path / "a.dcm", stored, **elements)
    same(tmp_path / "a.dcm", expected, atol=1.5 / 65535)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"RescaleSlope": "0"}, ("RescaleSlope other than 0",)),
        ({"RescaleSlope": "1e300"}, ("RescaleSlope of at most",)),
        ({"WindowCenter": "5", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"}, ("above 0",)),
        ({"WindowCenter": "5", "WindowWidth": "9", "VOILUTFunction": "CUBIC"}, ("VOILUTFunction",)),
        ({"VOILUTSequence": table(np.arange(9), bits=4)}, ("8 to 16 bits",)),
        (palette(np.arange(4096) * 15, blue=1), ("grey", "colours")),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, ("padding",)),
        ({"BitsAllocated": 64}, ("8, 16 or 32 bits",)),
    ],
)
def test_shades_that_make_no_sense_are_refused(
    tmp_path: Path, elements: dict[str, Any], words: tuple[str, ...]
) -> None:
    write_dicom(tmp_path / "a.dcm", STORED, **elements)
    refused(tmp_path / "a.dcm", *words)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("as_unsigned", [False, True])
def test_fault_23_padding_is_0_and_moves_no_percentile(tmp_path: Path, kind: str, as_unsigned: bool) -> None:
    stored = MR.copy()
    stored[:5], stored[5:7] = -2000, -1990
    write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation=kind)
    if as_unsigned:
        change(tmp_path / "a.dcm", lambda f: f.add_new("PixelPaddingValue", "US", 65536 - 2000))
        change(tmp_path / "a.dcm", lambda f: f.add_new("PixelPaddingRangeLimit", "US", 65536 - 1990))
    else:
        change(tmp_path / "a.dcm", lambda f: f.add_new("PixelPaddingValue", "SS", -2000))
        change(tmp_path / "a.dcm", lambda f: f.add_new("PixelPaddingRangeLimit", "SS", -1990))
    rest = STORED[7:].astype(float)
    unit = (rest - rest.min()) / np.ptp(rest)
    expected = np.vstack([np.zeros((7, 32)), 1 - unit if kind == "MONOCHROME1" else unit])
    same(tmp_path / "a.dcm", expected)


def change(path: Path, edit: Callable[[Any], object]) -> None:
    file = pydicom.dcmread(path)
    edit(file)
    file.save_as(path)


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        (ExplicitVRLittleEndian, "RGB"),
        (ExplicitVRLittleEndian, "YBR_FULL"),
        (RLELossless, "RGB"),
        (JPEG2000Lossless, "RGB"),
        (JPEGBaseline8Bit, "YBR_FULL_422"),
    ],
)
def test_fault_23_colour_that_is_grey_in_truth_is_read_and_colour_is_not(
    tmp_path: Path, syntax: str, kind: str
) -> None:
    grey = scene(256).astype(np.uint8)
    same_chroma = np.full_like(grey, 128)
    parts = [grey, same_chroma, same_chroma] if kind == "YBR_FULL" else [grey] * 3
    elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": kind, "TransferSyntaxUID": syntax}
    write_dicom(tmp_path / "a.dcm", np.stack(parts, axis=2), **elements)
    same(tmp_path / "a.dcm", grey / 255, atol=2.5 / 255 if syntax == JPEGBaseline8Bit else 1e-6)
    parts[2] = parts[2] // 2
    write_dicom(tmp_path / "b.dcm", np.stack(parts, axis=2), **elements)
    refused(tmp_path / "b.dcm", "grey", "colours")


# --- several frames


def group(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def enhanced(count: int, places: list[float]) -> dict[str, Any]:
    """Enhanced MR: frame i stands at places[i], and its own slope and window undo its number."""
    shared = group(
        PixelMeasuresSequence=[group(PixelSpacing=[0.5, 0.75])],
        PlaneOrientationSequence=[group(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
    )
    own = [
        group(
            PlanePositionSequence=[group(ImagePositionPatient=[place, 0, 0])],
            PixelValueTransformationSequence=[group(RescaleSlope=index + 1, RescaleIntercept=7, RescaleType="US")],
            FrameVOILUTSequence=[group(WindowCenter=7 + 2048 * (index + 1), WindowWidth=1 + 100 * (index + 1))],
        )
        for index, place in zip(range(count), places, strict=True)
    ]
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": own}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_fault_23_frames_of_enhanced_mr_have_their_own_shades_and_places(tmp_path: Path, syntax: str) -> None:
    frames = np.stack([np.roll(STORED, index, axis=0) for index in range(4)])
    write_dicom(tmp_path / "a.dcm", frames, TransferSyntaxUID=syntax, **enhanced(4, [9.0, -3.0, 3.0, -9.0]))
    slices = read_slices(tmp_path / "a.dcm", count=3, **LIMITS)
    assert [name for name, _ in slices] == ["frame_003", "frame_002", "frame_004"], "the normal is -x: 9, 3, -3, -9"
    for name, image in slices:
        index = int(name[-3:]) - 1
        raw = frames[index] * (index + 1.0) + 7
        low = 7 + 2048 * (index + 1) - 0.5 - 50 * (index + 1)
        assert np.allclose(image.pixels, np.clip((raw - low) / (100 * (index + 1)), 0, 1), atol=1e-6)
        assert image.spacing_mm == (0.5, 0.75)
        assert image.to_upright is not None and not image.to_upright.transpose
    refused(tmp_path / "a.dcm", "one frame", "got 4")


def test_frames_without_places_stay_in_the_file_s_order(tmp_path: Path) -> None:
    frames = np.stack([STORED + index for index in range(5)])
    write_dicom(tmp_path / "a.dcm", frames)
    assert [name for name, _ in read_slices(tmp_path / "a.dcm", **LIMITS)] == ["frame_002", "frame_003", "frame_004"]
    write_dicom(tmp_path / "b.dcm", frames[:3], **enhanced(2, [0.0, 1.0]))
    with pytest.raises(ValueError, match="functional groups of every frame"):
        read_slices(tmp_path / "b.dcm", **LIMITS)


def test_one_frame_of_enhanced_mr_is_an_image(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", STORED[None], **enhanced(1, [0.0]))
    assert read(tmp_path / "a.dcm").spacing_mm == (0.5, 0.75)
