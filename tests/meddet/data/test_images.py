import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from meddet.data.images import Image, read_canonical, read_image, write_canonical
from tests.dicom_writer import write_dicom

VOLUNTEER = Path(__file__).parents[3] / "../shared/realdata/volunteer_t2.nii.gz"
WHOLE_RANGE = (0.0, 100.0)
RAMP = np.arange(12).reshape(3, 4)


def read(path: Path, percentiles: tuple[float, float] = WHOLE_RANGE, max_pixels: int = 10**6) -> Image:
    return read_image(path, percentiles=percentiles, max_pixels=max_pixels)


def refused(path: Path, *words: str, max_pixels: int = 10**6) -> None:
    with pytest.raises(ValueError) as caught:
        read(path, max_pixels=max_pixels)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


# --- canonical


@given(
    stored=arrays.arrays(
        np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 65535)
    )
)
@settings(max_examples=50, deadline=None)
def test_canonical_keeps_all_16_bits(stored: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("canonical") / "image.png"
    write_canonical(path, (stored / 65535).astype(np.float32))
    back = read_canonical(path)
    assert back.dtype == np.float32
    assert np.array_equal(np.rint(back.astype(np.float64) * 65535), stored)


def test_canonical_refuses_another_png(tmp_path: Path) -> None:
    PIL.Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="expected a 16-bit grey PNG, got uint8"):
        read_canonical(tmp_path / "a.png")


# --- PNG


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_either_depth(tmp_path: Path, dtype: type) -> None:
    PIL.Image.fromarray((RAMP * 20).astype(dtype)).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.spacing_mm is None
    assert image.pixels.dtype == np.float32
    assert np.allclose(image.pixels, RAMP / 11)


def test_percentiles_become_0_and_1(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.arange(101, dtype=np.uint8)[None]).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png", percentiles=(10.0, 90.0)).pixels
    assert np.allclose(pixels, np.clip((np.arange(101) - 10) / 80, 0, 1)[None])


def test_a_constant_image_is_0(tmp_path: Path) -> None:
    PIL.Image.new("L", (5, 4), color=77).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").pixels, np.zeros((4, 5)))


def test_an_image_of_few_bright_pixels_keeps_them(tmp_path: Path) -> None:
    values = np.zeros((100, 100), dtype=np.uint8)
    values[3, 7] = 200
    PIL.Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", percentiles=(0.5, 99.9)).pixels, values / 200)


def test_grey_in_three_channels_is_read_and_colour_is_not(tmp_path: Path) -> None:
    grey = np.repeat(RAMP.astype(np.uint8)[..., None], 3, axis=2)
    PIL.Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.allclose(read(tmp_path / "a.png").pixels, RAMP / 11)
    grey[1, 1, 2] += 1
    PIL.Image.fromarray(grey).save(tmp_path / "b.png")
    refused(tmp_path / "b.png", "grey", "got colours")


def test_broken_png_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    refused(path, "found none")
    path.mkdir()
    refused(path, "found a folder")
    path.rmdir()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)).save(buffer, "PNG")
    for length in (0, 8, 20, 60, 900):
        path.write_bytes(buffer.getvalue()[:length])
        refused(path, "PNG")
    path.write_bytes(buffer.getvalue()[:100] + b"????" + buffer.getvalue()[104:])
    refused(path, "PNG")
    PIL.Image.fromarray(RAMP.astype(np.uint8)).save(path, format="JPEG")
    refused(path, "expected a PNG image")
    PIL.Image.fromarray(RAMP.astype(np.uint8)).convert("RGBA").save(path)
    refused(path, "grey", "RGBA")
    PIL.Image.new("L", (2000, 2000)).save(path)
    refused(path, "1 to 1000000 pixels", "2000 x 2000")


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("1", (20000, 20000)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    refused(tmp_path / "a.png", "1 to 1000000 pixels")


# --- DICOM


def test_dicom_is_rescaled_and_windowed_by_percentiles(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, (RAMP - 6).astype(np.int16), RescaleSlope=2, RescaleIntercept=-3, PixelSpacing=[0.5, 0.75])
    image = read(path)
    assert np.allclose(image.pixels, RAMP / 11)
    assert image.spacing_mm == (0.5, 0.75)


def test_a_negative_slope_turns_the_image(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), RescaleSlope=-1, RescaleIntercept=0)
    assert np.allclose(read(tmp_path / "a.dcm").pixels, 1 - RAMP / 11)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(read(tmp_path / "a.dcm").pixels, 1 - RAMP / 11)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_0_and_moves_no_percentile(tmp_path: Path, photometric: str) -> None:
    values = RAMP.astype(np.int16)
    values[0, 0] = -2000
    write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=-2000, PhotometricInterpretation=photometric)
    unit = (RAMP - 1) / 10
    expected = 1 - unit if photometric == "MONOCHROME1" else unit
    expected[0, 0] = 0
    assert np.allclose(read(tmp_path / "a.dcm").pixels, expected)


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [(None, 15.0, 25.0), ("LINEAR", 15.0, 25.0), ("LINEAR_EXACT", 15.0, 26.0)],
)
def test_the_first_window_of_the_file_counts(tmp_path: Path, function: str | None, low: float, high: float) -> None:
    values = np.arange(41, dtype=np.uint16)[None]
    window = {"WindowCenter": [20.5, 3], "WindowWidth": [11, 2], "VOILUTFunction": function}
    write_dicom(tmp_path / "a.dcm", values, **window)
    assert np.allclose(read(tmp_path / "a.dcm").pixels, np.clip((values - low) / (high - low), 0, 1))


def test_a_dicom_file_needs_no_suffix(tmp_path: Path) -> None:
    write_dicom(tmp_path / "IM0001", RAMP.astype(np.uint8))
    assert np.allclose(read(tmp_path / "IM0001").pixels, RAMP / 11)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PixelData": None}, ("PixelData", "found none")),
        ({"Rows": None}, ("element Rows", "found none")),
        ({"Rows": 65535, "Columns": 65535}, ("1 to 1000000 pixels", "65535 x 65535")),
        ({"Rows": 300}, ("at least 2400 bytes of pixels", "as the header says")),
        ({"NumberOfFrames": 7}, ("one frame", "got 7")),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, ("whole DICOM image",)),
        ({"PixelSpacing": [0, 1]}, ("positive PixelSpacing",)),
        ({"WindowCenter": 5, "WindowWidth": 1}, ("WindowWidth above 1", "got 1")),
    ],
)
def test_a_wrong_dicom_file_is_refused(tmp_path: Path, elements: dict[str, object], words: tuple[str, ...]) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), **elements)
    refused(tmp_path / "a.dcm", *words)


def test_a_dicom_file_cut_anywhere_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, RAMP.astype(np.uint16), PixelSpacing=[0.5, 0.5])
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        refused(path)
    assert capfd.readouterr().err == ""


@given(position=st.integers(132, 800), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_dicom_file_is_read_or_refused_by_name(
    position: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.dcm"
    write_dicom(path, RAMP.astype(np.uint16), PixelSpacing=[0.5, 0.5], WindowCenter=5, WindowWidth=9)
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        image = read(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: expected ")
        assert "\n" not in str(error)
    else:
        assert 0 <= image.pixels.min() <= image.pixels.max() <= 1


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    refused(tmp_path / "a.txt", "DICOM (.dcm), NIfTI (.nii, .nii.gz), PNG or TIFF")
