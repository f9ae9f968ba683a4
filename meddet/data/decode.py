"""Decoding one DICOM frame, after its codestream has been found to be as large as the header says, and no larger."""

import struct

import numpy as np
from jaxtyping import Shaped
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from meddet.data.scan import Refused

_PIXEL_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_MAX_TILES = 1024
_RLE_HEADER = 64
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\0\0\0\x0cjP  "
_NO_FRAME_MARKERS = (0xC4, 0xC8, 0xCC)
"""Among the JPEG markers C0 to CF, these three start tables."""


def decode_frame(dataset: Dataset, index: int) -> Shaped[np.ndarray, "h w *samples"]:
    """Decode a frame: unused bits cleared, YBR turned to RGB.

    Errors:
        Refused: no decoder, or a codestream of another size than the header's.
        Exception: what pydicom and its plugins raise at a broken frame.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return get_decoder(syntax).as_array(dataset, index=index)[0]
    offsets = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    stream = get_frame(
        dataset.PixelData,
        index,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=None if None in offsets else offsets,
    )
    _check_stream(stream, syntax, dataset)
    alone = Dataset()
    for keyword in _PIXEL_KEYWORDS:
        if keyword in dataset:
            alone[keyword] = dataset[keyword]
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = syntax
    alone.PixelData = encapsulate([stream])
    alone["PixelData"].VR = "OB"
    return get_decoder(syntax).as_array(alone, decoding_plugin=_plugin(syntax))[0]


def check_decoder(syntax: UID) -> None:
    """Refuse a transfer syntax that nothing here decodes.

    JPEG Extended of 12 bits has no decoder under a permissive licence.
    """
    if syntax.is_encapsulated and not (syntax == RLELossless or syntax in _JPEG):
        raise Refused(f"expected a transfer syntax with a decoder, got {syntax.name}")


_JPEG = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)


def _plugin(syntax: UID) -> str:
    """Name the one decoder for a syntax: a hostile frame isn't shown to all of them in turn."""
    if syntax == RLELossless:
        return "pydicom"
    if syntax in JPEG2000TransferSyntaxes:
        return "pylibjpeg"
    return "pillow" if syntax == JPEGBaseline8Bit else "gdcm"


def _check_stream(stream: bytes, syntax: UID, dataset: Dataset) -> None:
    expected = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    if syntax == RLELossless:
        most = np.prod(expected, dtype=object) * (int(dataset.BitsAllocated) // 8)
        if len(stream) > _RLE_HEADER + 2 * most + _RLE_HEADER:
            raise Refused(f"expected a frame of at most {2 * most} bytes, got {len(stream)}")
        return
    read = _j2k_size if syntax in JPEG2000TransferSyntaxes else _jpeg_size
    try:
        size = read(stream)
    except (struct.error, IndexError):
        size = None
    if size is None:
        raise Refused(f"expected a frame in {syntax.name}, got something else")
    if size != expected:
        raise Refused(f"expected frames of (rows, columns, samples) {expected}, got one of {size}")


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    """Read rows, columns and components from a JPEG's or JPEG-LS's frame header; None where there is none."""
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_MARKERS):
            rows, columns, components = struct.unpack_from(">HHB", stream, place + 5)
            return rows, columns, components
        place += 2 + struct.unpack_from(">H", stream, place + 2)[0]
    return None


def _j2k_size(stream: bytes) -> tuple[int, int, int] | None:
    """Read rows, columns and components from the SIZ marker of JPEG 2000 (ISO/IEC 15444-1, A.5.1)."""
    start = 0
    if stream.startswith(_JP2_START):
        while stream[start + 4 : start + 8] != b"jp2c":
            length = struct.unpack_from(">I", stream, start)[0]
            if length < 8:
                return None
            start += length
        start += 8
    if stream[start : start + 4] != _J2K_START:
        return None
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(
        ">8IH", stream, start + 8
    )
    if tile_width < 1 or tile_height < 1:
        return None
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MAX_TILES:
        raise Refused(f"expected at most {_MAX_TILES} tiles, got {tiles}")
    return bottom - top, right - left, components
