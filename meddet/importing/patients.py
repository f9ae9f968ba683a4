"""The rows of patients.csv: from the tags, completed and overruled by a table that the user gives."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meddet.data.raw import Patient
from meddet.importing.header import Subject
from meddet.importing.pseudonym import cap_age, pseudonym

COLUMNS = tuple(Patient.model_fields)
FLAGS = {"quality_ok": "true", "complete": "true", "operated": "false"}
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class GivenPatients:
    """The user's table under the new names: what it says of each, and to whom the files it names belong."""

    rows: Mapping[str, Mapping[str, str]]
    files: Mapping[str, str]


def read_given(path: Path, *, key: bytes) -> GivenPatients:
    """Read a table with the column patient_id, any other columns of patients.csv, and perhaps `file`.

    A patient may have several lines, one for each file. An error names the line, never what is in it.

    Errors:
        ValueError: no such table, no such column, or two lines that differ.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"--patients: expected a table of at most {_MOST_BYTES // 2**20} MB, got a larger one")
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        lines = list(reader)
    except FileNotFoundError:
        raise ValueError("--patients: expected a table of patients, found none") from None
    except (csv.Error, UnicodeDecodeError):
        raise ValueError("--patients: expected comma-separated text in UTF-8, got something else") from None
    known = {"file", *COLUMNS}
    if "patient_id" not in (reader.fieldnames or ()) or not set(reader.fieldnames or ()) <= known:
        raise ValueError(
            f"--patients: expected the column patient_id and others of {', '.join(sorted(known))}, got others"
        )
    rows: dict[str, dict[str, str]] = {}
    files: dict[str, str] = {}
    for number, line in enumerate(lines, start=2):
        identity = (line["patient_id"] or "").strip()
        if not identity or None in line:
            raise ValueError(
                f"--patients: line {number}: expected a patient_id and as many cells as columns, got others"
            )
        name = pseudonym(key, identity)
        if file := (line.get("file") or "").strip():
            files[file.casefold()] = name
        values = {
            column: value.strip() for column, value in line.items() if column in COLUMNS[1:] and (value or "").strip()
        }
        for column, value in values.items():
            if rows.setdefault(name, {}).setdefault(column, value) != value:
                raise ValueError(
                    f"--patients: line {number}: expected the same {column} as in an earlier line, got another"
                )
    return GivenPatients(rows, files)


def complete(name: str, subjects: Iterable[Subject], given: Mapping[str, str]) -> dict[str, Any]:
    """Put a row together: the user's table first, then the first tag that says something, then the assumed flags.

    Errors:
        ValueError: which columns are missing or illegal; values are not quoted.
    """
    row: dict[str, Any] = {"patient_id": name}
    for column in COLUMNS[1:]:
        told = [getattr(subject, column, None) for subject in subjects]
        value = given.get(column) or next((tag for tag in told if tag is not None), None) or FLAGS.get(column)
        if value is not None:
            row[column] = value
    missing = [column for column in COLUMNS if column not in row]
    if missing:
        raise ValueError(f"expected {', '.join(missing)} in the tags or in --patients, found none")
    try:
        patient = Patient.model_validate(row)
    except ValidationError as error:
        names = sorted({str(detail["loc"][0]) for detail in error.errors()})
        raise ValueError(
            f"expected legal values of {', '.join(names)} in the tags or in --patients, got others"
        ) from None
    return patient.model_dump() | {"age": cap_age(patient.age)}
