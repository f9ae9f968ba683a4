"""What became of every file: import.json without anything that identifies, and a private table beside the data."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from meddet.files import write_json
from meddet.importing.choosing import Series
from meddet.importing.pseudonym import hash_path
from meddet.importing.sources import Source

Outcome = Literal["brought", "left out", "outside the intended use", "failed", "ignored"]
OUTCOMES: tuple[Outcome, ...] = ("brought", "left out", "outside the intended use", "failed", "ignored")


@dataclass(frozen=True)
class Row:
    """What became of a file, why, the images made of it, and the names of its identifying elements."""

    outcome: Outcome
    reason: str
    images: tuple[str, ...] = ()
    identifying: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole import. `series` come with the reason for leaving each out, None where it was chosen."""

    rows: Mapping[int, Row]
    series: Sequence[tuple[Series, str | None]]
    format: str | None
    defects: tuple[str, ...]
    identity: str
    flags: str
    num_patients: int
    num_boxes: int

    @property
    def num_images(self) -> int:
        """Count the images that were written."""
        return sum(len(row.images) for row in self.rows.values())

    @property
    def counts(self) -> dict[str, int]:
        """Count the files by what became of them."""
        counted = Counter(row.outcome for row in self.rows.values())
        return {outcome: counted[outcome] for outcome in OUTCOMES}


def write_import_json(path: Path, report: Report, sources: Sequence[Source], *, key: bytes) -> None:
    """Write the report that stays with the data. Files go by number and a keyed hash of their path."""
    names = Counter(name for row in report.rows.values() for name in row.identifying)
    write_json(
        path,
        {
            "counts": {
                **{"files": len(report.rows), "images": report.num_images, "boxes": report.num_boxes},
                **{"patients": report.num_patients, "outcomes": report.counts},
            },
            "identity": {
                "rule": report.identity,
                "elements": dict(sorted(names.items())),
                "what_leaves": "pixels, and the columns of patients.csv",
            },
            "enrolment_flags": report.flags,
            "annotations": {"format": report.format, "defects": list(report.defects)},
            "series": [_series(each, left) for each, left in report.series],
            "files": [_file(source, report.rows[source.number], key=key) for source in sources],
        },
    )


def write_private_table(path: Path, rows: Mapping[int, Row], sources: Sequence[Source]) -> None:
    """Write which file has which number, readable by the owner only: the one place that holds their paths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "path", "outcome", "reason"))
    for source in sources:
        row = rows[source.number]
        writer.writerow((source.number, source.path, row.outcome, row.reason))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))


def _series(series: Series, left: str | None) -> dict[str, Any]:
    accepted = series.verdict.accepted
    outcome = "outside the intended use" if not accepted else "left out" if left else "chosen"
    return {
        "study": series.study,
        "files": list(series.files),
        "outcome": outcome,
        "reasons": [*series.verdict.reasons, *([left] if left else [])],
    }


def _file(source: Source, row: Row, *, key: bytes) -> dict[str, Any]:
    return {
        "file": source.number,
        "path_hash": hash_path(key, source.relative.as_posix()),
        "outcome": row.outcome,
        "reason": row.reason,
        "images": list(row.images),
        "identifying_elements": list(row.identifying),
    }
