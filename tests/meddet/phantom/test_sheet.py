import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from meddet.phantom.presets import PRESETS
from meddet.phantom.sheet import OTHER, PROTRUSION, contact_sheet, draw_box

TINY = PRESETS["tiny"]


def test_the_sheet_has_its_cells_its_legend_and_the_same_bytes_again():
    png = contact_sheet(TINY, rows=1, columns=3, cell=96)
    assert png == contact_sheet(TINY, rows=1, columns=3, cell=96)
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape[1] == 3 * 96 and picture.shape[0] > 96
    cells = [picture[:96, k * 96 : (k + 1) * 96] for k in range(3)]
    assert not np.array_equal(cells[0], cells[1])
    for cell in cells:
        coloured = (cell == PROTRUSION).all(axis=2) | (cell == OTHER).all(axis=2)
        assert coloured.sum() > 50
    assert picture[96:].max() > 200


def test_the_classes_differ_without_colour():
    share = []
    for protruded in (True, False):
        picture = Image.new("RGB", (60, 40))
        draw_box(ImageDraw.Draw(picture), (5.0, 5.0, 50.0, 30.0), protruded=protruded)
        share.append((np.asarray(picture)[5, 5:51].max(axis=1) > 0).mean())
    assert share[0] == 1 and 0.4 < share[1] < 0.7


@pytest.mark.parametrize(("rows", "columns", "cell"), [(0, 3, 96), (5, 5, 96), (1, 1, 20)])
def test_what_cannot_be_shown_is_refused(rows, columns, cell):
    with pytest.raises(ValueError, match="expected"):
        contact_sheet(TINY, rows=rows, columns=columns, cell=cell)
