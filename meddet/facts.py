"""What is known when a model is packed: the card and the checklist are written from it, and from nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from meddet.cost import Cost
from meddet.drift.reference import Rule
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.pr import OperatingPoint

BLANK = "_not known_"
"""Stands where somebody who knows must write."""


@dataclass(frozen=True)
class Facts:
    """Counts are by part (train, validation, test) unless said otherwise; nothing here comes from the test scores."""

    data_md5: str
    """Of the raw data set."""
    code_sha256: str
    versions: Mapping[str, str]
    """Of the libraries that compute."""
    scanned: int
    """Patients before exclusion."""
    excluded: Mapping[str, int]
    """Patients by reason."""
    patients: Mapping[str, int]
    images: Mapping[str, int]
    people: Mapping[str, str]
    """Sex, age and field strength of each part, in words."""
    scanners: Sequence[str]
    readers: str
    """Who read how much and how far they agree, in words; "" where one reader's boxes came."""
    split_seed: int
    duplicates: str
    """What became of near-duplicate images."""
    input_size: tuple[int, int]
    """Height and width of the detector's input."""
    cost: Cost
    """Of the detector at that size."""
    teachers: Sequence[str]
    method: str
    """Name of the distillation method."""
    inherited_from: str | None
    """Teacher whose neck and head the student started from."""
    training: Mapping[str, object]
    """The student's schedule, by name."""
    operating: Mapping[str, OperatingPoint]
    """By class, chosen on validation."""
    conformal: Conformal | None
    rule: Rule
    """Of the drift monitor."""


def describe_people(patients: pd.DataFrame) -> str:
    """Sum up sex, age and field strength, as a table of characteristics does.

    Args:
        patients: rows of the table of ingest: sex, age in years, field_strength_t.
    """
    if patients.empty:
        return "none"
    sexes = patients["sex"].fillna("unknown").value_counts().sort_index()
    parts = [", ".join(f"{count} {name}" for name, count in sexes.items())]
    ages = patients["age"].dropna()
    if len(ages):
        low, middle, high = ages.quantile([0.25, 0.5, 0.75])
        parts.append(
            f"age median {middle:.0f} (quartiles {low:.0f} and {high:.0f}), {ages.min():.0f} to {ages.max():.0f}"
        )
    fields = patients["field_strength_t"].dropna().value_counts().sort_index()
    parts += [", ".join(f"{count} at {tesla:g} T" for tesla, count in fields.items())] if len(fields) else []
    return "; ".join(parts)


def describe_readers(raters: Mapping[str, Any]) -> str:
    """Sum up reports/raters.json: how many read, and how far two of them agree on a disc's class beyond chance."""
    names = raters["raters"]
    if len(names) < 2:
        return ""
    kappas = [row["value"] for row in raters["cohen_kappa"] if row["level"] == "overall"]
    known = [value for value in kappas if isinstance(value, float)]
    read = f"{len(names)} readers of {max(raters['images_read'].values())} images, {raters['discs']} discs"
    if not known:
        return read
    return f"{read}; Cohen's kappa of two readers {min(known):.2f} to {max(known):.2f} over all levels"
