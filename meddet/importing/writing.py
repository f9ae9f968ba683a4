"""The second pass: the chosen slices as images, and the tables that describe them."""

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from meddet.classes import CLASS_IDS
from meddet.data.guard import guarded
from meddet.importing.header import Header, Left
from meddet.importing.matching import Matched
from meddet.importing.patients import COLUMNS
from meddet.importing.pixels import Job, Written, write_slice
from meddet.importing.reading import MAX_PIXELS, MEMORY_MB, SECONDS, failure
from meddet.importing.regions import Place
from meddet.importing.report import Row
from meddet.importing.sources import Source

_DECIMALS_PX = 4
_DECIMALS_MM = 6


@dataclass(frozen=True)
class Image:
    """An image that was written, the slice that it shows, and its file's header."""

    name: str
    place: Place
    patient: str
    header: Header
    written: Written


def write_images(
    folder: Path,
    sources: Sequence[Source],
    headers: Mapping[int, Header],
    slices: Iterable[Place],
    patients: Mapping[int, str],
) -> tuple[list[Image], dict[int, Row]]:
    """Write each slice into `folder` as <patient>_<number>.png; give the images, and what became of the files."""
    by_number = {source.number: source for source in sources}
    counted: Counter[str] = Counter()
    jobs = []
    for number, index in slices:
        counted[patients[number]] += 1
        target = folder / f"{patients[number]}_{counted[patients[number]]:02d}.png"
        jobs.append(Job(by_number[number], headers[number].kind, index, target))
    work = partial(write_slice, max_pixels=MAX_PIXELS)
    workers = os.cpu_count() or 1
    outcomes = guarded(work, jobs, workers=workers, seconds=SECONDS, memory_mb=MEMORY_MB, name=_name)
    images: list[Image] = []
    names: dict[int, list[str]] = defaultdict(list)
    rows: dict[int, Row] = {}
    for outcome in tqdm(outcomes, total=len(jobs), desc="images", unit="image", disable=None):
        job, value = outcome.item, outcome.value
        number = job.source.number
        if value is None:
            rows[number] = Row("failed", failure(job.source, outcome.error))
        elif isinstance(value, Left):
            rows.setdefault(number, Row(value.outcome, value.reason))
        else:
            names[number].append(job.target.name)
            place = (number, job.index)
            images.append(Image(job.target.name, place, patients[number], headers[number], value))
    for number in {job.source.number for job in jobs}:
        row = rows.get(number, Row("brought", ""))
        if names[number] and row.outcome == "outside the intended use":
            row = Row("brought", f"without slices of it that are {row.reason}")
        rows[number] = Row(row.outcome, row.reason, tuple(names[number]), headers[number].identifying)
    return images, rows


def annotations_json(images: Sequence[Image], marks: Mapping[Place, Matched]) -> dict[str, Any]:
    """Give the images that somebody marked, and his boxes in the pixels of the images that were written."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        if image.place not in marks:
            continue
        spacing = image.written.spacing_mm
        entries.append(
            {
                **{"id": image_id, "file_name": image.name, "patient_id": image.patient},
                **{"width": image.written.width, "height": image.written.height},
                **({} if spacing is None else {"spacing_mm": [round(side, _DECIMALS_MM) for side in spacing]}),
                **({"windowed": True} if image.written.windowed else {}),
                **({} if image.header.study is None else {"study": image.header.study}),
                **({} if image.header.instance is None else {"instance": image.header.instance}),
            }
        )
        boxes = marks[image.place].boxes
        corners = image.written.boxes(np.array([box.xyxy for box in boxes], dtype=np.float64).reshape(-1, 4))
        for box, (x1, y1, x2, y2) in zip(boxes, corners.tolist(), strict=True):
            bbox = [round(side, _DECIMALS_PX) for side in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": image_id, "category_id": CLASS_IDS[box.class_name]},
                    **{"bbox": bbox, "area": round(bbox[2] * bbox[3], _DECIMALS_PX), "iscrowd": 0},
                    **({} if box.level is None else {"level": box.level}),
                }
            )
    categories = [{"id": number, "name": name} for name, number in CLASS_IDS.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def patients_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Give patients.csv, by the new names, so that the order says nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: str(row["patient_id"])):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(job: Job) -> str:
    return job.source.name
