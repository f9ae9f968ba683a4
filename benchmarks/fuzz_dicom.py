"""Read damaged DICOM files by the thousand: each must end as pixels in [0, 1] or as one line, soon and in little room.

python -m benchmarks.fuzz_dicom --count 100000 --out out/fuzz
"""

import argparse
import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from tqdm import tqdm

from meddet.data.guard import guarded
from meddet.data.images import read_slices
from tests.dicom_writer import write_dicom

ENDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class Reading:
    """What reading one damaged file came to: `said` is the refusal, None where it gave images."""

    said: str | None
    seconds: float
    peak_mb: float


def main() -> int:
    """Run and report; 1 if a file ended in another way than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, required=True, help="how many files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for fuzz.json and the offenders' bytes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    before = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        sources = write_corpus(Path(folder))
        work = partial(read_damaged, sources=sources, seed=options.seed, folder=Path(folder))
        outcomes = guarded(work, range(options.count), workers=options.workers, seconds=20.0, memory_mb=512)
        kinds: Counter[str] = Counter()
        offenders: dict[int, str] = {}
        worst = Reading(None, 0.0, 0.0)
        for outcome in tqdm(outcomes, total=options.count, unit="file", mininterval=1, disable=None):
            reading = outcome.value
            if reading is None:
                offenders[outcome.item] = str(outcome.error)
            else:
                kinds["read" if reading.said is None else "refused"] += 1
                worst = Reading(None, max(worst.seconds, reading.seconds), max(worst.peak_mb, reading.peak_mb))
        for index in offenders:
            (options.out / f"{index}.dcm").write_bytes(damaged(sources, options.seed, index))
    report = {
        "files": options.count,
        "seed": options.seed,
        **{kind: kinds[kind] for kind in ("read", "refused")},
        "offenders": {str(index): error for index, error in offenders.items()},
        "worst_seconds": round(worst.seconds, 3),
        "worst_peak_mb": round(worst.peak_mb, 1),
        "total_seconds": round(time.monotonic() - before, 1),
    }
    (options.out / "fuzz.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 1 if offenders else 0


def read_damaged(index: int, *, sources: list[bytes], seed: int, folder: Path) -> Reading:
    """Damage a file, read it and check what it gives."""
    path = folder / f"{index}.dcm"
    path.write_bytes(damaged(sources, seed, index))
    before = time.monotonic()
    said = None
    try:
        images = read_slices(path, percentiles=(0.5, 99.9), max_pixels=2**26)
    except ValueError as error:
        said = str(error)
        if not said.startswith(f"{path}: expected ") or "\n" in said or "Traceback" in said:
            raise AssertionError(said) from error
    else:
        if not images:
            raise AssertionError("no image and no error")
        for _, image in images:
            low, high = float(image.pixels.min()), float(image.pixels.max())
            if image.pixels.dtype != np.float32 or not 0 <= low <= high <= 1:
                raise AssertionError(f"{image.pixels.dtype} from {low} to {high}")
    finally:
        seconds = time.monotonic() - before
        path.unlink()
    return Reading(said, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def damaged(sources: list[bytes], seed: int, index: int) -> bytes:
    """Damage one of the sources in one to four ways, drawn from (seed, index)."""
    rng = np.random.default_rng((seed, index))
    content = bytearray(sources[int(rng.integers(len(sources)))])
    for _ in range(int(rng.integers(1, 5))):
        change = (flip, cut, insert, delete, swap, lengthen, overwrite, splice)[int(rng.integers(8))]
        change(content, rng, sources)
    return bytes(content)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    """Draw a place behind the preamble, more often in the header than its share."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 900)
    return int(rng.integers(128, max(end, 130)))


def flip(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Flip one to sixteen bits."""
    for _ in range(int(rng.integers(1, 17))):
        place = _place(content, rng)
        if place < len(content):
            content[place] ^= 1 << int(rng.integers(8))


def cut(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Drop the end."""
    del content[_place(content, rng) :]


def insert(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Put random bytes in."""
    place = _place(content, rng)
    content[place:place] = rng.bytes(int(rng.integers(1, 64)))


def delete(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Take a piece out."""
    place = _place(content, rng)
    del content[place : place + int(rng.integers(1, 64))]


def swap(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Let two pieces change places."""
    one, other, size = _place(content, rng), _place(content, rng), int(rng.integers(2, 32))
    one, other = min(one, other), max(one, other)
    if one + size <= other and other + size <= len(content):
        content[one : one + size], content[other : other + size] = (
            content[other : other + size],
            content[one : one + size],
        )


def lengthen(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Give an element another length, short or long as its VR has it."""
    places = [match.start() for match in re.finditer(rb"[A-Z]{2}(?=[\0-\xff]{6})", bytes(content[132:]))]
    if places:
        place = 132 + places[int(rng.integers(len(places)))]
        size = ENDS[int(rng.integers(len(ENDS)))]
        if content[place : place + 2] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            content[place + 4 : place + 8] = size.to_bytes(4, "little")
        else:
            content[place + 2 : place + 4] = (size & 0xFFFF).to_bytes(2, "little")


def overwrite(content: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Write an extreme number over what is there."""
    place, size = _place(content, rng) & ~1, int(rng.choice([2, 4]))
    number = ENDS[int(rng.integers(len(ENDS)))] & (256**size - 1)
    content[place : place + size] = number.to_bytes(size, "little" if rng.random() < 0.7 else "big")


def splice(content: bytearray, rng: np.random.Generator, sources: list[bytes]) -> None:
    """Write a piece of another file over this one."""
    other = sources[int(rng.integers(len(sources)))]
    start, size = int(rng.integers(132, len(other))), int(rng.integers(4, 256))
    place = _place(content, rng)
    content[place : place + size] = other[start : start + size]


def write_corpus(folder: Path) -> list[bytes]:
    """Write one whole file of every kind."""
    rows, columns = np.mgrid[:40, :32]
    deep = ((np.sin(rows / 5) * np.cos(columns / 4) + 1) * 2047).astype(np.uint16)
    signed, shallow = deep.astype(np.int16) - 1000, (deep >> 4).astype(np.uint8)
    window = {"WindowCenter": "1000.5", "WindowWidth": "2001", "PixelSpacing": [0.5, 0.5]}
    kinds: list[tuple[np.ndarray, dict[str, Any]]] = [
        (deep, {**window, "BitsStored": 12, "HighBit": 11}),
        (signed, {**window, "TransferSyntaxUID": ImplicitVRLittleEndian, "PixelPaddingValue": -1000}),
        (deep, {**window, "TransferSyntaxUID": ExplicitVRBigEndian, "RescaleSlope": "2", "RescaleIntercept": "-5"}),
        (deep, {**window, "TransferSyntaxUID": DeflatedExplicitVRLittleEndian}),
        (deep, {**window, "TransferSyntaxUID": RLELossless}),
        (shallow, {"TransferSyntaxUID": JPEGBaseline8Bit}),
        (deep, {"TransferSyntaxUID": JPEGLossless, "BitsStored": 12, "HighBit": 11}),
        (signed, {"TransferSyntaxUID": JPEGLosslessSV1}),
        (deep, {"TransferSyntaxUID": JPEGLSLossless}),
        (deep, {"TransferSyntaxUID": JPEG2000Lossless}),
        (np.stack([deep, deep[::-1], deep]), _enhanced(3)),
        (np.stack([deep, deep[::-1]]), {**_enhanced(2), "TransferSyntaxUID": RLELossless}),
        (deep, {"ModalityLUTSequence": [_table(14)], "VOILUTSequence": [_table(8)]}),
        (deep, _palette()),
        (np.stack([shallow] * 3, axis=2), {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
    ]
    for number, (values, elements) in enumerate(kinds):
        write_dicom(folder / f"source_{number}.dcm", values, **elements)
    return [(folder / f"source_{number}.dcm").read_bytes() for number in range(len(kinds))]


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _enhanced(count: int) -> dict[str, Any]:
    plane = _item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    shared = _item(PixelMeasuresSequence=[_item(PixelSpacing=[0.5, 0.75])], PlaneOrientationSequence=[plane])
    own = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[3.0 * index, 0, 0])],
            PixelValueTransformationSequence=[_item(RescaleSlope=2, RescaleIntercept=1, RescaleType="US")],
            FrameVOILUTSequence=[_item(WindowCenter=2000, WindowWidth=3000)],
        )
        for index in range(count)
    ]
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": own}


def _table(bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "US", [value * 2**bits // 4096 for value in range(4096)])
    return item


def _palette() -> dict[str, Any]:
    names, shades = ("Red", "Green", "Blue"), np.arange(0, 65536, 16, dtype=np.uint16).tobytes()
    return {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": [4096, 0, 16] for name in names},
        **{f"{name}PaletteColorLookupTableData": shades for name in names},
    }


if __name__ == "__main__":
    sys.exit(main())
