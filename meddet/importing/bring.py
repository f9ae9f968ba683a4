"""The import itself: from somebody's folders to a data folder that is whole or absent."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from meddet.files import write_atomic, write_json
from meddet.importing.annotations import Format
from meddet.importing.header import Header
from meddet.importing.patients import GivenPatients, complete, read_given
from meddet.importing.planning import REFERENCE, Plan, plan
from meddet.importing.pseudonym import read_key
from meddet.importing.reading import Marks, read_headers, read_marks
from meddet.importing.report import Report, Row, write_import_json, write_private_table
from meddet.importing.sources import Source, find_sources
from meddet.importing.writing import annotations_json, patients_csv, write_images

_GUESSED_FLAGS = "assumed: quality_ok and complete, not operated"
_GIVEN_FLAGS = "from --patients where it has them, else assumed: quality_ok and complete, not operated"


@dataclass(frozen=True)
class Options:
    """What the user chose. `slices` is how many middle ones of a series are brought where nothing is annotated."""

    out: Path
    annotations: Path | None
    raters: Mapping[str, Path]
    format: Format | None
    patients: Path | None
    key: Path | None
    classes: Mapping[str, str]
    identity: Literal["repair", "refuse"]
    slices: int

    @property
    def key_path(self) -> Path:
        """Give the key's file, by default beside the data folder, never in it."""
        return self.key or self.out.with_name(f"{self.out.name}.key")

    @property
    def table_path(self) -> Path:
        """Give the table that says which file has which number."""
        return self.out.with_name(f"{self.out.name}.files.csv")


def import_studies(roots: Sequence[Path], options: Options) -> Report:
    """Bring what is inside the intended use; `options.out` is written whole or, where nothing is brought, not at all.

    Beside it stand the key of the pseudonyms (`<out>.key`) and the table of the files (`<out>.files.csv`), both for
    the owner only. One bad file never stops the others.

    Errors:
        ValueError: wrong options: nothing at a path, a folder that holds files, an unknown class, a bad table.
    """
    out = options.out
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ValueError(f"{out}: expected no folder or an empty one for the import, got one that holds files")
    if options.key_path.resolve().is_relative_to(out.resolve()):
        raise ValueError("--key: expected a file outside the data folder, got one inside")
    given_marks = {**({REFERENCE: options.annotations} if options.annotations else {}), **options.raters}
    read = {name: read_marks(path, options.format) for name, path in given_marks.items()}
    files = [file for each in read.values() for file in each.files]
    own = [path for path in (options.patients, options.key_path, options.table_path) if path is not None]
    sources = find_sources(roots, without=[*files, *own])
    key = read_key(options.key_path)
    given = read_given(options.patients, key=key) if options.patients else GivenPatients({}, {})
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folder.chmod(0o755)
        report = _bring(folder, sources, read, given, key, options)
        write_private_table(options.table_path, report.rows, sources)
        if report.num_images:
            if out.exists():
                out.rmdir()
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _bring(
    folder: Path,
    sources: Sequence[Source],
    read: Mapping[str, Marks],
    given: GivenPatients,
    key: bytes,
    options: Options,
) -> Report:
    """Fill the folder, and say what became of each file."""
    readable = read_headers(sources, key=key, refuse_identity=options.identity == "refuse")
    headers = readable.headers
    marked = {name: each.annotations for name, each in read.items()}
    planned = plan(sources, headers, marked, given, key=key, classes=options.classes, num_slices=options.slices)
    people, incomplete = _people(planned, headers, given)
    slices = {place: found for place, found in planned.slices.items() if place[0] not in incomplete}
    images, rows = write_images(folder / "images", sources, headers, slices, planned.patients)
    enrolled = {image.patient for image in images}
    content = annotations_json(images, planned.slices)
    report = Report(
        rows={**readable.rows, **planned.rows, **incomplete, **rows},
        series=planned.series,
        format=", ".join(sorted({each.format for each in read.values()})) or None,
        defects=planned.defects,
        identity=options.identity,
        flags=_GIVEN_FLAGS if options.patients else _GUESSED_FLAGS,
        num_patients=len(enrolled),
        num_boxes=len(content["annotations"]),
    )
    write_json(folder / "annotations.json", content)
    for name, reading in planned.readings.items():
        write_json(folder / f"annotations.{name}.json", annotations_json(images, reading))
    write_atomic(folder / "patients.csv", patients_csv(people[name] for name in enrolled))
    write_import_json(folder / "import.json", report, sources, key=key)
    return report


def _people(
    planned: Plan, headers: Mapping[int, Header], given: GivenPatients
) -> tuple[dict[str, dict[str, Any]], dict[int, Row]]:
    """Give each patient's row; the files of a patient of whom something is missing fail."""
    files: dict[str, list[int]] = defaultdict(list)
    for number, name in planned.patients.items():
        files[name].append(number)
    people: dict[str, dict[str, Any]] = {}
    incomplete: dict[int, Row] = {}
    for name, numbers in files.items():
        try:
            people[name] = complete(name, [headers[number].subject for number in numbers], given.rows.get(name, {}))
        except ValueError as error:
            for number in numbers:
                incomplete[number] = Row("failed", str(error), identifying=headers[number].identifying)
    return people, incomplete
