"""What a compressed frame says of its own size, read without decoding it."""

import struct
from dataclasses import dataclass

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\0\0\0\x0cjP  "
_NO_FRAME = (0xC4, 0xC8, 0xCC)
"""Among the JPEG markers C0 to CF, these three start tables."""
_JPEG_LS = 0xF7


@dataclass(frozen=True)
class Extent:
    """The size that a decoder would make room for."""

    rows: int
    columns: int
    samples: int
    tiles: int = 1

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.samples}"


def jpeg_extent(stream: bytes) -> Extent | None:
    """Read the frame header of a JPEG or JPEG-LS image; None where there is none."""
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            return Extent(*struct.unpack_from(">HHB", stream, place + 5))
        place += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", stream, place + 2)[0]
    return None


def j2k_extent(stream: bytes) -> Extent | None:
    """Read the SIZ marker of JPEG 2000, bare or boxed (ISO/IEC 15444-1, A.5.1 and I.4); None where there is none."""
    start = 0
    if stream.startswith(_JP2_START):
        while stream[start + 4 : start + 8] != b"jp2c":
            length = int.from_bytes(stream[start : start + 4])
            if length < 8:
                return None
            start += length
        start += 8
    if not stream.startswith(_J2K_START, start) or len(stream) < start + 42:
        return None
    place = start + len(_J2K_START) + 4
    right, bottom, left, top, width, height, *first, samples = struct.unpack_from(">8IH", stream, place)
    if width < 1 or height < 1:
        return None
    tiles = -(-(right - first[0]) // width) * -(-(bottom - first[1]) // height)
    return Extent(bottom - top, right - left, samples, tiles)
