from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
import scipy.ndimage

from meddet.data.burned_in import find_burned_in_text, refuse_burned_in_text
from meddet.data.images import read_image, read_slices
from meddet.data.scan import Refused

PHANTOM = Path(__file__).parents[3] / "data" / "images"
VOLUNTEER = Path(__file__).parents[3] / "../shared/realdata/volunteer_t2.nii.gz"


def anatomy(seed: int) -> np.ndarray:
    """Draw smooth blobs of bright and dark tissue with air around and noise on top."""
    rng = np.random.default_rng(seed)
    tissue = scipy.ndimage.gaussian_filter(rng.uniform(0, 1, (256, 240)), 3)
    tissue = (tissue - tissue.min()) / np.ptp(tissue)
    tissue[:, :40] = 0
    return np.clip(tissue * 0.6 + rng.normal(0, 0.02, tissue.shape), 0, 1).astype(np.float32)


def written(
    pixels: np.ndarray, text: str, *, height: int, grey: float, at: str
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Write text whose capitals are `height` pixels high at a border: "tl" top left, "mr" middle right, and so on."""
    size = next(s for s in range(height, 3 * height) if _capital(s) >= height)
    font, image = PIL.ImageFont.load_default(size), PIL.Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    left, top, right, bottom = (round(side) for side in pen.textbbox((0, 0), text, font=font))
    x = {"l": 3, "c": (image.width - right + left) // 2, "r": image.width - 3 - right + left}[at[1]]
    y = {"t": 3, "m": (image.height - bottom + top) // 2, "b": image.height - 3 - bottom + top}[at[0]]
    pen.text((x - left, y - top), text, fill=round(grey * 255), font=font)
    return np.asarray(image).astype(np.float32) / 255, (x, y, x + right - left, y + bottom - top)


def _capital(size: int) -> float:
    box = PIL.ImageFont.load_default(size).getbbox("H")
    return box[3] - box[1]


@pytest.mark.parametrize("at", ["tl", "tc", "tr", "ml", "mr", "bl", "bc", "br"])
@pytest.mark.parametrize(("height", "grey"), [(8, 1.0), (12, 0.9), (16, 1.0), (24, 0.95)])
def test_fault_25_a_name_at_any_border_is_found_where_it_is(at: str, height: int, grey: float) -> None:
    pixels, place = written(anatomy(height), "MUELLER, A", height=height, grey=grey, at=at)
    found = find_burned_in_text(pixels)
    assert any(box[0] < place[2] and box[2] > place[0] and box[1] < place[3] and box[3] > place[1] for box in found)


@pytest.mark.parametrize("turn", [lambda p: p.T, lambda p: p[::-1, ::-1], lambda p: p[:, ::-1]])
def test_fault_25_turned_and_mirrored_text_is_found(turn) -> None:
    pixels, _ = written(anatomy(1), "DUPONT 1961", height=14, grey=0.7, at="tl")
    assert find_burned_in_text(np.ascontiguousarray(turn(pixels)))


def test_fault_25_text_is_refused_with_its_place_and_not_its_content() -> None:
    pixels, _ = written(anatomy(2), "SMITH JOHN", height=14, grey=1.0, at="tl")
    with pytest.raises(Refused, match=r"without writing, found what looks like text near the border at \[") as refusal:
        refuse_burned_in_text(pixels)
    assert "SMITH" not in str(refusal.value)


@pytest.mark.parametrize("seed", range(20))
def test_anatomy_is_no_text(seed: int) -> None:
    assert find_burned_in_text(anatomy(seed)) == []


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_or_tiny_image_holds_no_text(value: float) -> None:
    assert find_burned_in_text(np.full((64, 48), value, dtype=np.float32)) == []
    assert find_burned_in_text(np.full((1, 1), value, dtype=np.float32)) == []


@pytest.mark.skipif(not PHANTOM.is_dir(), reason="no phantom in data/")
def test_no_phantom_image_is_taken_for_text() -> None:
    files = sorted(path for path in PHANTOM.iterdir() if path.suffix in (".png", ".dcm"))[::16]
    images = (read_image(path, percentiles=(0.5, 99.9), max_pixels=2**22).pixels for path in files)
    assert [path.name for path, pixels in zip(files, images, strict=True) if find_burned_in_text(pixels)] == []


@pytest.mark.skipif(not VOLUNTEER.is_file(), reason="the volunteer's volume is not here")
def test_no_slice_of_a_real_volume_is_taken_for_text() -> None:
    slices = read_slices(VOLUNTEER, percentiles=(0.5, 99.9), max_pixels=2**26, count=1000)
    assert [name for name, image in slices if find_burned_in_text(image.pixels)] == []
