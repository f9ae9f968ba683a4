"""The rows of the data page's tables, from the tables and reports of the data stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from meddet.classes import CLASSES, LEVELS
from meddet.data.split import PARTS

NO_LEVEL = "no level"
_AGES = (30, 40, 50, 60, 70, 80)


@dataclass(frozen=True)
class Share:
    """A count and what it is out of."""

    count: int
    total: int

    @property
    def percent(self) -> float:
        """Give the share in per cent; of nothing it is 0."""
        return 100 * self.count / self.total if self.total else 0.0


@dataclass(frozen=True)
class Gate:
    """What a gate found and what became of it; `tone` is good, odd or bad."""

    name: str
    found: str
    outcome: str
    tone: str


def patients_by_part(patients: pd.DataFrame, part_of: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Describe all patients and those of each part: a name, and what each of the four has."""
    part = patients["patient_id"].map(part_of)
    groups = [patients, *(patients[part == name] for name in PARTS)]
    rows = [
        ("patients", [f"{len(group):,}" for group in groups]),
        ("images", [f"{int(group['num_images'].sum()):,}" for group in groups]),
        ("age, median (quartiles)", [_spread(group["age"]) for group in groups]),
        (
            "age, range",
            [f"{group['age'].min():g} to {group['age'].max():g}" if len(group) else "–" for group in groups],
        ),
        ("women", [_share(group["sex"] == "F") for group in groups]),
    ]
    for column, unit in (("field_strength_t", " T"), ("scanner", "")):
        for value in sorted(patients[column].unique()):
            name = f"{value:g}{unit}" if unit else str(value)
            rows.append((name, [_share(group[column] == value) for group in groups]))
    return rows


def patients_by_age(patients: pd.DataFrame) -> list[tuple[str, Share]]:
    """Count patients by decade of age."""
    names = [f"below {_AGES[0]}", *(f"{low} to {low + 9}" for low in _AGES[:-1]), f"{_AGES[-1]} and above"]
    decade = np.searchsorted(_AGES, patients["age"], side="right")
    return [(name, Share(int((decade == place).sum()), len(patients))) for place, name in enumerate(names)]


def classes_by_level(boxes: pd.DataFrame) -> list[tuple[str, tuple[Share, ...]]]:
    """Count the classes of each level, of boxes without one, and of all."""
    levels = boxes["level"].fillna(NO_LEVEL)
    names = [name for name in (*LEVELS, NO_LEVEL) if (levels == name).any()]
    rows = [(name, boxes[levels == name]) for name in names] + [("all", boxes)]
    return [(name, tuple(Share(int((of["class_name"] == c).sum()), len(of)) for c in CLASSES)) for name, of in rows]


def overlaps(split: Mapping[str, Any], images: pd.DataFrame, part_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """Count what two parts share: patients and groups as the stage split counted them, images counted here."""
    part = images["patient_id"].map(part_of)
    names = {name: set(images.loc[part == name, "image_id"]) for name in PARTS}
    return [
        {
            "parts": f"{first} and {second}",
            "counts": [
                split["overlap"][f"{first} and {second}"]["patients"],
                split["overlap"][f"{first} and {second}"]["groups"],
                len(names[first] & names[second]),
            ],
        }
        for first, second in combinations(PARTS, 2)
    ]


def rater_rows(raters: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Give the names of the pairs, and per level the kappa of each pair, Fleiss' kappa and AC1."""
    if not raters["raters"]:
        return [], []
    pairs = list(dict.fromkeys(" and ".join(row["raters"]) for row in raters["cohen_kappa"]))
    cohen = {(" and ".join(row["raters"]), row["level"]): row["value"] for row in raters["cohen_kappa"]}
    ac1 = {row["level"]: row for row in raters["gwet_ac1"]}
    rows = []
    for row in raters["fleiss_kappa"]:
        level = row["level"]
        values = [*(cohen[pair, level] for pair in pairs), row["value"], ac1[level]["value"]]
        rows.append({"level": level, "n": ac1[level]["n"], "values": values})
    return pairs, rows


def gates(reports: Mapping[str, Any]) -> list[Gate]:
    """Say what each gate of the data stages found; `reports` as for the page."""
    ingest, validation = reports["ingest"], reports["validation"]
    files, images, identity = ingest["annotations"]["files"], ingest["images"], ingest["identity"]
    touched, boxes = (sum(file[key] for file in files) for key in ("boxes_touched", "boxes"))
    unusable, missing = images["unreadable"], images["without_reference"]
    doubles = validation["duplicates"]
    across, within = doubles["across_patients"], doubles["within_patients"]
    tags = ", ".join(f"{name} ({count:,})" for name, count in identity["tags"].items())
    return [
        *([_import_gate(reports["import"])] if reports["import"] else []),
        _gate("annotations", f"{touched:,} of {boxes:,} boxes touched", touched, "repaired or rejected by rule"),
        _gate("image files", f"{len(unusable):,} of {images['read']:,} unreadable", len(unusable), "left out"),
        _gate("reference", f"{len(missing):,} images without one by the raters' rule", len(missing), "left out"),
        _gate(
            "expectations",
            f"{validation['failed']} of {validation['expectations']} fail",
            validation["failed"],
            "stops the graph",
        ),
        _gate(
            "doubles across patients",
            f"{len(across):,} pairs of images, {len(doubles['groups']):,} groups of patients",
            len(across),
            "kept in one part",
        ),
        _gate("doubles of one patient", f"{len(within):,} pairs of images", len(within), "kept, in one part"),
        _gate(
            "identity in DICOM headers",
            f"{identity['dicom_files']:,} files: {tags or 'no identifying element'}",
            len(identity["tags"]),
            "only pixels went on",
        ),
        _gate(
            "text burned in",
            f"{len(identity['burned_in_text']):,} images",
            len(identity["burned_in_text"]),
            "left out",
        ),
    ]


def _import_gate(brought: Mapping[str, Any]) -> Gate:
    counts = brought["counts"]
    others = {name: count for name, count in counts["outcomes"].items() if name != "brought" and count}
    said = ", ".join(f"{count:,} {name}" for name, count in others.items())
    found = f"{counts['files']:,} files gave {counts['images']:,} images" + (f"; {said}" if said else "")
    return _gate("import", found, sum(others.values()), "listed in import.json")


def _gate(name: str, found: str, count: int, outcome: str) -> Gate:
    return Gate(name, found, outcome if count else "nothing found", "odd" if count else "good")


def _spread(values: pd.Series) -> str:
    if values.empty:
        return "–"
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:g} ({low:g} to {high:g})"


def _share(flags: pd.Series) -> str:
    return f"{int(flags.sum()):,} ({100 * flags.mean():.0f} %)" if len(flags) else "–"
