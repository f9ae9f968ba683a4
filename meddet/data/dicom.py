"""DICOM images of one or several frames, in every transfer syntax that a permissively licensed decoder reads."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
from jaxtyping import Shaped
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from meddet.data.decode import check_decoder, decode_frame
from meddet.data.frames import frame_header, frame_order, frame_spacing, frame_turn
from meddet.data.scan import Refused, Scan, check_size, one_line
from meddet.data.shades import padding, rescaled, shaded

_BROKEN = (
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError),
    *(TypeError, ValueError, BytesLengthException, struct.error, zlib.error),
)
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_START = 132
"""The preamble and the DICM mark."""
_MAX_INFLATED = 2**26
_PIECE = 2**13
"""Pydicom looks for the end of an element of undefined length in pieces of this size."""
_GREY_TOLERANCE = 2
"""So far apart lossy compression sets the three samples of a grey pixel, of 255."""


@dataclass(frozen=True)
class Frames:
    """A DICOM image whose header has been checked. `order` lists its frames along their normal."""

    dataset: Dataset
    order: tuple[int, ...]

    def scan(self, index: int) -> Scan:
        """Decode a frame; its pixels stay in the file's own row and column order.

        Errors:
            Refused: a broken frame, or one that isn't grey.
        """
        with _refusing():
            header = frame_header(self.dataset, index)
            stored = decode_frame(self.dataset, index)
            kind = self.dataset.PhotometricInterpretation
            spacing, turn = frame_spacing(header), frame_turn(header)
            if kind not in _GREY:
                grey = _one_channel(apply_color_lut(stored, self.dataset) if kind == "PALETTE COLOR" else stored)
                everywhere = np.ones(grey.shape, dtype=np.bool_)
                return Scan(values=grey.astype(np.float64), valid=everywhere, spacing_mm=spacing, to_upright=turn)
            values = rescaled(stored, header)
            valid = np.isfinite(values) & ~padding(stored, header)
            shades, window = shaded(values, header)
            return Scan(shades, valid, spacing, window=window, inverted=kind == "MONOCHROME1", to_upright=turn)


def read_dicom(path: Path, *, max_pixels: int) -> Frames:
    """Read and check a file's header, then its stored pixels, still encoded.

    The sizes of all frames together are held against `max_pixels` and against the file's own length first.

    Errors:
        Refused: not DICOM, a program, truncated, without pixels, too large, or of a kind that isn't read.
    """
    with _refusing(), path.open("rb") as file:
        _check_start(file.read(_START))
        source = _Source(file)
        source.seek(_START)
        meta = read_dataset(cast(BinaryIO, source), False, True, stop_when=lambda tag, *_: tag.group != 2)
        syntax = meta.get("TransferSyntaxUID")
        if syntax is None:
            raise Refused("expected a TransferSyntaxUID, found none")
        check_decoder(syntax)
        if syntax == DeflatedExplicitVRLittleEndian:
            source = _Source(io.BytesIO(_inflated(meta, file.read())))
        source.seek(0)
        header = pydicom.dcmread(cast(BinaryIO, source), stop_before_pixels=True)
        count = _check_header(header, source.size, max_pixels=max_pixels)
        source.seek(0)
        dataset = pydicom.dcmread(cast(BinaryIO, source))
        if "PixelData" not in dataset:
            raise Refused("expected PixelData, found none; is the file truncated?")
        return Frames(dataset=dataset, order=frame_order(dataset, count))


def is_dicom(path: Path) -> bool:
    """Look for the DICM mark: scanners often save without a suffix."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


class _Source:
    """A file to pydicom, which would take an element that ends with the file, far from its declared end, for whole."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.size = file.seek(0, io.SEEK_END)
        self.seek, self.tell = file.seek, file.tell
        self._file = file
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Read as a file does, but refuse a long piece that isn't there."""
        if size > max(_PIECE, self.size - self.tell()):
            raise Refused("expected a whole DICOM image, got an element that is longer than the file")
        return self._file.read(size)


def _check_start(start: bytes) -> None:
    if start[128:] != b"DICM":
        raise Refused("expected a DICOM file, got one without the DICM mark")
    if start.startswith(_PROGRAMS):
        raise Refused("expected a DICOM file, got one that is a program as well")


def _check_header(header: Dataset, size: int, *, max_pixels: int) -> int:
    """Refuse what won't be decoded; return the number of frames."""
    for keyword in _NEEDED:
        if header.get(keyword) is None:
            raise Refused(f"expected the element {keyword}, found none")
    rows, columns, frames = int(header.Rows), int(header.Columns), int(header.get("NumberOfFrames") or 1)
    check_size(rows, columns, max_pixels=max_pixels)
    if frames < 1 or rows * columns * frames > max_pixels:
        raise Refused(f"expected frames of at most {max_pixels} pixels together, got {frames} of {rows} x {columns}")
    kind, samples = str(header.PhotometricInterpretation), int(header.SamplesPerPixel)
    if kind not in (*_GREY, "PALETTE COLOR", *_COLOURS) or samples != (3 if kind in _COLOURS else 1):
        raise Refused(f"expected a grey image, a palette or three samples, got {samples} sample(s) of {kind[:16]!r}")
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if (
        allocated not in (8, 16, 32)
        or not 1 <= stored <= allocated
        or int(header.get("HighBit", stored - 1)) != stored - 1
    ):
        raise Refused(f"expected 8, 16 or 32 bits, of which the lowest are used, got {stored} used of {allocated}")
    least = rows * columns * frames * samples * allocated // 8
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        least = 8 * frames
    elif kind == "YBR_FULL_422":
        least = least * 2 // 3
    if least > size:
        raise Refused(f"expected at least {least} bytes of pixels, as the header says, got a file of {size} bytes")
    return frames


def _inflated(meta: Dataset, content: bytes) -> bytes:
    """Give a deflated file in its plain form, of bounded size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(content, _MAX_INFLATED + 1)
    if len(plain) > _MAX_INFLATED:
        raise Refused(f"expected at most {_MAX_INFLATED} bytes after inflating, got more")
    if not inflater.eof:
        raise Refused("expected a whole deflated data set, got a part")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    empty = pydicom.FileDataset(buffer, {}, file_meta=FileMetaDataset(meta), preamble=bytes(128))
    pydicom.dcmwrite(buffer, empty, enforce_file_format=True)
    return buffer.getvalue() + plain


def _one_channel(colours: Shaped[np.ndarray, "h w 3"]) -> Shaped[np.ndarray, "h w"]:
    """Take the green of an image whose three samples agree."""
    apart = colours.max(axis=2).astype(np.int64) - colours.min(axis=2)
    if apart.max() > _GREY_TOLERANCE * (colours.dtype.itemsize == 1):
        raise Refused("expected a grey image, got colours")
    return colours[..., 1]


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what pydicom and its plugins raise into a refusal. Their warnings are about odd but legible elements."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InvalidDicomError:
        raise Refused("expected a DICOM file, got one without the DICM mark") from None
    except _BROKEN as error:
        raise Refused(f"expected a whole DICOM image, got: {one_line(error)}") from None
