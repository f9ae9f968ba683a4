"""The first pass over the files: their headers, and why some are not looked at further."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from meddet.data.guard import guarded
from meddet.importing.annotations import Annotations, Format, annotation_files, recognise
from meddet.importing.formats import read_annotations
from meddet.importing.header import Header, Left
from meddet.importing.header_file import read_header
from meddet.importing.report import Row
from meddet.importing.sources import Source

MAX_PIXELS = 2**26
SECONDS, MEMORY_MB = 60.0, 1000
_ANNOTATION_SECONDS, _ANNOTATION_MEMORY_MB = 600.0, 4000


@dataclass(frozen=True)
class Readable:
    """The headers of the files that go on, and what became of the others, both by number."""

    headers: dict[int, Header]
    rows: dict[int, Row]


@dataclass(frozen=True)
class Marks:
    """Annotations, their format, and the files they lie in."""

    annotations: Annotations
    format: Format
    files: list[Path]


def read_marks(path: Path, form: Format | None) -> Marks:
    """Read annotations in a process of its own.

    Errors:
        ValueError: nothing legible there.
    """
    files = annotation_files(path)
    form = form or recognise(files)
    (outcome,) = guarded(
        partial(_read_marks, files=files, form=form),
        [path],
        workers=1,
        seconds=_ANNOTATION_SECONDS,
        memory_mb=_ANNOTATION_MEMORY_MB,
        name=_annotations_name,
    )
    if outcome.value is None:
        raise ValueError(outcome.error)
    return Marks(outcome.value, form, files)


def read_headers(sources: Sequence[Source], *, key: bytes, refuse_identity: bool) -> Readable:
    """Read every file's header; a broken one is a failure of that file alone."""
    headers: dict[int, Header] = {}
    rows = {source.number: _not_opened(source) for source in sources if source.refused or source.companion}
    rest = [source for source in sources if source.number not in rows]
    work = partial(_read_header, key=key)
    workers = os.cpu_count() or 1
    outcomes = guarded(work, rest, workers=workers, seconds=SECONDS, memory_mb=MEMORY_MB, name=_name)
    seen: dict[str, str] = {}
    for outcome in tqdm(outcomes, total=len(rest), desc="headers", unit="file", disable=None):
        source, header = outcome.item, outcome.value
        if header is None:
            rows[source.number] = Row("failed", failure(source, outcome.error))
        elif isinstance(header, Left):
            rows[source.number] = Row(header.outcome, header.reason)
        elif header.instance is not None and (first := seen.setdefault(header.instance, source.name)) != source.name:
            rows[source.number] = Row("left out", f"the same image as {first}", identifying=header.identifying)
        elif header.burned_in:
            reason = "expected an image without writing, its header says BurnedInAnnotation YES"
            rows[source.number] = Row("failed", reason, identifying=header.identifying)
        elif refuse_identity and header.identifying:
            reason = "expected a de-identified file (--identity refuse), got elements that identify"
            rows[source.number] = Row("failed", reason, identifying=header.identifying)
        else:
            headers[source.number] = header
    return Readable(headers, rows)


def failure(source: Source, error: str | None) -> str:
    """Give a failed file's reason without its name."""
    assert error is not None
    return error.removeprefix(f"{source.name}: ")


def _read_header(source: Source, *, key: bytes) -> Header | Left:
    return read_header(source.path, key=key, max_pixels=MAX_PIXELS)


def _read_marks(path: Path, *, files: list[Path], form: Format) -> Annotations:
    return read_annotations(path, files, form)


def _name(source: Source) -> str:
    return source.name


def _annotations_name(_: Path) -> str:
    return "--annotations"


def _not_opened(source: Source) -> Row:
    if source.refused:
        return Row("failed", source.refused)
    return Row("ignored", "not an image by its name")
