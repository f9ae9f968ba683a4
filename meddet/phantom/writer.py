"""Write a preset as a data folder: images, annotations.json, patients.csv, and the truth that no stage reads."""

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from meddet.classes import CLASS_IDS, LEVELS
from meddet.files import write_atomic, write_json
from meddet.phantom.files import scanner, write_dicom, write_png
from meddet.phantom.presets import Preset, stream
from meddet.phantom.render import render
from meddet.phantom.study import Patient, Slice, draw_patient, draw_slice

CATEGORIES = tuple({"id": number, "name": name} for name, number in CLASS_IDS.items())
DESCRIPTION = "Synthetic CDH-1848 (phantom). Research use only; scores on it say nothing about clinical performance."
_TRUTH = ("patient_id", "file_name", "level", "h_mm", "hidden_mm", "degeneration", "grade", "z_mm", "fov_mm", "sigma",
          "matrix", "artefacts")  # fmt: skip
_PATIENT = ("patient_id", "age", "sex", "scanner", "field_strength_t", "quality_ok", "complete", "operated")


@dataclass(frozen=True)
class Written:
    """What the tables hold of one image."""

    patient: str
    file_name: str
    boxes: tuple[tuple[int, bool, tuple[float, float, float, float]], ...]
    """Level, protruded, xywh in pixels."""
    truth: tuple[tuple[Any, ...], ...]


def is_dicom(preset: Preset, patient: int) -> bool:
    """Say whether a patient's images are DICOM files: a fixed share, spread by the seed."""
    order = stream(preset.seed, 0, 0, "coil").permutation(preset.scanned)
    return patient - 1 in order[: round(preset.dicom_share * preset.scanned)]


def box_pixels(corners: tuple[float, float, float, float], scale: float) -> tuple[float, float, float, float]:
    """Turn corners in mm into x, y, width, height in pixels, to two decimals."""
    x1, y1, x2, y2 = (round(v * scale, 2) for v in corners)
    return x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)


def _truth(
    item: Slice, file_name: str, sigma: float, matrix: int, artefacts: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    patient = item.patient
    for box in item.boxes:
        state = float(patient.spine.degeneration[box.level])
        yield (
            patient.name, file_name, LEVELS[box.level], f"{box.depth_mm:.3f}",
            f"{patient.pathology.depth[box.level]:.3f}", f"{state:.3f}", 1 + int(min(state, 0.999) * 5),
            f"{item.z_mm:.3f}", f"{patient.frame.fov_mm:.3f}", f"{sigma:.4f}", matrix, " ".join(artefacts),
        )  # fmt: skip


def _write_patient(number: int, preset: Preset, folder: Path) -> list[Written]:
    """Render and write every image of one patient."""
    patient = draw_patient(preset, number)
    dicom = is_dicom(preset, number)
    scale = preset.side / patient.frame.fov_mm
    written = []
    for index in range(1, patient.num_images + 1):
        item = draw_slice(preset, patient, index)
        picture = render(preset, item, linear=dicom)
        name = f"{patient.name}_{index}.{'dcm' if dicom else 'png'}"
        if dicom:
            write_dicom(folder / name, picture, item, preset)
        else:
            write_png(folder / name, picture.grey)
        boxes = tuple((box.level, box.protruded, box_pixels(box.corners, scale)) for box in item.boxes)
        truth = tuple(_truth(item, name, picture.scan.sigma, picture.scan.matrix, picture.scan.artefacts))
        written.append(Written(patient.name, name, boxes, truth))
    return written


def _rendered(preset: Preset, folder: Path, workers: int) -> Iterator[list[Written]]:
    numbers = range(1, preset.scanned + 1)
    work = partial(_write_patient, preset=preset, folder=folder)
    if workers == 1:
        yield from map(work, numbers)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(work, numbers)
    finally:
        pool.shutdown(cancel_futures=True)


def _annotations(preset: Preset, written: list[Written]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, item in enumerate(written, start=1):
        images.append({"id": image_id, "file_name": item.file_name, "width": preset.side, "height": preset.side,
                       "patient_id": item.patient})  # fmt: skip
        for level, protruded, bbox in item.boxes:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": 1 if protruded else 2,
                                "bbox": list(bbox), "area": round(bbox[2] * bbox[3], 2), "iscrowd": 0,
                                "level": LEVELS[level]})  # fmt: skip
    info = {"description": DESCRIPTION, "preset": preset.name, "seed": preset.seed}
    return {"info": info, "images": images, "annotations": annotations, "categories": list(CATEGORIES)}


def _patient_row(preset: Preset, patient: Patient) -> tuple[Any, ...]:
    flags = (patient.exclusion != "quality", patient.exclusion != "incomplete", patient.exclusion == "operated")
    words = tuple(str(flag).lower() for flag in flags)
    return patient.name, int(patient.body.age), patient.body.sex, *scanner(preset, patient.number), *words


def _csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def write_dataset(preset: Preset, out: Path, *, workers: int | None = None) -> None:
    """Write the data set of a preset to `out`: the same bytes for the same seed, whatever the number of workers.

    Everything is written beside `out` first and renamed at the end, so `out` is whole or absent.

    Errors:
        ValueError: if `out` exists and is not an empty folder.
        BrokenProcessPool: if a worker is killed, e.g. for memory; nothing is left behind then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: expected no folder or an empty one for the phantom, got one that holds files")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folder.chmod(0o755)
        (folder / "images").mkdir()
        written: list[Written] = []
        finished = _rendered(preset, folder / "images", workers or cpu_count() or 1)
        for images in tqdm(finished, total=preset.scanned, desc=f"phantom {preset.name}", unit="patient"):
            written += images
        write_json(folder / "annotations.json", _annotations(preset, written))
        patients = [_patient_row(preset, draw_patient(preset, number)) for number in range(1, preset.scanned + 1)]
        _csv(folder / "patients.csv", _PATIENT, patients)
        _csv(folder / "truth" / "discs.csv", _TRUTH, [row for item in written for row in item.truth])
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
