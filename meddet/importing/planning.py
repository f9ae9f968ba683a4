"""What is brought: which slices of which series, with which boxes, under which patient's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meddet.importing.annotations import Annotations
from meddet.importing.choosing import Series, choose_series, group_series, middle_slices
from meddet.importing.header import Header
from meddet.importing.matching import Matched, Matches, match
from meddet.importing.patients import GivenPatients
from meddet.importing.pseudonym import pseudonym
from meddet.importing.regions import Place
from meddet.importing.report import Row
from meddet.importing.sources import Source, image_stem

REFERENCE = ""


@dataclass(frozen=True)
class Plan:
    """What is brought, and what became of the rest.

    `slices` come with the reference's boxes, `readings` hold the boxes of each rater on the slices that he read.
    """

    slices: Mapping[Place, Matched]
    readings: Mapping[str, Mapping[Place, Matched]]
    patients: Mapping[int, str]
    rows: dict[int, Row]
    series: Sequence[tuple[Series, str | None]]
    defects: tuple[str, ...]


def plan(
    sources: Sequence[Source],
    headers: Mapping[int, Header],
    marked: Mapping[str, Annotations],
    given: GivenPatients,
    *,
    key: bytes,
    classes: Mapping[str, str],
    num_slices: int,
) -> Plan:
    """Choose series, then slices: the annotated ones or, without annotations, the middle ones.

    `marked` holds the reference's annotations under REFERENCE and those of raters under their names.

    Errors:
        ValueError: labels that are none of our classes.
    """
    series = group_series(headers)
    best = _chosen(series, choose_series(series, frozenset()))
    matches = {
        name: match(each.images, sources, headers, chosen=best, classes=classes) for name, each in marked.items()
    }
    spoilt = {place: reason for each in matches.values() for place, reason in each.spoilt.items()}
    if not marked:
        left = choose_series(series, frozenset())
        slices = {place: Matched((), None) for files in best for place in middle_slices(files, headers, num_slices)}
        unchosen = f"not among the middle {num_slices} slices of its series"
    else:
        read = {place: found for each in reversed(matches.values()) for place, found in each.slices.items()}
        left = choose_series(series, frozenset(number for number, _ in (*read, *spoilt)))
        chosen = {number for files in _chosen(series, left) for number in files}
        reference = matches[REFERENCE].slices if REFERENCE in matches else {}
        slices = {
            place: reference.get(place, Matched((), found.patient))
            for place, found in sorted(read.items())
            if place[0] in chosen and place not in spoilt
        }
        unchosen = "not annotated"
    judged = [(each, left.get(place)) for place, each in enumerate(series)]
    brought = {number for number, _ in slices}
    rows = {}
    for each, reason in judged:
        for number in each.files:
            if number not in brought:
                rows[number] = _row(headers[number], each, reason or unchosen)
    for (number, _), reason in spoilt.items():
        if number not in brought:
            rows[number] = Row("failed", reason, identifying=headers[number].identifying)
    patients = {
        source.number: _patient(source, headers[source.number], slices, given, key=key)
        for source in sources
        if source.number in brought
    }
    readings = {name: each.slices for name, each in matches.items() if name != REFERENCE}
    return Plan(slices, readings, patients, rows, judged, _defects(marked, matches))


def _defects(marked: Mapping[str, Annotations], matches: Mapping[str, Matches]) -> tuple[str, ...]:
    """Put the rater's name before the lines of a rater."""
    lines = []
    for name, each in marked.items():
        before = f"rater {name}: " if name != REFERENCE else ""
        lines += [f"{before}{line}" for line in (*each.defects, *matches[name].defects)]
    return tuple(lines)


def _chosen(series: Sequence[Series], left: Mapping[int, str | None]) -> list[tuple[int, ...]]:
    return [series[place].files for place, reason in left.items() if reason is None]


def _row(header: Header, series: Series, reason: str) -> Row:
    if series.verdict.accepted:
        return Row("left out", reason, identifying=header.identifying)
    return Row("outside the intended use", "; ".join(series.verdict.reasons), identifying=header.identifying)


def _patient(
    source: Source, header: Header, slices: Mapping[Place, Matched], given: GivenPatients, *, key: bytes
) -> str:
    """Name the patient by the tags; else by --patients, the annotations, the file's folder, or the file itself."""
    if header.subject.name is not None:
        return header.subject.name
    for name in (source.relative.as_posix(), source.path.name):
        if name.casefold() in given.files:
            return given.files[name.casefold()]
    told = next((found.patient for (number, _), found in slices.items() if number == source.number), None)
    folder = source.relative.parent.name
    return pseudonym(key, told or folder or image_stem(source.path.name))
