"""The files below the folders that somebody names. Links are not followed, archives are not opened."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_COMPANIONS = (".json", ".xml", ".txt", ".yaml", ".yml", ".csv", ".md", ".pdf", ".html", ".htm", ".log", ".ini", ".inf")
_IMAGE_ENDINGS = (".nii.gz", ".nii", ".dcm", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Source:
    """A file, by its number and its place below the folder that was named. `refused` says why it won't be opened."""

    number: int
    path: Path
    relative: PurePosixPath
    refused: str | None
    companion: bool

    @property
    def name(self) -> str:
        """Give the name that may be printed: the file's own may hold a patient's."""
        return f"file {self.number}"


def find_sources(roots: Sequence[Path], *, without: Sequence[Path]) -> list[Source]:
    """List the files, numbered by their order; those below `without` (the annotations) are left out.

    Errors:
        ValueError: a root that is absent, or a link.
    """
    found: list[tuple[Path, PurePosixPath]] = []
    for root in roots:
        if root.is_symlink() or not root.exists():
            kind = "a link" if root.is_symlink() else "none"
            raise ValueError(f"{root}: expected a folder or a file of images, got {kind}")
        if root.is_file():
            found.append((root, PurePosixPath(root.name)))
            continue
        for folder, folders, names in os.walk(root):
            linked = [name for name in folders if Path(folder, name).is_symlink()]
            for name in sorted([*names, *linked]):
                path = Path(folder, name)
                found.append((path, PurePosixPath(path.relative_to(root).as_posix())))
    skipped = {path.resolve() for path in without}
    kept = sorted({path.absolute(): (path, relative) for path, relative in found}.values(), key=lambda pair: pair[0])
    kept = [(path, relative) for path, relative in kept if path.is_symlink() or path.resolve() not in skipped]
    return [_source(number, *pair) for number, pair in enumerate(kept, start=1)]


def image_stem(name: str) -> str:
    """Take the endings of image files off a name, and no others: a name may be a UID with dots."""
    for ending in _IMAGE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _source(number: int, path: Path, relative: PurePosixPath) -> Source:
    name, refused = path.name.lower(), None
    if path.is_symlink():
        refused = "expected a file, got a link, which is not followed"
    elif not path.is_file():
        refused = "expected a file, got something else"
    elif name.endswith(_ARCHIVES) and not name.endswith(".nii.gz"):
        refused = "expected an image, got an archive: unpack it first"
    companion = refused is None and (name.startswith(".") or name.endswith(_COMPANIONS) or name == "thumbs.db")
    return Source(number, path, relative, refused, companion)
