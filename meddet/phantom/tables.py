"""What the tables of a data folder say of the phantom's images: annotations, patients, truth."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from meddet.classes import CLASS_IDS, LEVELS
from meddet.phantom.acquisition import Scan
from meddet.phantom.presets import Preset
from meddet.phantom.study import Slice

CATEGORIES = tuple({"id": number, "name": name} for name, number in CLASS_IDS.items())
DESCRIPTION = "Synthetic CDH-1848 (phantom). Research use only; scores on it say nothing about clinical performance."
PATIENT = ("patient_id", "age", "sex", "scanner", "field_strength_t", "quality_ok", "complete", "operated")
TRUTH = ("patient_id", "file_name", "mode", "level", "protrusion", "h_mm", "hidden_mm", "degeneration", "grade",
         "z_mm", "fov_mm", "sigma", "matrix", "artefacts")  # fmt: skip
_DECIMALS = 4


@dataclass(frozen=True)
class Mark:
    """A labelled disc as annotations have it."""

    level: int
    protruded: bool
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels."""


@dataclass(frozen=True)
class Written:
    """What the tables hold of one image."""

    entry: dict[str, Any]
    """Its entry of annotations.json, but for the id."""
    marks: tuple[Mark, ...]
    """The reference; empty where raters read the image instead."""
    readings: dict[str, tuple[Mark, ...]]
    discs: tuple[tuple[Any, ...], ...]
    scan: dict[str, Any]


def box_pixels(
    corners: tuple[float, float, float, float], scale: float, *, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Turn corners in mm into x, y, width, height in pixels of an image of that size, to two decimals."""
    x1, y1, x2, y2 = (round(v * scale, 2) for v in corners)
    x2, y2 = min(x2, float(size[0])), min(y2, float(size[1]))
    return x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)


def disc_rows(item: Slice, file_name: str, scan: Scan) -> Iterator[tuple[Any, ...]]:
    """Give the truth of each labelled disc of a slice."""
    patient = item.patient
    for box in item.boxes:
        state = float(patient.spine.degeneration[box.level])
        yield (
            patient.name, file_name, patient.protocol.mode, LEVELS[box.level], str(box.protruded).lower(),
            f"{box.depth_mm:.3f}", f"{patient.pathology.depth[box.level]:.3f}", f"{state:.3f}",
            1 + int(min(round(state, 6), 0.999) * 5), f"{item.z_mm:.3f}", f"{patient.frame.fov_mm:.3f}",
            f"{scan.sigma:.4f}", "x".join(map(str, scan.matrix)), " ".join(scan.artefacts),
        )  # fmt: skip


def scan_entry(item: Slice, file_name: str, scan: Scan) -> dict[str, Any]:
    """Give how a slice was scanned, shown and annotated: protocol, view, artefacts."""
    entry = {"file_name": file_name, "z_mm": item.z_mm, "sigma": scan.sigma, "matrix": list(scan.matrix)}
    entry |= {"artefacts": list(scan.artefacts), "frame": asdict(item.patient.frame)}
    rounded: dict[str, Any] = _rounded(entry | {"protocol": asdict(item.patient.protocol)})
    return rounded


def _rounded(value: Any) -> Any:
    """Round every number below a value: the last bits differ between processors."""
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def annotations(preset: Preset, images: list[tuple[dict[str, Any], tuple[Mark, ...]]]) -> dict[str, Any]:
    """Give the content of annotations.json, or of a rater's file, for those images."""
    entries: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for image_id, (entry, marks) in enumerate(images, start=1):
        entries.append({"id": image_id, **entry})
        for mark in marks:
            boxes.append({"id": len(boxes) + 1, "image_id": image_id, "category_id": 1 if mark.protruded else 2,
                          "bbox": list(mark.bbox), "area": round(mark.bbox[2] * mark.bbox[3], 2), "iscrowd": 0,
                          "level": LEVELS[mark.level]})  # fmt: skip
    info = {"description": DESCRIPTION, "preset": preset.name, "seed": preset.seed}
    return {"info": info, "images": entries, "annotations": boxes, "categories": list(CATEGORIES)}
