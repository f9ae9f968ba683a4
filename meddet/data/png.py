"""Grey PNG files of 8 or 16 bits, and what Pillow decodes for TIFF as well."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

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
    return grey_scan(decode(path, "PNG", max_pixels=max_pixels))


def grey_scan(values: Shaped[np.ndarray, "h w *channels"], *, inverted: bool = False) -> Scan:
    """Make a scan of one channel, or of three that are equal.

    Errors:
        Refused: colours.
    """
    if values.ndim == 3:
        if not ((values[..., 0] == values[..., 1]) & (values[..., 1] == values[..., 2])).all():
            raise Refused("expected a grey image, got colours")
        values = values[..., 0]
    everywhere = np.ones(values.shape, dtype=np.bool_)
    return Scan(
        values=values.astype(np.float64),
        valid=everywhere,
        spacing_mm=None,
        inverted=inverted,
        largest=255.0 if values.dtype == np.uint8 else 65535.0,
    )


def read_grey16(path: Path) -> UInt16[np.ndarray, "h w"]:
    """Read a 16-bit grey PNG that this program wrote.

    Errors:
        Refused: unreadable or of another kind.
    """
    values = decode(path, "PNG", max_pixels=PIL.Image.MAX_IMAGE_PIXELS or 2**26)
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


def decode(path: Path, kind: Literal["PNG", "TIFF"], *, max_pixels: int) -> Shaped[np.ndarray, "h w *channels"]:
    """Decode one picture, after its header has told its size.

    Errors:
        Refused: unreadable, truncated, too large, of several pages or of another mode.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=[kind]) as file:
                mode, (columns, rows), pages = file.mode, file.size, getattr(file, "n_frames", 1)
                if rows * columns <= max_pixels and (mode in _GREY_MODES or mode == "RGB") and pages == 1:
                    return np.asarray(file)
    except _BOMBS:
        raise Refused(f"expected an image of 1 to {max_pixels} pixels, got more") from None
    except PIL.UnidentifiedImageError:
        raise Refused(f"expected a {kind} image, got something else or a broken header") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole {kind} image, got: {one_line(error)}") from None
    check_size(rows, columns, max_pixels=max_pixels)
    if pages != 1:
        raise Refused(f"expected one page, got {pages}")
    raise Refused(f"expected a grey {kind} of 8 or 16 bits, got mode {mode}")
