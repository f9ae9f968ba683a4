import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from meddet.data.images import Image, read_image, read_slices

VOLUNTEER = Path(__file__).parents[3] / "../shared/realdata/volunteer_t2.nii.gz"
WHOLE_RANGE = (0.0, 100.0)
LIMITS: dict[str, Any] = {"percentiles": WHOLE_RANGE, "max_pixels": 10**6}
CODES = ["".join(codes) for axes in itertools.permutations(("LR", "AP", "SI")) for codes in itertools.product(*axes)]


def read(path: Path) -> Image:
    return read_image(path, **LIMITS)


def refused(path: Path, *words: str, max_pixels: int = 10**6) -> None:
    with pytest.raises(ValueError) as caught:
        read_image(path, percentiles=WHOLE_RANGE, max_pixels=max_pixels)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


def write_nifti(
    path: Path,
    values: np.ndarray,
    codes: str,
    spacing: tuple[float, float, float] = (1, 1, 1),
    tilt: float = 0.0,
) -> None:
    """Write `values`, whose axes run right, front and up, in the order and directions of `codes`.

    The box is turned by `tilt` degrees about two axes.
    """
    turn = Rotation.from_euler("xz", [tilt, tilt / 2], degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() @ np.diag(spacing)
    file = nibabel.Nifti1Image(values, affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(file.as_reoriented(turn), path)


@pytest.fixture
def body() -> np.ndarray:
    """A body of 5 sagittal slices, 4 deep, 3 high: brighter upwards, and a mark at the front of the top."""
    values = np.zeros((5, 4, 3), dtype=np.int16)
    values += np.arange(3, dtype=np.int16)
    values[:, 3, 2] = 10
    values[1, 0, 0] = 7
    return values


@pytest.mark.parametrize("codes", CODES)
def test_fault_23_slices_stand_upright_however_the_axes_run(tmp_path: Path, body: np.ndarray, codes: str) -> None:
    write_nifti(tmp_path / "a.nii.gz", body, codes)
    slices = dict(read_slices(tmp_path / "a.nii.gz", **LIMITS))
    assert list(slices) == ["sag_001", "sag_002", "sag_003"]
    for image in slices.values():
        assert image.pixels.shape == (3, 4)
        assert image.spacing_mm == (1, 1)
        assert image.pixels[0, 0] == 1, "the mark at the front of the top"
        assert (np.diff(image.pixels[:, 1]) < 0).all(), "brighter upwards"
    marked = "sag_003" if "L" in codes else "sag_001"
    assert [name for name, image in slices.items() if image.pixels[2, 3] > 0] == [marked]


@pytest.mark.parametrize("codes", CODES)
def test_fault_23_oblique_volumes_of_any_spacing_give_the_same_slices(tmp_path: Path, codes: str) -> None:
    values = np.random.default_rng(0).integers(0, 999, (5, 8, 6)).astype(np.int16)
    write_nifti(tmp_path / "a.nii", values, "RAS", spacing=(3, 0.5, 1.5), tilt=25.0)
    write_nifti(tmp_path / "b.nii", values, codes, spacing=(3, 0.5, 1.5), tilt=25.0)
    expected = [image for _, image in read_slices(tmp_path / "a.nii", **LIMITS)]
    found = [image for _, image in read_slices(tmp_path / "b.nii", **LIMITS)]
    assert all(image.spacing_mm == pytest.approx((0.5, 0.5)) for image in found)
    assert expected[0].pixels.shape == (18, 8)
    for one, other in zip(expected, found[::-1] if "L" in codes else found, strict=True):
        assert np.allclose(one.pixels, other.pixels, atol=1e-6)


def test_fault_23_slope_and_kind_of_number_make_no_difference(tmp_path: Path, body: np.ndarray) -> None:
    expected = [image.pixels for _, image in _slices(tmp_path, body, np.int16)]
    for dtype in (np.uint8, np.uint16, np.int32, np.float32, np.float64):
        for one, (_, other) in zip(expected, _slices(tmp_path, body, dtype), strict=True):
            assert np.allclose(one, other.pixels, atol=1e-6)


def _slices(folder: Path, values: np.ndarray, dtype: Any) -> list[tuple[str, Image]]:
    file = nibabel.Nifti2Image(values.astype(dtype), np.eye(4))
    file.header.set_slope_inter(2.5 if dtype == np.int16 else 1, -3 if dtype == np.uint8 else 0)
    nibabel.save(file, folder / "a.nii")
    return read_slices(folder / "a.nii", **LIMITS)


def test_a_slice_of_a_volume_gets_square_pixels(tmp_path: Path, body: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", body, "PSR", spacing=(3, 1, 2))
    ((_, image),) = read_slices(tmp_path / "a.nii", percentiles=WHOLE_RANGE, max_pixels=10**6, count=1)
    assert image.pixels.shape == (6, 4)
    assert image.spacing_mm == (1, 1)
    with pytest.raises(ValueError, match="1 to 60 pixels, got 6000 x 4"):
        write_nifti(tmp_path / "a.nii", body, "RAS", spacing=(1, 0.001, 2))
        read_slices(tmp_path / "a.nii", percentiles=WHOLE_RANGE, max_pixels=60)


def test_one_sagittal_slice_is_an_image_of_the_file_s_own_size(tmp_path: Path, body: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", body[2:3], "PSR", spacing=(3, 1, 2))
    image = read(tmp_path / "a.nii")
    assert image.spacing_mm == (2, 1)
    assert np.allclose(image.pixels, np.array([[10, 2, 2, 2], [1, 1, 1, 1], [0, 0, 0, 0]]) / 10)
    write_nifti(tmp_path / "b.nii", body, "PSR")
    refused(tmp_path / "b.nii", "one sagittal slice", "got 5")


def test_voxels_that_are_no_number_are_0(tmp_path: Path, body: np.ndarray) -> None:
    values = body[2:3].astype(np.float32)
    values[0, 1, 1] = np.nan
    write_nifti(tmp_path / "a.nii", values, "RAS")
    assert np.allclose(read(tmp_path / "a.nii").pixels, np.array([[10, 2, 2, 2], [1, 1, 0, 1], [0, 0, 0, 0]]) / 10)


def test_broken_nifti_files_are_refused(tmp_path: Path, body: np.ndarray) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"not gzip")
    refused(path, "NIfTI")
    path.write_bytes(gzip.compress(b"not nifti"))
    refused(path, "NIfTI")
    write_nifti(path, body, "RAS")
    refused(path, "at most 59 voxels", max_pixels=59)
    write_nifti(path, np.random.default_rng(0).normal(size=(9, 9, 9)), "RAS")
    whole = path.read_bytes()
    for length in (50, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        refused(path, "NIfTI")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), dtype=np.int16), np.eye(4)), path)
    refused(path, "three axes", "(3, 3, 3, 2)")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), dtype=np.complex64), np.eye(4)), path)
    refused(path, "one number per voxel")


@pytest.mark.skipif(not VOLUNTEER.exists(), reason="the volunteer's volume is not here")
def test_the_volunteer_looks_left_and_stands_upright() -> None:
    slices = read_slices(VOLUNTEER, percentiles=(0.5, 99.9), max_pixels=2**26)
    assert [name for name, _ in slices] == ["sag_025", "sag_026", "sag_027"]
    for _, image in slices:
        assert image.pixels.shape == (195, 384)
        assert image.spacing_mm == (1, 1)
        head, chest = image.pixels[:50], image.pixels[-50:]
        assert head[:, :192].sum() > 1.5 * chest[:, :192].sum(), "the face is at the upper left"
        assert head[:, 192:].argmax(axis=1).mean() < chest[:, 192:].argmax(axis=1).mean(), "the cord runs back"
