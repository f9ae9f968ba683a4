"""Stage data_page: one page about the data set, for people."""

from pathlib import Path

import pandas as pd

from meddet.classes import CLASSES
from meddet.config import Params
from meddet.data.images import read_canonical
from meddet.data.table import read_table
from meddet.files import read_json, write_atomic
from meddet.pages.data import Tables, Thumbnail, data_page, thumbnail
from pipeline._stage import ARTIFACTS, REPORTS, run

BROUGHT = Path("data") / "import.json"
PAGE = ARTIFACTS / "data_page" / "data.html"


def main(params: Params) -> None:
    """Write artifacts/data_page/data.html."""
    names = ("patients", "images", "boxes", "repairs", "disagreements")
    tables = Tables(**{name: read_table(ARTIFACTS / "tables", name) for name in names})
    reports = {
        name: read_json(REPORTS / f"{name}.json") for name in ("enrolment", "ingest", "validation", "split", "raters")
    }
    reports["import"] = read_json(BROUGHT) if BROUGHT.exists() else None
    split = read_json(ARTIFACTS / "split.json")
    part_of = {patient: part for part, members in split.items() for patient in members}
    page = data_page(
        tables,
        reports,
        split=split,
        flow_chart=(REPORTS / "enrolment.png").read_bytes(),
        thumbnails=[_thumbnail(row, tables, part_of) for row in _spread(tables.images, params.data_page.thumbnails)],
        data_md5=str(read_json(ARTIFACTS / "coco.json")["info"]["data_md5"]),
    )
    write_atomic(PAGE, page.encode())
    print(f"{PAGE}: {len(page) / 1e6:.1f} MB, opens without a network")


def _spread(images: pd.DataFrame, number: int) -> list[pd.Series]:
    """Choose images evenly through the table; hashed patient ids make that a random choice, the same every time."""
    ordered = images.drop_duplicates("patient_id").sort_values("patient_id")
    step = max(len(ordered) / number, 1.0)
    return [ordered.iloc[int(place * step)] for place in range(min(number, len(ordered)))]


def _thumbnail(row: pd.Series, tables: Tables, part_of: dict[str, str]) -> Thumbnail:
    own = tables.boxes[tables.boxes["image_id"] == row["image_id"]]
    patient = tables.patients.set_index("patient_id").loc[row["patient_id"]]
    boxes = [
        (
            float(box["x1"]),
            float(box["y1"]),
            float(box["width"]),
            float(box["height"]),
            CLASSES.index(box["class_name"]),
        )
        for box in own.to_dict("records")
    ]
    caption = (
        f"{row['image_id']} · {patient['sex']} {patient['age']:g} · {patient['scanner']}, "
        f"{patient['field_strength_t']:g} T · {part_of[row['patient_id']]}"
    )
    return thumbnail(read_canonical(ARTIFACTS / "images" / row["file_name"]), boxes, caption=caption)


if __name__ == "__main__":
    run(main)
