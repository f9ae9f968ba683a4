"""Grey TIFF files of 8 or 16 bits and one page."""

from pathlib import Path

import PIL.Image

from meddet.data.png import decode, grey_scan
from meddet.data.scan import Scan

_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


def read_tiff(path: Path, *, max_pixels: int) -> Scan:
    """Read a grey TIFF; colour is accepted where the three channels are equal.

    Pillow turns white-is-zero round where a pixel has 8 bits, not where it has 16.

    Errors:
        Refused: unreadable, truncated, too large (before decoding), of several pages or not grey.
    """
    values = decode(path, "TIFF", max_pixels=max_pixels)
    with PIL.Image.open(path, formats=["TIFF"]) as file:
        white_is_zero = file.getexif().get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return grey_scan(values, inverted=white_is_zero and values.dtype.itemsize > 1)
