"""Groups that a model must serve alike: patients by sex, age, scanner, field strength (ingest's tables), and levels."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from meddet.evaluate.by_disc import ALL

UNKNOWN = "unknown"
LEAST_PATIENTS = 20
"""A group of fewer is withheld: its interval would span most of [0, 1], and a reader would find a difference there."""
_METRICS = ("ap50", "ap50.any", "disc_auc", "sensitivity.protrusion", "false_positives_per_image")
_LEVEL_METRICS = ("sensitivity", "specificity", "auc")
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


def subgroups(
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]], by_level: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Tell a model's numbers group by group; of a group of fewer than `LEAST_PATIENTS` only how many there are.

    Args:
        groups: by kind and name, metrics, ci95 and n (`operating_numbers`).
        by_level: the blocks of located discs by level (`disc_blocks`).
    """
    levels = {name: each for name, each in by_level.items() if name != ALL}
    told = {
        kind: {name: _told(each, _METRICS) for name, each in members.items()}
        for kind, members in sorted(groups.items())
    }
    return {**told, "level": {name: _told(each, _LEVEL_METRICS) for name, each in levels.items()}}


def _told(block: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    if block["n"]["patients"] < LEAST_PATIENTS:
        return {"n": block["n"], "withheld": f"fewer than {LEAST_PATIENTS} patients"}
    return {part: {name: block[part][name] for name in names} for part in ("metrics", "ci95")} | {"n": block["n"]}


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
