"""Stage validate: expectations on the tables, and the search for doubled patients and images. A failure names rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from meddet.classes import CLASS_IDS
from meddet.config import Params, Validate
from meddet.data.finding import Finding
from meddet.data.groups import Link, duplicates_json, find_links, groups_table
from meddet.data.intensity import INTENSITIES
from meddet.data.page import Gate, validation_page
from meddet.data.table import read_table, write_table
from meddet.files import read_json, write_atomic, write_json
from pipeline._expectations import Rule, check
from pipeline._stage import ARTIFACTS, REPORTS, VALIDATION_FAILED, Failure, run

REPORT = REPORTS / "validation.json"
PAGE = ARTIFACTS / "validation.html"


def main(params: Params) -> None:
    """Check the tables, then look for doubles; both reports are written whatever comes of it."""
    limits = params.validate_
    tables = read_tables()
    rules = [*patient_rules(limits), *image_rules(limits), *box_rules(limits)]
    ids = {"patients": "patient_id", "images": "image_id", "boxes": "annotation_id"}
    findings = check({name: (frame, ids[name]) for name, frame in tables.items()}, rules)
    num_rows = {name: len(frame) for name, frame in tables.items()}
    failed = [finding for finding in findings if not finding.success]
    links = [] if failed else find_links(tables["images"], ARTIFACTS / "images", threshold=limits.likeness)
    groups = groups_table(tables["patients"]["patient_id"].tolist(), links)
    duplicates = duplicates_json(links, groups, rule=limits.duplicates, likeness=limits.likeness)
    across = [link for link in links if link.patients[0] != link.patients[1]]
    refused = bool(across) and limits.duplicates == "refuse"
    data_md5 = str(read_json(ARTIFACTS / "coco.json")["info"]["data_md5"])
    report = _report(findings, num_rows, refused=refused, duplicates=None if failed else duplicates)
    write_json(REPORT, report)
    gates = [*_read_gates(), _duplicates_gate(links, refused=refused, searched=not failed)]
    write_atomic(PAGE, validation_page(findings, gates, num_rows=num_rows, data_md5=data_md5).encode())
    for finding in failed:
        print(f"failed: {finding}")
    for link in links:
        print(f"double: {link}")
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        summary = f"{len(failed)} of {len(findings)} expectations failed: {failed[0]}{more}"
        raise Failure(VALIDATION_FAILED, f"{summary}; see {REPORT} and {PAGE}")
    if refused:
        more = f" (and {len(across) - 1} more)" if len(across) > 1 else ""
        summary = f"{len(across)} pairs of images of different patients belong together: {across[0]}{more}"
        raise Failure(VALIDATION_FAILED, f"{summary}; see {REPORT} and {PAGE}")
    write_table(ARTIFACTS, "groups", groups)
    print(f"{len(findings)} expectations hold on " + ", ".join(f"{count} {name}" for name, count in num_rows.items()))
    if duplicates["groups"]:
        print(
            f"note: {len(duplicates['groups'])} groups of patients belong together and stay in one part; see {REPORT}"
        )


def read_tables() -> dict[str, pd.DataFrame]:
    """Read the tables and add what relates them: counts of each other's rows, and box sides relative to the image."""
    patients, images, boxes = (read_table(ARTIFACTS / "tables", name) for name in ("patients", "images", "boxes"))
    patients["num_images"] = _count(patients["patient_id"], images["patient_id"])
    images["num_patients"] = _count(images["patient_id"], patients["patient_id"])
    images["num_boxes"] = _count(images["image_id"], boxes["image_id"])
    boxes["num_images"] = _count(boxes["image_id"], images["image_id"])
    boxes["width_fraction"] = (boxes["width"] / boxes["image_width"]).round(6)
    boxes["height_fraction"] = (boxes["height"] / boxes["image_height"]).round(6)
    return {"patients": patients, "images": images, "boxes": boxes}


def patient_rules(limits: Validate) -> list[Rule]:
    """Say what is expected of a patient."""
    return [
        *_present("patients", ("patient_id", "age", "sex", "scanner", "field_strength_t")),
        _unique("patients", "patient_id"),
        _between("patients", "age", *limits.age_years, "an age in years"),
        _one_of("patients", "sex", ["F", "M"], "a known sex"),
        _between("patients", "field_strength_t", 0.1, 12, "a field strength in tesla"),
        _between("patients", "num_images", *limits.images_per_patient, "a number of images"),
    ]


def image_rules(limits: Validate) -> list[Rule]:
    """Say what is expected of an image."""
    values = ("mean", "std", "min", "max", "saturated_fraction")
    shares = ("below_12", "12_to_40", "40_to_80", "80_to_160", "above_160")
    greys = ("mean_grey", "p50", "p75", "p90", "p95", "p99", "p99_9")
    return [
        *_present("images", ("image_id", "file_name", "patient_id", "width", "height", *INTENSITIES)),
        _unique("images", "image_id"),
        _unique("images", "file_name"),
        _between("images", "num_patients", 1, 1, "one patient in the table per image"),
        _between("images", "num_boxes", *limits.boxes_per_image, "a number of boxes"),
        *(_between("images", column, 1, None, f"a {column} in pixels") for column in ("width", "height")),
        *(_between("images", value, 0, 1, "a share of the range") for value in values),
        *(_between("images", share, 0, 1, "a share of the pixels") for share in shares),
        *(_between("images", grey, 0, 255, "a grey value") for grey in greys),
        *(_matches("images", name, "^[0-9a-f]{12}$", "a hash, where it is known") for name in ("study", "instance")),
        _above("images", "std", 0, "an image that is not constant"),
        *(
            _above("images", f"spacing_{axis}_mm", 0, "a spacing in mm, where it is known")
            for axis in ("row", "column")
        ),
    ]


def box_rules(limits: Validate) -> list[Rule]:
    """Say what is expected of a box."""
    corners, sides = ("x1", "y1", "x2", "y2"), ("width", "height")
    return [
        *_present("boxes", ("annotation_id", "image_id", "patient_id", "class_name", *corners, *sides)),
        _unique("boxes", "annotation_id"),
        _between("boxes", "num_images", 1, 1, "one image in the table per box"),
        _one_of("boxes", "class_name", list(CLASS_IDS), "a known class"),
        *(_above("boxes", side, 0, "a box with an area") for side in sides),
        *(_between("boxes", corner, 0, None, "a box that begins inside the image") for corner in ("x1", "y1")),
        _at_least("boxes", "image_width", "x2", "a box that ends inside the image"),
        _at_least("boxes", "image_height", "y2", "a box that ends inside the image"),
        *(
            _between("boxes", f"{side}_fraction", *limits.box_side_fraction, f"a {side} as a fraction of the image's")
            for side in sides
        ),
    ]


def _present(table: str, columns: Sequence[str]) -> list[Rule]:
    return [Rule(table, "ExpectColumnValuesToNotBeNull", {"column": column}, "a value") for column in columns]


def _unique(table: str, column: str) -> Rule:
    return Rule(table, "ExpectColumnValuesToBeUnique", {"column": column}, "a value that no other row has")


def _between(table: str, column: str, low: float, high: float | None, text: str) -> Rule:
    limits = {"min_value": low} if high is None else {"min_value": low, "max_value": high}
    return Rule(table, "ExpectColumnValuesToBeBetween", {"column": column, **limits}, text)


def _above(table: str, column: str, limit: float, text: str) -> Rule:
    kwargs = {"column": column, "min_value": limit, "strict_min": True}
    return Rule(table, "ExpectColumnValuesToBeBetween", kwargs, text)


def _one_of(table: str, column: str, values: list[str], text: str) -> Rule:
    return Rule(table, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values}, text)


def _at_least(table: str, larger: str, smaller: str, text: str) -> Rule:
    kwargs = {"column_A": larger, "column_B": smaller, "or_equal": True}
    return Rule(table, "ExpectColumnPairValuesAToBeGreaterThanB", kwargs, text)


def _matches(table: str, column: str, pattern: str, text: str) -> Rule:
    return Rule(table, "ExpectColumnValuesToMatchRegex", {"column": column, "regex": pattern}, text)


def _count(keys: pd.Series, among: pd.Series) -> pd.Series:
    return keys.map(among.value_counts()).fillna(0).astype(int)


def _read_gates() -> list[Gate]:
    """Say what ingest repaired and what raters disagree on."""
    repairs, disagreements = (read_table(ARTIFACTS / "tables", name) for name in ("repairs", "disagreements"))
    counts = Counter(zip(repairs["fault"], repairs["action"], strict=True))
    faults = [f"{fault}: {count} {action}" for (fault, action), count in sorted(counts.items())]
    said = f"{len(repairs)} faults in annotations were repaired or rejected by rule."
    disagree = f"{len(disagreements)} discs on which raters disagree."
    return [Gate("Annotations", True, said, tuple(faults)), Gate("Raters", True, disagree, ())]


def _duplicates_gate(links: Sequence[Link], *, refused: bool, searched: bool) -> Gate:
    if not searched:
        return Gate("Doubles", True, "Not searched for, because expectations failed.", ())
    return Gate("Doubles", not refused, f"{len(links)} pairs of images belong together.", tuple(map(str, links)))


def _report(
    findings: Sequence[Finding], num_rows: dict[str, int], *, refused: bool, duplicates: dict[str, object] | None
) -> dict[str, object]:
    failed = sum(not finding.success for finding in findings)
    return {
        "success": failed == 0 and not refused,
        "expectations": len(findings),
        "failed": failed,
        "rows": num_rows,
        "duplicates": duplicates,
        "results": [asdict(finding) for finding in sorted(findings, key=_order)],
    }


def _order(finding: Finding) -> tuple[bool, str, str, str]:
    return finding.success, finding.table, finding.type, str(sorted(finding.kwargs.items()))


if __name__ == "__main__":
    run(main)
