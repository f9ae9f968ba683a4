"""Stage split: patients into train, validation and test, groups of linked patients whole."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pandas as pd

from meddet.classes import CLASS_IDS
from meddet.config import Params
from meddet.data.split import PARTS, Case, split_patients
from meddet.data.table import read_table
from meddet.files import read_json, write_json
from pipeline._stage import ARTIFACTS, REPORTS, VALIDATION_FAILED, Failure, run

KEPT = Path("data.split.json")
PROTRUSION = "protrusion"


def main(params: Params) -> None:
    """Split, prove that the parts share no patient and no group, and only then write."""
    patients, images, boxes = (read_table(ARTIFACTS / "tables", name) for name in ("patients", "images", "boxes"))
    groups = read_table(ARTIFACTS, "groups")
    group = dict(zip(groups["patient_id"], groups["group"], strict=True))
    split = split_patients(
        _cases(patients, boxes, group),
        seed=params.split.seed,
        test_fraction=params.split.test_fraction,
        validation_fraction=params.split.validation_fraction,
        kept=read_kept(),
    )
    check_parts(patients["patient_id"].tolist(), group, split)
    counts = {part: _count(split[part], images, boxes) for part in PARTS}
    report = {
        "parts": counts,
        "overlap": {
            f"{first} and {second}": {
                "patients": len(set(split[first]) & set(split[second])),
                "groups": len({group[name] for name in split[first]} & {group[name] for name in split[second]}),
            }
            for first, second in combinations(PARTS, 2)
        },
        "groups_of_several": sum(count > 1 for count in Counter(group.values()).values()),
    }
    write_json(ARTIFACTS / "split.json", split)
    write_json(REPORTS / "split.json", report)
    for part, found in counts.items():
        print(f"{part}: {found['patients']} patients, {found['images']} images")


def read_kept() -> dict[str, list[str]]:
    """Read data.split.json: the parts (hashed patient ids) that patients of earlier data keep; empty in new projects.

    Errors:
        ValueError: it isn't three lists of different patients.
    """
    kept = read_json(KEPT)
    names = [name for part in kept.values() for name in part] if _is_split(kept) else None
    if names is None or len(set(names)) < len(names):
        raise ValueError(f"{KEPT}: expected the lists {', '.join(PARTS)} of patient ids, each id in one of them")
    return dict(kept)


def _is_split(content: object) -> bool:
    return (
        isinstance(content, dict)
        and set(content) == set(PARTS)
        and all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in content.values())
    )


def check_parts(patients: list[str], group: dict[str, str], split: dict[str, list[str]]) -> None:
    """Expect every patient in exactly one part, nobody else in any, and no group in several.

    Errors:
        Failure: with the patients that are in none or in several, and the groups that are in several.
    """
    from pipeline._expectations import Rule, check

    places = Counter(patient for members in split.values() for patient in members)
    known = set(patients)
    people = pd.DataFrame(
        [
            {"patient_id": patient, "num_parts": places[patient], "num_rows": int(patient in known)}
            for patient in sorted(known | set(places))
        ]
    )
    spread = Counter(
        name for members in split.values() for name in {group[patient] for patient in members if patient in group}
    )
    together = pd.DataFrame(
        [{"group": name, "num_parts": spread[name]} for name in sorted(set(group.values()) | set(spread))]
    )
    once = {"min_value": 1, "max_value": 1}
    expected = {
        ("patients", "num_parts"): "a patient in exactly one part",
        ("patients", "num_rows"): "an enrolled patient",
        ("groups", "num_parts"): "a group in exactly one part",
    }
    rules = [
        Rule(table, "ExpectColumnValuesToBeBetween", {"column": column, **once}, text)
        for (table, column), text in expected.items()
    ]
    findings = check({"patients": (people, "patient_id"), "groups": (together, "group")}, rules)
    failed = [finding for finding in findings if not finding.success]
    if failed:
        said = "; ".join(str(finding) for finding in failed)
        raise Failure(VALIDATION_FAILED, f"artifacts/split.json: {said}; nothing was written")


def _cases(patients: pd.DataFrame, boxes: pd.DataFrame, group: dict[str, str]) -> dict[str, Case]:
    """Stratify by scanner and by the share of protrusions; a patient without boxes has share 0."""
    share = (boxes["class_name"] == PROTRUSION).groupby(boxes["patient_id"]).mean().to_dict()
    return {
        patient: Case(protrusion_share=float(share.get(patient, 0)), scanner=scanner, group=group[patient])
        for patient, scanner in zip(patients["patient_id"], patients["scanner"], strict=True)
    }


def _count(patients: list[str], images: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, int | dict[str, int]]:
    classes = Counter(boxes.loc[boxes["patient_id"].isin(patients), "class_name"])
    return {
        "patients": len(patients),
        "images": int(images["patient_id"].isin(patients).sum()),
        "boxes": {name: classes[name] for name in CLASS_IDS},
    }


if __name__ == "__main__":
    run(main)
