"""The data page: what a data set holds, whom it leaves out, what was wrong with it, and that the parts share nobody."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import PIL.Image
from jaxtyping import Float

from meddet.classes import CLASSES
from meddet.data.reference import compare_boxes, compare_intensities
from meddet.data.split import PARTS
from meddet.pages.data_rows import classes_by_level, gates, overlaps, patients_by_age, patients_by_part, rater_rows

_TEMPLATE = "data.html.j2"
_THUMBNAIL_PX = 260
_JPEG_QUALITY = 82
_WHITE_PERCENTILE = 99.5


@dataclass(frozen=True)
class Thumbnail:
    """A small picture (JPEG in base64) of an image of `width` x `height` px, its boxes, and the line under it.

    A box is x, y, width and height in the image's pixels and the index of its class.
    """

    jpeg: str
    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float, int], ...]
    caption: str


@dataclass(frozen=True)
class Tables:
    """The tables of ingest."""

    patients: pd.DataFrame
    images: pd.DataFrame
    boxes: pd.DataFrame
    repairs: pd.DataFrame
    disagreements: pd.DataFrame


def data_page(
    tables: Tables,
    reports: Mapping[str, Any],
    *,
    split: Mapping[str, Sequence[str]],
    flow_chart: bytes,
    thumbnails: Sequence[Thumbnail],
    data_md5: str,
) -> str:
    """Give the whole page; the same data are the same text.

    Args:
        tables: of ingest.
        reports: by name, the JSON of `enrolment`, `ingest`, `validation`, `split` and `raters`, and `import` or None.
        split: patient ids by part.
        flow_chart: PNG.
        thumbnails: pictures to show.
        data_md5: of the data set.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["number"] = _number
    template = environment.from_string(files("meddet.pages").joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    part_of = {patient: part for part, members in split.items() for patient in members}
    pairs, agreement = rater_rows(reports["raters"])
    return template.render(
        classes=CLASSES,
        parts=PARTS,
        tables=tables,
        reports=reports,
        flow_chart=base64.b64encode(flow_chart).decode(),
        patients=patients_by_part(tables.patients, part_of),
        ages=patients_by_age(tables.patients),
        levels=classes_by_level(tables.boxes),
        overlaps=overlaps(reports["split"], tables.images, part_of),
        sizes=compare_boxes(tables.boxes),
        intensities=compare_intensities(tables.images),
        rater_pairs=pairs,
        rater_rows=agreement,
        gates=gates(reports),
        thumbnails=thumbnails,
        data_md5=data_md5,
    )


def thumbnail(
    pixels: Float[np.ndarray, "h w"], boxes: Sequence[tuple[float, float, float, float, int]], *, caption: str
) -> Thumbnail:
    """Make a thumbnail of an image in [0, 1]; its 99.5th percentile is white."""
    height, width = pixels.shape
    white = max(float(np.percentile(pixels, _WHITE_PERCENTILE)), 1e-3)
    picture = PIL.Image.fromarray(np.rint(np.clip(pixels / white, 0, 1) * 255).astype(np.uint8))
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return Thumbnail(base64.b64encode(buffer.getvalue()).decode(), width, height, tuple(boxes), caption)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.3g}"
