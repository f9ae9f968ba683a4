"""Which annotation belongs to which slice, and its boxes in that slice's pixels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from meddet.importing.annotations import Mark, Marked, Region
from meddet.importing.header import Header
from meddet.importing.labels import IGNORE
from meddet.importing.regions import Box, Place, match_regions, translate
from meddet.importing.sources import Source, image_stem

_ANNOTATION_ENDINGS = (".mrk.json", ".json", ".xml", ".txt")


@dataclass(frozen=True)
class Matched:
    """What the annotations say of a slice."""

    boxes: tuple[Box, ...]
    patient: str | None


@dataclass(frozen=True)
class Matches:
    """Slices with their annotations, one line for each entry that has none, and a reason for each spoilt slice."""

    slices: Mapping[Place, Matched]
    defects: tuple[str, ...]
    spoilt: Mapping[Place, str]


def match(
    images: Sequence[Marked],
    sources: Sequence[Source],
    headers: Mapping[int, Header],
    *,
    chosen: Sequence[Sequence[int]],
    classes: Mapping[str, str],
) -> Matches:
    """Find the slice of each entry by its name: a path, a file's name or stem, or a SOPInstanceUID.

    Regions are found by where they lie, in the series that was chosen of the study that they name.

    Errors:
        ValueError: labels that are none of our classes; all of them are listed.
    """
    _check_labels(images, classes)
    index = _index(sources, headers)
    slices: dict[Place, Matched] = {}
    spoilt: dict[Place, str] = {}
    defects: list[str] = []
    for entry in images:
        if any(isinstance(mark, Region) for mark in entry.marks):
            found = match_regions(entry, sources, headers, chosen, classes)
            if not found:
                defects.append(f"{entry.where}: expected a place in one chosen study, got one in none or several")
            for place, boxes in found.items():
                before = slices[place].boxes if place in slices else ()
                slices[place] = Matched((*before, *boxes), None)
            continue
        places = _find(entry.image, index)
        if isinstance(places, str):
            defects.append(f"{entry.where}: {places}")
        elif places[0] in slices:
            defects.append(f"{entry.where}: expected an image once, got it again")
        else:
            (place,) = places
            size = headers[place[0]].size
            if entry.size is not None and entry.size != size:
                wanted, got = (f"{width} x {height}" for width, height in (size, entry.size))
                spoilt[place] = f"expected annotations of {wanted} (width x height), got some of {got}"
                continue
            boxes = tuple(box for mark in entry.marks for box in _box(mark, size, classes))
            slices[place] = Matched(boxes, entry.patient)
    return Matches(slices, tuple(defects), spoilt)


def _check_labels(images: Sequence[Marked], classes: Mapping[str, str]) -> None:
    unknown: dict[str, int] = defaultdict(int)
    for mark in (mark for entry in images for mark in entry.marks):
        labels = mark.labels if isinstance(mark, Region) else (mark.label,)
        if translate(labels, classes) is None:
            unknown["(in no text of a markup)" if isinstance(mark, Region) else repr(mark.label)] += 1
    if unknown:
        listed = ", ".join(f"{label} {count} times" for label, count in sorted(unknown.items()))
        raise ValueError(f"--annotations: expected known classes, got {listed}; name them: --classes OLD=NEW,...")


def _index(sources: Sequence[Source], headers: Mapping[int, Header]) -> dict[str, list[Place]]:
    """List slices by every name that an annotation may use, in lower case."""
    index: dict[str, list[Place]] = defaultdict(list)
    for source in sources:
        header = headers.get(source.number)
        if header is None:
            continue
        for number in range(len(header.planes)):
            suffix = ""
            if len(header.planes) > 1:
                suffix = f"_sag_{number:03d}" if header.kind == "nifti" else f"_frame_{number + 1:03d}"
            stems = {source.relative.with_name(name) for name in (source.path.name, image_stem(source.path.name))}
            names = {"/".join(stem.parts[k:]) + suffix for stem in stems for k in range(len(stem.parts))}
            if header.instance_uid:
                names.add(header.instance_uid + suffix)
            for name in names:
                index[name.casefold()].append((source.number, number))
    return index


def _find(name: str, index: Mapping[str, list[Place]]) -> list[Place] | str:
    """Look a name up, with fewer and fewer of its folders; say why it has not one place."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or ":" in path.parts[:1]:
        return "expected a name below the images, got a path that leads out of them"
    ends = [path.name, *(path.name[: -len(end)] for end in _ANNOTATION_ENDINGS if path.name.lower().endswith(end))]
    for start in range(len(path.parts)):
        for end in ends:
            for last in dict.fromkeys((end, image_stem(end))):
                places = index.get("/".join((*path.parts[start:-1], last)).casefold(), [])
                if len(places) == 1:
                    return places
                if places:
                    return f"expected the name of one image, got one that {len(places)} of them have"
    return "expected the name of an image that was given, got none of theirs"


def _box(mark: Mark | Region, size: tuple[int, int], classes: Mapping[str, str]) -> list[Box]:
    assert isinstance(mark, Mark)
    name = translate((mark.label,), classes)
    assert name is not None
    x1, y1, x2, y2 = mark.box
    width, height = size if mark.fractions else (1, 1)
    return [] if name == IGNORE else [Box((x1 * width, y1 * height, x2 * width, y2 * height), name, mark.level)]
