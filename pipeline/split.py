"""Stage split: patients into train, validation and test."""

from collections import Counter

import pandas as pd

from meddet.classes import CLASS_IDS
from meddet.config import Params
from meddet.data.split import PARTS, Case, split_patients
from meddet.data.table import read_table
from meddet.files import write_json
from pipeline._stage import ARTIFACTS, REPORTS, VALIDATION_FAILED, Failure, run

PROTRUSION = "protrusion"


def main(params: Params) -> None:
    """Split, prove that the parts share no patient, and only then write."""
    patients, images, boxes = (read_table(ARTIFACTS / "tables", name) for name in ("patients", "images", "boxes"))
    split = split_patients(
        _cases(patients, boxes),
        seed=params.split.seed,
        test_fraction=params.split.test_fraction,
        validation_fraction=params.split.validation_fraction,
    )
    check_parts(patients["patient_id"].tolist(), split)
    report = {part: _count(split[part], images, boxes) for part in PARTS}
    write_json(ARTIFACTS / "split.json", split)
    write_json(REPORTS / "split.json", report)
    for part, counts in report.items():
        print(f"{part}: {counts['patients']} patients, {counts['images']} images")


def check_parts(patients: list[str], split: dict[str, list[str]]) -> None:
    """Expect every patient in exactly one part, and nobody else in any.

    Errors:
        Failure: with the patients that are in none or in several.
    """
    from pipeline._expectations import Rule, check

    places = Counter(patient for members in split.values() for patient in members)
    frame = pd.DataFrame(
        [
            {"patient_id": patient, "num_parts": places[patient], "num_rows": int(patient in set(patients))}
            for patient in sorted(set(patients) | set(places))
        ]
    )
    rules = [
        Rule("patients", "ExpectColumnValuesToBeBetween", {"column": column, "min_value": 1, "max_value": 1}, text)
        for column, text in (("num_parts", "a patient in exactly one part"), ("num_rows", "an enrolled patient"))
    ]
    failed = [finding for finding in check({"patients": (frame, "patient_id")}, rules) if not finding.success]
    if failed:
        said = "; ".join(str(finding) for finding in failed)
        raise Failure(VALIDATION_FAILED, f"artifacts/split.json: {said}; nothing was written")


def _cases(patients: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, Case]:
    """Stratify by scanner and by the share of protrusions; a patient without boxes has share 0."""
    share = (boxes["class_name"] == PROTRUSION).groupby(boxes["patient_id"]).mean().to_dict()
    return {
        patient: Case(protrusion_share=float(share.get(patient, 0)), scanner=scanner)
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
