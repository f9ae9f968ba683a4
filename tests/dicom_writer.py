"""DICOM images for tests: minimal MR files of every kind that is read."""

import io
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import PIL.Image
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
BY_PYDICOM = (RLELossless, JPEG2000Lossless)
BY_GDCM = {
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
}


def write_dicom(path: Path, values: np.ndarray, **elements: Any) -> None:
    """Write an MR image of one (h, w) or several (n, h, w) grey frames; an element given as None is left out.

    With SamplesPerPixel=3 the last axis holds the samples. TransferSyntaxUID is the syntax to write in; the preamble
    may be given as `preamble`.
    """
    syntax = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    preamble = elements.pop("preamble", b"\0" * 128)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = elements.get("SOPClassUID") or MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = syntax
    samples = int(elements.get("SamplesPerPixel", 1))
    *frames, rows, columns = values.shape[:-1] if samples == 3 and values.ndim > 2 else values.shape
    bits = 8 * values.itemsize
    content = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        **({"NumberOfFrames": frames[0]} if frames else {}),
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "MONOCHROME2",
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1},
        "PixelRepresentation": int(values.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if samples > 1 else {}),
        "PixelData": _plain(values, big_endian=syntax == ExplicitVRBigEndian),
        **elements,
    }
    file = FileDataset(str(path), {}, file_meta=meta, preamble=preamble)
    for keyword, value in content.items():
        if value is not None:
            setattr(file, keyword, value)
    if "PixelData" in file:
        file["PixelData"].VR = "OB" if bits == 8 and syntax != ImplicitVRLittleEndian else "OW"
        if syntax not in PLAIN and "PixelData" not in elements:
            _compress(file, values, syntax)
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def _plain(values: np.ndarray, *, big_endian: bool) -> bytes:
    content = values.astype(values.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    return content + b"\0" * (len(content) % 2)


def _compress(file: FileDataset, values: np.ndarray, syntax: str) -> None:
    frames = values if values.ndim > 2 and file.SamplesPerPixel == 1 else values[None]
    if syntax in BY_PYDICOM:
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.compress(syntax, generate_instance_uid=False)
        return
    if syntax == JPEGBaseline8Bit:
        content = encapsulate([_jpeg(frame) for frame in frames])
    else:
        content = encapsulate([_by_gdcm(file, frame, syntax) for frame in frames])
    file.PixelData = content
    file["PixelData"].VR = "OB"
    file["PixelData"].is_undefined_length = True


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def _by_gdcm(file: Dataset, frame: np.ndarray, syntax: str) -> bytes:
    """Let GDCM encode one frame through files, the only way it takes."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        keywords = ("SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "HighBit", "PixelRepresentation")
        write_dicom(plain, frame, **{keyword: file[keyword].value for keyword in keywords})
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[syntax]))
        assert reader.Read()
        change.SetInput(reader.GetImage())
        assert change.Change(), syntax
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        (content,) = generate_frames(pydicom.dcmread(packed).PixelData, number_of_frames=1)
        return content
