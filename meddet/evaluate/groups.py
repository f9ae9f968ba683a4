"""Groups of patients that a model must serve alike: sex, age, scanner, field strength, as the tables of ingest say."""

import math

import pandas as pd

UNKNOWN = "unknown"
_MIDDLE_AGE, _OLD_AGE = 40, 60


def patient_groups(patients: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Name each patient's group of each kind.

    Args:
        patients: the table of ingest: patient_id (hashed), age in years, sex, scanner, field_strength_t.

    Returns:
        by patient id: sex, age, scanner and field_strength, `unknown` where the table has no value.
    """
    return {
        row["patient_id"]: {
            "sex": _text(row["sex"]),
            "age": _age_band(float(row["age"])),
            "scanner": _text(row["scanner"]),
            "field_strength": _field_strength(float(row["field_strength_t"])),
        }
        for row in patients.to_dict("records")
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else UNKNOWN


def _age_band(age: float) -> str:
    if math.isnan(age):
        return UNKNOWN
    if age < _MIDDLE_AGE:
        return f"under {_MIDDLE_AGE}"
    return f"{_MIDDLE_AGE}-{_OLD_AGE - 1}" if age < _OLD_AGE else f"{_OLD_AGE} and over"


def _field_strength(tesla: float) -> str:
    return UNKNOWN if math.isnan(tesla) else f"{tesla:g} T"
