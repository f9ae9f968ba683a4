"""Studies out of files: which are one study, and what each shows. Runs in guarded processes: it loads no torch."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from meddet.data.guard import guarded
from meddet.data.images import Image, read_slices
from meddet.data.provenance import read_provenance

_SECONDS = 60.0
_MEMORY_MB = 1024
_CHUNK = 2**20


@dataclass(frozen=True)
class Source:
    """A file and the study that it was found in: its folder, or itself; `digest` tells its content apart."""

    path: Path
    place: Path
    digest: str


@dataclass(frozen=True)
class Outcome:
    """What became of a file: its images and the study they belong to, or the line that says why there are none."""

    study: str
    images: tuple[Image, ...]
    error: str | None


def find_files(roots: Sequence[Path], *, salt: bytes) -> list[Source]:
    """List the files: those below a folder are one study, a file named by itself is another.

    Links and hidden files are left out. The digest is the SHA-256 of salt and content: who doesn't have the salt
    cannot ask whether a known file was here.

    Errors:
        ValueError: a root that isn't there.
    """
    found: list[tuple[Path, Path]] = []
    for root in roots:
        if root.is_dir():
            inside = sorted(path for path in root.rglob("*") if path.is_file() and not _is_left_out(path, root))
            found += [(path, root) for path in inside]
        elif root.is_file():
            found.append((root, root))
        else:
            raise ValueError(f"{root}: expected a file of images or the folder of a study, found none")
    return [Source(path, place, _digest(path, salt)) for path, place in found]


def read_studies(sources: Sequence[Source], *, percentiles: tuple[float, float], max_pixels: int) -> Iterator[Outcome]:
    """Read the files in their order, each in a guarded process; a bad one doesn't stop the others.

    Files of one folder are one study, and so are DICOM files of one StudyInstanceUID, wherever they lie.
    """
    read = partial(_read, percentiles=percentiles, max_pixels=max_pixels)
    paths = [source.path for source in sources]
    outcomes = guarded(read, paths, workers=1, seconds=_SECONDS, memory_mb=_MEMORY_MB)
    for source, outcome in zip(sources, outcomes, strict=True):
        place = f"folder {source.place}" if source.place != source.path else f"file {source.path}"
        if outcome.value is None:
            yield Outcome(place, (), outcome.error)
        else:
            uid, images = outcome.value
            yield Outcome(place if uid is None or source.place != source.path else f"study {uid}", images, None)


def _read(path: Path, *, percentiles: tuple[float, float], max_pixels: int) -> tuple[str | None, tuple[Image, ...]]:
    slices = read_slices(path, percentiles=percentiles, max_pixels=max_pixels)
    header = read_provenance(path)
    return header.study if header else None, tuple(image for _, image in slices)


def _is_left_out(path: Path, root: Path) -> bool:
    return path.is_symlink() or any(part.startswith(".") for part in path.relative_to(root).parts)


def _digest(path: Path, salt: bytes) -> str:
    digest = hashlib.sha256(salt)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:24]
