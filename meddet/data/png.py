"""Grey PNG files of 8 or 16 bits."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Float, Shaped, UInt16

from meddet.data.scan import Refused, Scan, check_size, one_line

_BROKEN = (EOFError, OSError, SyntaxError, ValueError, struct.error, zlib.error)
_BOMBS = (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)
_COMPRESSION = 2
"""On slices of 16 bits level 2 takes half the time of Pillow's default and gives smaller files."""
_GREY_MODES = ("L", "I", "I;16", "I;16B")


def read_png(path: Path, *, max_pixels: int) -> Scan:
    """Read a grey PNG; colour is accepted where the three channels are equal.

    Errors:
        Refused: unreadable, truncated, too large (before decoding) or not grey.
    """
    values = _decode(path, max_pixels=max_pixels)
    if values.ndim == 3:
        if not ((values[..., 0] == values[..., 1]) & (values[..., 1] == values[..., 2])).all():
            raise Refused("expected a grey image, got colours")
        values = values[..., 0]
    return Scan(values=values.astype(np.float64), valid=np.ones(values.shape, dtype=np.bool_), spacing_mm=None)


def read_grey16(path: Path) -> UInt16[np.ndarray, "h w"]:
    """Read a 16-bit grey PNG that this program wrote.

    Errors:
        Refused: unreadable or of another kind.
    """
    values = _decode(path, max_pixels=PIL.Image.MAX_IMAGE_PIXELS or 2**26)
    if values.dtype != np.uint16:
        raise Refused(f"expected a 16-bit grey PNG, got {values.dtype} of shape {values.shape}")
    return values


def encode_grey16(pixels: Float[np.ndarray, "h w"]) -> bytes:
    """Encode [0, 1] as 0..65535."""
    assert pixels.min() >= 0 and pixels.max() <= 1, (pixels.min(), pixels.max())
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16))
    image.save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _decode(path: Path, *, max_pixels: int) -> Shaped[np.ndarray, "h w *channels"]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=["PNG"]) as file:
                mode, (columns, rows) = file.mode, file.size
                if rows * columns <= max_pixels and (mode in _GREY_MODES or mode == "RGB"):
                    return np.asarray(file)
    except _BOMBS as error:
        raise Refused(f"expected an image of 1 to {max_pixels} pixels, got more ({one_line(error)})") from None
    except PIL.UnidentifiedImageError:
        raise Refused("expected a PNG image, got something else or a broken header") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole PNG image, got: {one_line(error)}") from None
    check_size(rows, columns, max_pixels=max_pixels)
    raise Refused(f"expected a grey PNG of 8 or 16 bits, got mode {mode}")
