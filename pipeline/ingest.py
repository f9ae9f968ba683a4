"""Stage ingest: data/ -> canonical images, COCO, tables and the enrolment funnel."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from meddet.config import Ingest, Params
from meddet.data.agreement import raters_json
from meddet.data.canonical import CanonicalImage, Inspected, canonicalise, turn_boxes
from meddet.data.describe import boxes_table, coco_json, images_table, patients_table
from meddet.data.digest import dvc_md5
from meddet.data.funnel import count_funnel, draw_funnel, funnel_json
from meddet.data.guard import Outcome, guarded
from meddet.data.intake import Intake, count_shares, intake_json, notes, repairs_table
from meddet.data.raters import Consensus, Disc, RaterRules, disagreements_table, find_consensus, find_discs
from meddet.data.raw import RawBox, RawData, RawImage, enrolled, hash_patient
from meddet.data.reading import OtherClasses, count_unlisted, read_raw
from meddet.data.repair import BoxRules
from meddet.data.table import write_table
from meddet.files import write_json
from pipeline._stage import ARTIFACTS, REPORTS, VALIDATION_FAILED, Failure, run

DATA = Path("data")
STAGING = ARTIFACTS / ".ingest"
REPORT = REPORTS / "ingest.json"
NAMED = 3


def main(params: Params) -> None:
    """Check every row first, then write the images aside, and move everything into place at the end."""
    limits = params.ingest
    raw = _read(limits)
    intake = Intake(shares=count_shares(raw), repairs=raw.repairs)
    _check_repairs(intake, limits)
    data_md5 = dvc_md5(DATA)
    allowed = {patient.patient_id for patient in raw.patients if enrolled(patient)}
    if not allowed:
        raise ValueError(f"{DATA / 'patients.csv'}: expected at least one patient to enrol, the flags exclude all")
    chosen = sorted((image for image in raw.images if image.patient_id in allowed), key=lambda image: image.id)
    shutil.rmtree(STAGING, ignore_errors=True)
    STAGING.mkdir(parents=True)
    try:
        outcomes = _canonicalise_all(chosen, limits)
        intake = _check_files(_looked_at(intake, outcomes), outcomes, limits)
        images = [outcome.value.image for outcome in outcomes if outcome.value and outcome.value.image]
        rules = RaterRules(**limits.raters.model_dump())
        discs = find_discs(raw.readings, {image.image_id for image in images}, match_iou=rules.match_iou)
        consensus = _decide(raw, images, discs, rules)
        images = [image for image in images if image.image_id not in consensus.left_out]
        for image in consensus.left_out:
            (STAGING / f"{image:06d}.png").unlink()
        if not images:
            _stop(replace(intake, left_out=consensus.left_out), limits, f"{DATA}: expected an image to go on with")
        shutil.rmtree(ARTIFACTS / "images", ignore_errors=True)
        STAGING.rename(ARTIFACTS / "images")
    finally:
        shutil.rmtree(STAGING, ignore_errors=True)
    boxes = turn_boxes(images, [*raw.boxes, *consensus.boxes])
    _write_data(raw, images, boxes, data_md5=data_md5)
    _write_raters(raw, discs, consensus, rules)
    remaining = {image.image_id for image in images}
    used = [image for image in chosen if image.id in remaining]
    without = allowed - {image.patient_id for image in used}
    intake = replace(
        intake, images_written=len(images), left_out=consensus.left_out, patients_without_images=len(without)
    )
    write_table(ARTIFACTS / "tables", "repairs", repairs_table(raw.repairs))
    write_json(REPORT, _report(intake, limits))
    funnel = count_funnel(raw.patients, used, boxes, unlisted_files=count_unlisted(DATA, raw.images))
    write_json(REPORTS / "enrolment.json", funnel_json(funnel))
    draw_funnel(REPORTS / "enrolment.png", funnel)
    print(f"{funnel.scanned} patients scanned, {funnel.enrolled} enrolled, {funnel.images} images")
    for note in notes(intake):
        print(f"note: {note}; see {REPORT}")
    if funnel.unlisted_files:
        print(f"note: {funnel.unlisted_files} files in {DATA / 'images'} are not in annotations.json and were left out")


def _read(limits: Ingest) -> RawData:
    try:
        return read_raw(DATA, BoxRules(**limits.boxes.model_dump(exclude={"max_share"})))
    except OtherClasses as fault:
        _stop(Intake(), limits, str(fault))


def _stop(intake: Intake, limits: Ingest, message: str, *, report: str | None = None) -> NoReturn:
    """End with the report and nothing else written; `report` is what it says where the message names files."""
    write_json(REPORT, _report(intake.stopped(report or message), limits))
    raise Failure(VALIDATION_FAILED, f"{message}; see {REPORT}")


def _report(intake: Intake, limits: Ingest) -> dict[str, object]:
    return intake_json(intake, max_share=limits.boxes.max_share, max_unreadable=limits.max_unreadable)


def _check_repairs(intake: Intake, limits: Ingest) -> None:
    """Expect few touched rows: many are a sign of a wrong export, which no rule should paper over."""
    too_many = [shares for shares in intake.shares if shares.exceed(limits.boxes.max_share)]
    if too_many:
        files = {shares.file for shares in too_many}
        rows = [str(repair) for repair in intake.repairs if repair.file in files]
        for row in rows:
            print(f"faulty: {row}")
        counts = ", ".join(
            f"{shares.file}: {shares.boxes_touched} of {shares.boxes} boxes and {shares.images_touched} of "
            f"{shares.images} images"
            for shares in too_many
        )
        said = f"{DATA}: expected at most {100 * limits.boxes.max_share:g} % of the rows to be faulty, got {counts}"
        _stop(intake, limits, f"{said}: {_some(rows)}")


def _canonicalise_all(chosen: Sequence[RawImage], limits: Ingest) -> list[Outcome[RawImage, Inspected]]:
    work = partial(
        canonicalise, data=DATA, folder=STAGING, percentiles=limits.percentiles, max_pixels=limits.max_pixels
    )
    outcomes = guarded(
        work,
        chosen,
        workers=len(os.sched_getaffinity(0)),
        seconds=limits.guard.seconds,
        memory_mb=limits.guard.memory_mb,
        name=lambda image: str(DATA / "images" / image.file_name),
    )
    return list(tqdm(outcomes, total=len(chosen), desc="images", unit="image", disable=None))


def _looked_at(intake: Intake, outcomes: Sequence[Outcome[RawImage, Inspected]]) -> Intake:
    read = [(outcome.item.id, outcome.value) for outcome in outcomes if outcome.value is not None]
    return replace(
        intake,
        images_read=len(outcomes),
        images_turned=sum(bool(value.image and value.image.is_turned) for _, value in read),
        dicom_files=sum(value.is_dicom for _, value in read),
        unreadable={
            outcome.item.id: outcome.error.replace(str(DATA / "images" / outcome.item.file_name), "its file")
            for outcome in outcomes
            if outcome.error is not None
        },
        burned_in=tuple(image for image, value in read if value.image is None),
        tags=Counter(tag for _, value in read for tag in value.tags),
    )


def _check_files(intake: Intake, outcomes: Sequence[Outcome[RawImage, Inspected]], limits: Ingest) -> Intake:
    """Hold the files against the limits of unreadable ones and the rules of identity; all are named before it stops."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        print(f"unreadable: {error}")
    if len(errors) > limits.max_unreadable:
        said = f"{len(errors)} of {len(outcomes)} image files unreadable, expected at most {limits.max_unreadable}"
        _stop(intake, limits, f"{said}: {_some(errors)}", report=said)
    if intake.tags and limits.identity.tags == "refuse":
        names = ", ".join(f"{tag} ({count})" for tag, count in sorted(intake.tags.items()))
        _stop(intake, limits, f"{DATA}: expected no identifying elements in DICOM headers, found {names}")
    if intake.burned_in and limits.identity.text == "refuse":
        places = ", ".join(str(image) for image in intake.burned_in)
        _stop(intake, limits, f"{DATA}: expected no text burned into the pixels, found some in images {places}")
    return intake


def _decide(raw: RawData, images: Sequence[CanonicalImage], discs: Sequence[Disc], rules: RaterRules) -> Consensus:
    """Let the raters decide on images that have no box in annotations.json."""
    referenced = {box.image_id for box in raw.boxes}
    readers = Counter(image for reading in raw.readings for image in reading.images)
    open_images = {
        image.image_id: readers[image.image_id]
        for image in images
        if image.image_id in readers and image.image_id not in referenced
    }
    first_id = max((box.id for box in raw.boxes), default=0) + 1
    return find_consensus(discs, open_images, rules, first_id=first_id)


def _write_data(raw: RawData, images: Sequence[CanonicalImage], boxes: Sequence[RawBox], *, data_md5: str) -> None:
    present = {image.patient_id for image in images}
    patients = [patient for patient in raw.patients if hash_patient(patient.patient_id) in present]
    write_json(ARTIFACTS / "coco.json", coco_json(images, boxes, data_md5=data_md5))
    write_table(ARTIFACTS / "tables", "patients", patients_table(patients, images))
    write_table(ARTIFACTS / "tables", "images", images_table(images))
    write_table(ARTIFACTS / "tables", "boxes", boxes_table(images, boxes))


def _write_raters(raw: RawData, discs: Sequence[Disc], consensus: Consensus, rules: RaterRules) -> None:
    referenced = {box.image_id for box in raw.boxes}
    table = disagreements_table(discs, rules, referenced=referenced)
    write_table(ARTIFACTS / "tables", "disagreements", table)
    write_json(REPORTS / "raters.json", raters_json(raw.readings, discs, consensus, disagreements=len(table)))


def _some(rows: Sequence[str]) -> str:
    more = f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return "; ".join(rows[:NAMED]) + more


if __name__ == "__main__":
    run(main)
