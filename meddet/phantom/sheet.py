"""A contact sheet: images of distinct patients with their boxes, to be looked at before anything is trained on them."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from meddet.phantom.look import to_uint8
from meddet.phantom.presets import Preset
from meddet.phantom.render import render
from meddet.phantom.study import Patient, draw_patient, draw_slice

PROTRUSION, OTHER = (230, 159, 0), (86, 180, 233)
"""Orange and sky blue of Okabe and Ito; the line says it too: solid for a protrusion, dashed for none."""
_DASH, _GAP = 4, 4
_SMALLEST = 64
_LEGEND = "protrusion", "no protrusion", "synthetic, research use only"

Box = tuple[float, float, float, float]


def _enrolled(preset: Preset) -> Iterator[Patient]:
    for number in range(1, preset.scanned + 1):
        patient = draw_patient(preset, number)
        if not patient.exclusion:
            yield patient


def draw_box(draw: ImageDraw.ImageDraw, box: Box, *, protruded: bool) -> None:
    """Draw the outline of a box one pixel wide: solid orange for a protrusion, dashed blue for none."""
    x1, y1, x2, y2 = (round(v) for v in box)
    if protruded:
        draw.rectangle((x1, y1, x2, y2), outline=PROTRUSION)
        return
    for x in range(x1, x2 + 1, _DASH + _GAP):
        for y in (y1, y2):
            draw.line((x, y, min(x + _DASH - 1, x2), y), fill=OTHER)
    for y in range(y1, y2 + 1, _DASH + _GAP):
        for x in (x1, x2):
            draw.line((x, y, x, min(y + _DASH - 1, y2)), fill=OTHER)


def _cell(preset: Preset, patient: Patient, cell: int) -> Image.Image:
    """Render the first image of a patient with its boxes, as large as the cell holds."""
    item = draw_slice(preset, patient, 1)
    grey = to_uint8(render(preset, item).grey)
    height, width = grey.shape
    factor = cell / max(height, width)
    shown = Image.fromarray(grey).resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (cell, cell))
    corner = (cell - shown.width) // 2, (cell - shown.height) // 2
    picture.paste(shown.convert("RGB"), corner)
    draw = ImageDraw.Draw(picture)
    scale = np.array([shown.width, shown.height] * 2) / np.array(patient.frame.size_mm * 2)
    for box in item.boxes:
        x1, y1, x2, y2 = (np.array(box.corners) * scale + np.array(corner * 2)).tolist()
        draw_box(draw, (x1, y1, x2, y2), protruded=box.protruded)
    return picture


def _legend(width: int, height: int, preset: Preset) -> Image.Image:
    """Draw the line that says what is what."""
    line = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(line)
    font = ImageFont.load_default(size=round(0.6 * height))
    x, middle = 0.5 * height, 0.5 * height
    for text, protruded in ((_LEGEND[0], True), (_LEGEND[1], False)):
        draw_box(draw, (x, 0.25 * height, x + 1.4 * height, 0.75 * height), protruded=protruded)
        x += 2 * height
        draw.text((x, middle), text, font=font, fill="white", anchor="lm")
        x += float(draw.textlength(text, font=font)) + height
    draw.text((x, middle), f"{preset.name}: {_LEGEND[2]}", font=font, fill="white", anchor="lm")
    return line


def contact_sheet(preset: Preset, *, rows: int = 5, columns: int = 5, cell: int = 320) -> bytes:
    """Render images of the first enrolled patients of a preset with their boxes, as one PNG.

    The patients' modes are those of the preset's mix. The same arguments give the same bytes.

    Raises:
        ValueError: If there are fewer enrolled patients than cells, or if cells are too small to see anything in.
    """
    count = rows * columns
    if not 1 <= count <= preset.enrolled:
        raise ValueError(
            f"expected 1 to {preset.enrolled} images, the enrolled patients of {preset.name}, got {rows} x {columns}"
        )
    if cell < _SMALLEST:
        raise ValueError(f"expected cells of {_SMALLEST} pixels or more, got {cell}")
    foot = max(cell // 14, 10)
    sheet = Image.new("RGB", (columns * cell, rows * cell + foot))
    patients = zip(range(count), _enrolled(preset), strict=False)
    for place, patient in tqdm(patients, total=count, desc=f"sheet {preset.name}", unit="image"):
        row, column = divmod(place, columns)
        sheet.paste(_cell(preset, patient, cell), (column * cell, row * cell))
    sheet.paste(_legend(columns * cell, foot, preset), (0, rows * cell))
    file = io.BytesIO()
    sheet.save(file, format="PNG", optimize=True)
    return file.getvalue()
