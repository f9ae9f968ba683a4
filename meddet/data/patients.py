"""Read patients.csv."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meddet.data.raw import Patient


def read_patients(path: Path) -> tuple[Patient, ...]:
    """Read the table of patients; further columns are allowed.

    Errors:
        ValueError: one line with the file, the line and the patient, what was expected and what came.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a table of patients, found none") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected comma-separated text in UTF-8, got: {error}") from None
    missing = sorted(set(Patient.model_fields) - set(columns))
    if missing:
        raise ValueError(
            f"{path}: expected the columns {', '.join(Patient.model_fields)}, {', '.join(missing)} missing"
        )
    if not rows:
        raise ValueError(f"{path}: expected at least one patient, found none")
    patients = []
    for line, row in rows:
        try:
            patients.append(Patient.model_validate({key: value for key, value in row.items() if key is not None}))
        except ValidationError as error:
            raise ValueError(f"{path}: line {line} (patient {row['patient_id']!r}): {first_fault(error)}") from None
    check_unique(f"{path}: patient_id", [patient.patient_id for patient in patients])
    return tuple(patients)


def check_unique(what: str, values: list[Any]) -> None:
    """Expect no value twice.

    Errors:
        ValueError: with the most frequent one.
    """
    value, count = Counter(values).most_common(1)[0] if values else (None, 1)
    if count > 1:
        raise ValueError(f"{what}: expected unique values, got {value!r} {count} times")


def first_fault(error: ValidationError) -> str:
    """Say the first of pydantic's errors: key, rule, value."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    got = repr(first["input"])
    return f"{key}: {first['msg']}, got {got if len(got) <= 80 else got[:77] + '...'}{more}"
