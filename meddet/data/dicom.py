"""Single-frame grey DICOM images."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Shaped
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from meddet.data.scan import Refused, Scan, check_size, one_line

_BROKEN = (
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError),
    *(TypeError, ValueError, BytesLengthException, struct.error, zlib.error),
)


def read_dicom(path: Path, *, max_pixels: int) -> Scan:
    """Read rescaled values, padding, window, polarity and spacing; pixels stay in the file's own row and column order.

    The size is checked in the header before any pixel is decoded. A sigmoid VOI function counts as no window.

    Errors:
        Refused: not DICOM, truncated, without pixels, too large, of several frames, or not grey.
    """
    try:
        with warnings.catch_warnings():
            # pydicom warns about odd but legible elements, e.g. a UID with a leading zero
            warnings.simplefilter("ignore")
            header, stored = _read(path, max_pixels=max_pixels)
            values = stored * float(header.get("RescaleSlope") or 1) + float(header.get("RescaleIntercept") or 0)
            return Scan(
                values=values,
                valid=np.isfinite(values) & ~_padding(header, stored),
                spacing_mm=_spacing(header),
                window=_window(header),
                inverted=header.PhotometricInterpretation == "MONOCHROME1",
            )
    except InvalidDicomError:
        raise Refused("expected a DICOM file, got one without the DICM mark") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole DICOM image, got: {one_line(error)}") from None


def _read(path: Path, *, max_pixels: int) -> tuple[Dataset, Shaped[np.ndarray, "h w"]]:
    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise Refused("expected a transfer syntax that isn't deflated, whose size shows before decoding")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    for keyword in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if header.get(keyword) is None:
            raise Refused(f"expected the element {keyword}, found none")
    check_size(int(header.Rows), int(header.Columns), max_pixels=max_pixels)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise Refused(f"expected one frame, got {frames}")
    if header.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(f"expected a grey image (MONOCHROME1 or 2), got {header.PhotometricInterpretation}")
    whole = pydicom.dcmread(path)
    if "PixelData" not in whole:
        raise Refused("expected PixelData, found none; is the file truncated?")
    return whole, whole.pixel_array


def _padding(header: Dataset, stored: Shaped[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = header.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def _spacing(header: Dataset) -> tuple[float, float] | None:
    spacing = header.get("PixelSpacing")
    if not spacing:
        return None
    row, column = (float(value) for value in spacing)
    if not (row > 0 and column > 0):
        raise Refused(f"expected a positive PixelSpacing, got {row} and {column}")
    return row, column


def _window(header: Dataset) -> tuple[float, float] | None:
    """Give the values that become 0 and 1 (DICOM PS3.3 C.11.2.1.2); of several windows the first counts."""
    function = header.get("VOILUTFunction") or "LINEAR"
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None or function == "SIGMOID":
        return None
    centre, width = (float(np.atleast_1d(header[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if not width > 0:
        raise Refused(f"expected a WindowWidth above {1 if function == 'LINEAR' else 0}, got {header.WindowWidth}")
    return centre - width / 2, centre + width / 2


def is_dicom(path: Path) -> bool:
    """Look for the DICM mark: scanners often save without a suffix."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
