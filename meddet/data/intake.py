"""What ingest did with a data set: which rows it touched, which files it couldn't use, whom they may name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from meddet.data.raw import RawData, Repair

_COLUMNS = ("file", "kind", "row", "annotation", "image_id", "fault", "action", "before", "after")


@dataclass(frozen=True)
class Shares:
    """How much of one annotation file was touched."""

    file: str
    boxes: int
    boxes_touched: int
    images: int
    images_touched: int

    def exceed(self, max_share: float) -> bool:
        """Say whether more than this share of the boxes, or of the image entries, was touched."""
        return self.boxes_touched > max_share * self.boxes or self.images_touched > max_share * self.images


@dataclass(frozen=True)
class Intake:
    """The findings of ingest, as far as it came. `error` says why it stopped, if it did."""

    shares: tuple[Shares, ...] = ()
    repairs: tuple[Repair, ...] = ()
    images_read: int = 0
    images_written: int = 0
    images_turned: int = 0
    dicom_files: int = 0
    unreadable: Mapping[int, str] | None = None
    burned_in: tuple[int, ...] = ()
    tags: Mapping[str, int] | None = None
    left_out: Mapping[int, str] | None = None
    patients_without_images: int = 0
    error: str | None = None

    def stopped(self, error: str) -> "Intake":
        """Give the same, with the reason for stopping."""
        return replace(self, error=error)


def count_shares(raw: RawData) -> tuple[Shares, ...]:
    """Count the touched rows of each annotation file; a row with two faults counts once."""
    touched = {(repair.file, repair.kind, repair.row) for repair in raw.repairs}
    counts = Counter((file, kind) for file, kind, _ in touched)
    return tuple(
        Shares(file, boxes, counts[file, "box"], images, counts[file, "image"])
        for file, (images, boxes) in raw.listed.items()
    )


def repairs_table(repairs: Sequence[Repair]) -> pd.DataFrame:
    """Give one row per fault; an empty table still has its columns."""
    rows = [
        {
            **{"file": repair.file, "kind": repair.kind, "row": repair.row, "annotation": repair.annotation_id},
            **{"image_id": repair.image_id, "fault": repair.fault, "action": repair.action},
            **{"before": repair.before, "after": repair.after},
        }
        for repair in repairs
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"image_id": "Int64"})


def intake_json(intake: Intake, *, max_share: float, max_unreadable: int) -> dict[str, Any]:
    """Give the report: numbers, image ids, tag names and the rows of annotation files; no name, no tag's value."""
    faults: dict[str, Counter[str]] = {}
    for repair in intake.repairs:
        faults.setdefault(repair.fault, Counter())[repair.action] += 1
    return {
        "success": intake.error is None,
        "error": intake.error,
        "annotations": {
            "max_share": max_share,
            "files": [asdict(shares) for shares in intake.shares],
            "faults": {fault: dict(sorted(actions.items())) for fault, actions in sorted(faults.items())},
            "rows": [str(repair) for repair in intake.repairs],
        },
        "images": {
            "read": intake.images_read,
            "written": intake.images_written,
            "turned_upright": intake.images_turned,
            "max_unreadable": max_unreadable,
            "unreadable": _by_image(intake.unreadable),
            "without_reference": _by_image(intake.left_out),
            "patients_without_images": intake.patients_without_images,
        },
        "identity": {
            "dicom_files": intake.dicom_files,
            "tags": dict(sorted((intake.tags or {}).items())),
            "burned_in_text": list(intake.burned_in),
        },
    }


def notes(intake: Intake) -> list[str]:
    """Say what was touched or left out, a line each, so that nothing is silent."""
    counts = {
        "faults in annotations were repaired or rejected": len(intake.repairs),
        "image files could not be read and were left out": len(intake.unreadable or ()),
        "images have text burned in and were left out": len(intake.burned_in),
        "images have no reference by the raters' rule and were left out": len(intake.left_out or ()),
        "patients have no usable image and were left out": intake.patients_without_images,
        "identifying elements in DICOM headers stay behind: only pixels go on": sum((intake.tags or {}).values()),
    }
    return [f"{count} {text}" for text, count in counts.items() if count]


def _by_image(reasons: Mapping[int, str] | None) -> list[dict[str, Any]]:
    return [{"image_id": image, "reason": reason} for image, reason in sorted((reasons or {}).items())]
