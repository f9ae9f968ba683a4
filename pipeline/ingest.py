"""Stage ingest: data/ -> canonical images, COCO, tables and the enrolment funnel."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from meddet.config import Params
from meddet.data.canonical import CanonicalImage, boxes_table, canonicalise, coco_json, images_table, patients_table
from meddet.data.digest import dvc_md5
from meddet.data.funnel import count_funnel, draw_funnel, funnel_json
from meddet.data.raw import RawData, RawImage, enrolled, locate_image, read_raw
from meddet.data.table import write_table
from meddet.files import write_json
from pipeline._stage import ARTIFACTS, REPORTS, end_with_parent, run

DATA = Path("data")
STAGING = ARTIFACTS / ".ingest"
CHUNK = 8


def main(params: Params) -> None:
    """Check every row first, then write the images aside, and move everything into place at the end."""
    raw = read_raw(DATA)
    data_md5 = dvc_md5(DATA)
    patients = [patient for patient in raw.patients if enrolled(patient)]
    if not patients:
        raise ValueError(f"{DATA / 'patients.csv'}: expected at least one patient to enrol, the flags exclude all")
    known = {patient.patient_id for patient in patients}
    chosen = sorted((image for image in raw.images if image.patient_id in known), key=lambda image: image.id)
    shutil.rmtree(STAGING, ignore_errors=True)
    STAGING.mkdir(parents=True)
    try:
        work = partial(_canonicalise, percentiles=params.ingest.percentiles, max_pixels=params.ingest.max_pixels)
        with ProcessPoolExecutor(initializer=end_with_parent) as pool:
            results = pool.map(work, chosen, chunksize=CHUNK)
            images = list(tqdm(results, total=len(chosen), desc="images", unit="image", disable=None))
        shutil.rmtree(ARTIFACTS / "images", ignore_errors=True)
        STAGING.rename(ARTIFACTS / "images")
    finally:
        shutil.rmtree(STAGING, ignore_errors=True)
    write_json(ARTIFACTS / "coco.json", coco_json(images, raw.boxes, data_md5=data_md5))
    write_table(ARTIFACTS / "tables", "patients", patients_table(patients, images))
    write_table(ARTIFACTS / "tables", "images", images_table(images))
    write_table(ARTIFACTS / "tables", "boxes", boxes_table(images, raw.boxes))
    funnel = count_funnel(raw, unlisted_files=_count_unlisted(raw))
    write_json(REPORTS / "enrolment.json", funnel_json(funnel))
    draw_funnel(REPORTS / "enrolment.png", funnel)
    print(f"{funnel.scanned} patients scanned, {funnel.enrolled} enrolled, {funnel.images} images")
    if funnel.unlisted_files:
        print(f"note: {funnel.unlisted_files} files in {DATA / 'images'} are not in annotations.json and were left out")


def _canonicalise(image: RawImage, *, percentiles: tuple[float, float], max_pixels: int) -> CanonicalImage:
    source = locate_image(DATA, image)
    return canonicalise(source, image, STAGING, percentiles=percentiles, max_pixels=max_pixels)


def _count_unlisted(raw: RawData) -> int:
    listed = {locate_image(DATA, image).resolve() for image in raw.images}
    files = {path.resolve() for path in (DATA / "images").rglob("*") if path.is_file() and path.name[0] != "."}
    return len(files - listed)


if __name__ == "__main__":
    run(main)
