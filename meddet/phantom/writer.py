"""Write a preset as a data folder: images, annotations, patients.csv, and the truth that no stage reads."""

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from meddet.data.raw import hash_patient
from meddet.files import write_atomic, write_json
from meddet.phantom.files import instance_uid, study_uid, write_dicom, write_png
from meddet.phantom.presets import Preset
from meddet.phantom.raters import draw_raters, read_slice
from meddet.phantom.render import render
from meddet.phantom.study import Patient, Slice, draw_patient, draw_slice
from meddet.phantom.tables import PATIENT, TRUTH, Mark, Written, annotations, box_pixels, disc_rows, scan_entry


def _mark(patient: Patient, level: int, protruded: bool, corners: tuple[float, float, float, float]) -> Mark:
    protocol = patient.protocol
    scale = protocol.side / patient.frame.fov_mm
    return Mark(level, protruded, box_pixels(corners, scale, size=(protocol.columns, protocol.rows)))


def _write_image(preset: Preset, item: Slice, folder: Path) -> Written:
    patient = item.patient
    protocol, dicom, rated = patient.protocol, patient.role.dicom, patient.role.rated
    picture = render(preset, item)
    name = f"{patient.name}_{item.number}.{'dcm' if dicom else 'png'}"
    entry: dict[str, Any] = {
        "file_name": name, "width": protocol.columns, "height": protocol.rows, "patient_id": patient.name
    }  # fmt: skip
    if dicom:
        write_dicom(folder / name, picture, item, preset)
    else:
        write_png(folder / name, picture.grey)
        spacing = round(patient.frame.fov_mm / protocol.side, 6)
        uids = study_uid(preset, patient.number), instance_uid(preset, patient.number, item.number)
        entry |= {"spacing_mm": [spacing, spacing], "study": hash_patient(uids[0]), "instance": hash_patient(uids[1])}
    truth = tuple(_mark(patient, box.level, box.protruded, box.corners) for box in item.boxes)
    readings = {
        rater.name: tuple(_mark(patient, r.level, r.protruded, r.corners) for r in read_slice(preset, rater, item))
        for rater in draw_raters(preset)
        if rated
    }
    rows = tuple(disc_rows(item, name, picture.scan))
    return Written(entry, () if rated else truth, readings, rows, scan_entry(item, name, picture.scan))


def _write_patient(number: int, preset: Preset, folder: Path) -> list[Written]:
    """Render and write every image of one patient."""
    patient = draw_patient(preset, number)
    slices = (draw_slice(preset, patient, index) for index in range(1, patient.num_images + 1))
    return [_write_image(preset, item, folder) for item in slices]


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


def _patient_row(patient: Patient) -> tuple[Any, ...]:
    flags = (patient.exclusion != "quality", patient.exclusion != "incomplete", patient.exclusion == "operated")
    words = tuple(str(flag).lower() for flag in flags)
    protocol = patient.protocol
    field = f"{protocol.sequence.field_t:.1f}"
    return patient.name, int(patient.body.age), patient.body.sex, protocol.scanner, field, *words


def _csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def _write_tables(preset: Preset, written: list[Written], folder: Path) -> None:
    write_json(folder / "annotations.json", annotations(preset, [(w.entry, w.marks) for w in written]))
    for rater in draw_raters(preset):
        read = [(w.entry, w.readings[rater.name]) for w in written if w.readings]
        if read:
            write_json(folder / f"annotations.{rater.name}.json", annotations(preset, read))
    patients = [_patient_row(draw_patient(preset, number)) for number in range(1, preset.scanned + 1)]
    _csv(folder / "patients.csv", PATIENT, patients)
    _csv(folder / "truth" / "discs.csv", TRUTH, [row for w in written for row in w.discs])
    biases = {rater.name: round(rater.bias_mm, 3) for rater in draw_raters(preset)}
    write_json(folder / "truth" / "scans.json", {"rater_bias_mm": biases, "scans": [w.scan for w in written]})


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
        _write_tables(preset, written, folder)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
