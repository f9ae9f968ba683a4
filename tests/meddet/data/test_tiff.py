from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from meddet.data.images import read_image

LIMITS: dict[str, Any] = {"percentiles": (0.0, 100.0), "max_pixels": 10**6}
RAMP = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("suffix", ["tif", "TIFF"])
def test_fault_23_tiff_of_either_depth_is_the_png(
    tmp_path: Path, dtype: Any, compression: str | None, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray((RAMP * 20).astype(dtype)).save(path, "TIFF", compression=compression)
    assert np.allclose(read_image(path, **LIMITS).pixels, RAMP / 11)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fault_23_white_is_zero_is_turned_round(tmp_path: Path, dtype: Any) -> None:
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    path = tmp_path / "a.tif"
    PIL.Image.fromarray(RAMP.astype(dtype)).save(path, "TIFF", tiffinfo=tags)
    content = bytearray(path.read_bytes())
    place = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")
    content[place + 8] = 0
    path.write_bytes(content)
    assert np.allclose(read_image(path, **LIMITS).pixels, 1 - RAMP / 11)


def test_a_wrong_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    first, second = PIL.Image.fromarray(RAMP.astype(np.uint8)), PIL.Image.new("L", (4, 3))
    for save, words in {
        (lambda: first.save(path, save_all=True, append_images=[second])): "one page, got 2",
        (lambda: PIL.Image.fromarray(RAMP.astype(np.float32)).save(path)): "8 or 16 bits, got mode F",
        (lambda: first.save(path, "PNG")): "expected a TIFF image",
        (lambda: PIL.Image.new("RGB", (4, 3), "red").save(path)): "got colours",
        (lambda: PIL.Image.new("L", (2000, 2000)).save(path)): "1 to 1000000 pixels",
        (lambda: path.write_bytes(b"II*\0")): "TIFF",
    }.items():
        save()
        with pytest.raises(ValueError, match=words):
            read_image(path, **LIMITS)
