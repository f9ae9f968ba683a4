"""Decoding one DICOM frame, after its codestream has been found to be as large as the header says, and no larger."""

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

from meddet.data.codestream import j2k_extent, jpeg_extent
from meddet.data.scan import Refused

_PIXEL_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_MAX_TILES = 1024
_RLE_HEADER = 64


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
    """Name the one decoder for a syntax: a hostile frame isn't shown to all of them in turn.

    GDCM, which reads JPEG-LS too, ends the process at a broken one.
    """
    if syntax == RLELossless:
        return "pydicom"
    if syntax in JPEG2000TransferSyntaxes:
        return "pylibjpeg"
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    return "pillow" if syntax == JPEGBaseline8Bit else "gdcm"


def _check_stream(stream: bytes, syntax: UID, dataset: Dataset) -> None:
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if syntax == RLELossless:
        most = 2 * rows * columns * samples * (int(dataset.BitsAllocated) // 8) + 2 * _RLE_HEADER
        if len(stream) > most:
            raise Refused(f"expected a frame of at most {most} bytes, got {len(stream)}")
        return
    extent = j2k_extent(stream) if syntax in JPEG2000TransferSyntaxes else jpeg_extent(stream)
    if extent is None:
        raise Refused(f"expected a frame in {syntax.name}, got something else")
    if (extent.rows, extent.columns, extent.samples) != (rows, columns, samples):
        raise Refused(f"expected a frame of {rows} x {columns} x {samples}, got one of {extent}")
    if extent.tiles > _MAX_TILES:
        raise Refused(f"expected a frame of at most {_MAX_TILES} tiles, got {extent.tiles}")
