"""Files made to harm: refused in words, soon, with little memory, and alone (faults 21, 22 and 26)."""

import gzip
import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from meddet.data.guard import guarded
from meddet.data.images import read_slices
from tests.dicom_writer import write_dicom

ROOT = Path(__file__).parents[3]
MAX_PIXELS = 2**26
MOST_MB = 300
MOST_SECONDS = 2.0
SMALL = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)


@dataclass(frozen=True)
class Report:
    """What reading a file took in a worker of its own, and what it said."""

    said: str
    seconds: float
    peak_mb: float


def report(path: Path) -> Report:
    before = time.monotonic()
    try:
        read_slices(path, percentiles=(0.5, 99.9), max_pixels=MAX_PIXELS)
        said = "read"
    except ValueError as error:
        said = str(error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Report(said, time.monotonic() - before, peak)


def refused_cheaply(path: Path, *words: str) -> None:
    (outcome,) = guarded(report, [path], workers=1, seconds=30.0, memory_mb=1024)
    assert outcome.value is not None, outcome.error
    found: Report = outcome.value
    assert found.said.startswith(f"{path}: expected ")
    assert [word for word in words if word not in found.said] == [], found.said
    assert found.peak_mb < MOST_MB, found
    assert found.seconds < MOST_SECONDS, found


# --- bombs


def zeros(start: bytes, megabytes: int) -> bytes:
    """Deflate `start` and many zeros, 1000 to 1, without packing the same megabyte again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * megabytes + packer.flush()


def gzipped(path: Path, start: bytes, megabytes: int) -> None:
    path.write_bytes(gzip.compress(b"")[:10] + zeros(start, megabytes) + bytes(8))


def png(path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("1", (20000, 20000)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def tiff(path: Path) -> None:
    PIL.Image.new("1", (30000, 30000)).save(path, "TIFF", compression="group4")


def dicom(path: Path, **elements: Any) -> None:
    write_dicom(path, SMALL, **elements)


def deflated(path: Path) -> None:
    """1000 to 1: half a megabyte that becomes 512."""
    write_dicom(path, SMALL, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    element = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 2**29)
    packed = zeros(zlib.decompress(whole[start:], -15)[: -SMALL.nbytes - 12] + element, 512)
    path.write_bytes(whole[:start] + packed)
    assert len(packed) < 2**29 / 900


def j2k(path: Path) -> None:
    """A codestream that declares 30000 x 30000 in a file that says 64 x 48."""
    write_dicom(path, SMALL, TransferSyntaxUID=JPEG2000Lossless)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\x4f\xff\x51") + 8
    content[place : place + 8] = struct.pack(">II", 30000, 30000)
    path.write_bytes(content)


def j2k_of_tiles(path: Path) -> None:
    write_dicom(path, SMALL, TransferSyntaxUID=JPEG2000Lossless)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\x4f\xff\x51") + 8
    content[place + 16 : place + 24] = struct.pack(">II", 1, 1)
    path.write_bytes(content)


def jpeg(path: Path, syntax: str, marker: bytes) -> None:
    values = SMALL.astype(np.uint8) if syntax == JPEGBaseline8Bit else SMALL
    write_dicom(path, values, TransferSyntaxUID=syntax)
    content = bytearray(path.read_bytes())
    place = content.index(marker, content.index(b"\xff\xd8\xff")) + 5
    content[place : place + 4] = struct.pack(">HH", 30000, 30000)
    path.write_bytes(content)


def rle(path: Path) -> None:
    """A frame of 4 MB that would become 256 MB."""
    segment = b"\x81\x00" * 2**20
    header = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    dicom(path, TransferSyntaxUID=RLELossless, PixelData=encapsulate([header + segment + segment]))


def long_element(path: Path) -> None:
    """Pixels of 64 x 48 that declare 4 GB of them."""
    dicom(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xe0\x7f\x10\x00OW") + 8
    content[place : place + 4] = struct.pack("<I", 0xFFFFFFFE)
    path.write_bytes(content)


def long_header(path: Path) -> None:
    dicom(path, PatientComments="x" * 20)
    content = bytearray(path.read_bytes())
    place = content.index(b"\x10\x00\x00\x40LT")
    content[place + 4 : place + 12] = b"UT\0\0" + struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)


def nested(path: Path) -> None:
    """Sequences in sequences, 20000 deep."""
    dicom(path)
    content = path.read_bytes()
    place = content.index(b"\x28\x00\x02\x00US")
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(content[:place] + opening * 20000 + content[place:])


def nifti(path: Path, *, shape: tuple[int, ...] = (30000, 30000, 30000), offset: float = 352) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"] = (len(shape), *shape, *[1] * (7 - len(shape)))
    header["vox_offset"] = offset
    header["magic"] = b"n+1"
    gzipped(path, header.binaryblock + bytes(4), 512)


def nifti_of_extension(path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"] = (3, 8, 8, 8, 1, 1, 1, 1)
    header["vox_offset"] = 2**29 + 352
    header["magic"] = b"n+1"
    gzipped(path, header.binaryblock + b"\1\0\0\0" + struct.pack("<ii", 2**29, 6), 512)


BOMBS: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "PNG of 20000 x 20000": ("a.png", png, ("pixels",)),
    "TIFF of 30000 x 30000": ("a.tif", tiff, ("pixels",)),
    "rows": ("a.dcm", partial(dicom, Rows=65535, Columns=65535), ("65535 x 65535",)),
    "rows just below the limit": ("a.dcm", partial(dicom, Rows=8192, Columns=8192), ("bytes of pixels",)),
    "frames": ("a.dcm", partial(dicom, NumberOfFrames=10**6), ("1000000 of 64 x 48",)),
    "frames of one pixel": ("a.dcm", partial(dicom, NumberOfFrames=10**6, Rows=1, Columns=1), ("bytes of pixels",)),
    "deflated": ("a.dcm", deflated, ("after inflating",)),
    "JPEG 2000": ("a.dcm", j2k, ("64 x 48 x 1, got one of 30000 x 30000 x 1",)),
    "JPEG 2000 of many tiles": ("a.dcm", j2k_of_tiles, ("1024 tiles, got 3072",)),
    "JPEG": ("a.dcm", partial(jpeg, syntax=JPEGBaseline8Bit, marker=b"\xff\xc0"), ("got one of 30000 x 30000",)),
    "lossless JPEG": (
        "a.dcm",
        partial(jpeg, syntax=JPEGLosslessSV1, marker=b"\xff\xc3"),
        ("got one of 30000 x 30000",),
    ),
    "JPEG-LS": ("a.dcm", partial(jpeg, syntax=JPEGLSLossless, marker=b"\xff\xf7"), ("got one of 30000 x 30000",)),
    "RLE": ("a.dcm", rle, ("at most 12416 bytes",)),
    "long pixels": ("a.dcm", long_element, ("longer than the file",)),
    "long text": ("a.dcm", long_header, ("longer than the file",)),
    "nested sequences": ("a.dcm", nested, ()),
    "NIfTI of 30000^3": ("a.nii.gz", nifti, ("voxels",)),
    "NIfTI below the limit, of double precision": ("a.nii.gz", partial(nifti, shape=(4, 4, 4), offset=2.0**30), ()),
    "NIfTI extension": ("a.nii.gz", nifti_of_extension, ("from byte",)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_fault_21_bombs_are_refused_before_decoding(tmp_path: Path, bomb: str) -> None:
    name, write, words = BOMBS[bomb]
    write(tmp_path / name)
    refused_cheaply(tmp_path / name, *words)


# --- broken files


def preamble(path: Path, start: bytes) -> None:
    dicom(path, preamble=start.ljust(128, b"\0"))


def cut(path: Path, *, keep: float) -> None:
    dicom(path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def replaced(path: Path, old: bytes, new: bytes) -> None:
    dicom(path)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def another_syntax(path: Path, syntax: str) -> None:
    """Pixels as they are, under the name of another transfer syntax."""
    dicom(path)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, file.file_meta)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[:132] + buffer.getvalue() + whole[start:])


BROKEN: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "cut in the header": (partial(cut, keep=0.1), ()),
    "cut in the pixels": (partial(cut, keep=0.9), ("bytes of pixels",)),
    "empty": (lambda path: path.write_bytes(b""), ("DICM",)),
    "no pixels": (partial(dicom, PixelData=None), ("bytes of pixels",)),
    "no pixels in a long file": (partial(dicom, PixelData=None, EncapsulatedDocument=bytes(9000)), ("PixelData",)),
    "few pixels": (partial(dicom, PixelData=bytes(1000)), ()),
    "no rows": (partial(dicom, Rows=None), ("element Rows",)),
    "rows of 0": (partial(dicom, Rows=0), ("0 x 48",)),
    "bad VR": (partial(replaced, old=b"\x28\x00\x10\x00US", new=b"\x28\x00\x10\x00ZZ"), ()),
    "text for a number": (partial(replaced, old=b"\x28\x00\x10\x00US", new=b"\x28\x00\x10\x00DS"), ()),
    "named JPEG 2000": (partial(another_syntax, syntax=JPEG2000Lossless), ()),
    "named RLE": (partial(another_syntax, syntax=RLELossless), ()),
    "named deflated": (partial(another_syntax, syntax=DeflatedExplicitVRLittleEndian), ()),
    "named MPEG": (partial(another_syntax, syntax="1.2.840.10008.1.2.4.102"), ("with a decoder, got MPEG-4",)),
    "named nothing": (partial(another_syntax, syntax="1.2.3"), ()),
    "MZ": (partial(preamble, start=b"MZ\x90\0"), ("a program as well",)),
    "ELF": (partial(preamble, start=b"\x7fELF\2\1\1"), ("a program as well",)),
    "shell": (partial(preamble, start=b"#!/bin/sh\nrm x\n"), ("a program as well",)),
    "a text": (lambda path: path.write_text("hello, world\n" * 50), ("DICM",)),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_fault_22_broken_files_are_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    spoil, words = BROKEN[fault]
    spoil(tmp_path / "a.dcm")
    refused_cheaply(tmp_path / "a.dcm", *words)


def test_fault_22_a_tiff_preamble_is_no_program(tmp_path: Path) -> None:
    preamble(tmp_path / "a.dcm", start=b"II*\0")
    (outcome,) = guarded(report, [tmp_path / "a.dcm"], workers=1, seconds=30.0, memory_mb=300)
    assert outcome.value is not None and outcome.value.said == "read"


def test_fault_22_a_refusal_quotes_no_patient(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", PixelSpacing=[1.5, 1.25])
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content.replace(b"1.5\\1.25", b"DOE^JANE"))
    (outcome,) = guarded(report, [tmp_path / "a.dcm"], workers=1, seconds=30.0, memory_mb=300)
    assert outcome.value is not None
    assert outcome.value.said.startswith(f"{tmp_path / 'a.dcm'}: expected ")
    assert "DOE" not in outcome.value.said and "JANE" not in outcome.value.said


@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "dangling", "folder"])
def test_fault_26_what_is_no_plain_file_is_refused_unopened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.dcm"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
    refused_cheaply(path, "expected an image file")


def test_fault_26_a_link_in_the_way_of_an_output_is_replaced_not_followed(tmp_path: Path) -> None:
    from meddet.data.images import write_canonical

    (tmp_path / "victim").write_text("precious")
    (tmp_path / "000001.png").symlink_to(tmp_path / "victim")
    write_canonical(tmp_path / "000001.png", np.zeros((4, 4), dtype=np.float32))
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "000001.png").is_symlink()


def test_fault_22_two_thousand_fuzzed_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz_dicom", "--count", "2000", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    report = json.loads((tmp_path / "fuzz.json").read_text())
    print(report)
    assert "Traceback" not in done.stdout + done.stderr
    assert report["offenders"] == {}
    assert report["read"] + report["refused"] == 2000
    assert min(report["read"], report["refused"]) > 100, "neither all whole nor all refused"
    assert report["worst_seconds"] < MOST_SECONDS
    assert report["worst_peak_mb"] < MOST_MB
    assert done.returncode == 0
