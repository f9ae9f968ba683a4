from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from meddet.data.funnel import Funnel, count_funnel, draw_funnel, exclusion, funnel_json
from meddet.data.raw import Patient, RawBox, RawImage

FULL = Funnel(
    scanned=944,
    excluded={"quality": 2, "incomplete": 6, "operated": 22, "no_image": 0},
    enrolled=914,
    images=1848,
    boxes={"protrusion": 4990, "non-protrusion": 6098},
    unlisted_files=0,
)


def patient(name: str, quality_ok: bool = True, complete: bool = True, operated: bool = False) -> Patient:
    flags = {"quality_ok": quality_ok, "complete": complete, "operated": operated}
    return Patient(patient_id=name, age=50, sex="F", scanner="X", field_strength_t=3, **flags)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((True, True, False), None),
        ((False, False, True), "quality"),
        ((True, False, True), "incomplete"),
        ((True, True, True), "operated"),
    ],
)
def test_the_first_reason_counts(flags: tuple[bool, bool, bool], reason: str | None) -> None:
    assert exclusion(patient("A", *flags)) == reason


def test_only_what_the_enrolled_have_is_counted() -> None:
    images = [RawImage(id=i, file_name=f"{i}.png", width=9, height=9, patient_id="AABC"[i]) for i in range(1, 4)]
    boxes = [RawBox(id=i + 1, image_id=1 + i // 2, category_id=1 + (i == 0), bbox=[0, 0, 1, 1]) for i in range(5)]
    patients = [patient("A"), patient("B"), patient("C", operated=True), patient("D")]
    assert funnel_json(count_funnel(patients, images, boxes, unlisted_files=3)) == {
        "scanned": 4,
        "excluded": {"quality": 0, "incomplete": 0, "operated": 1, "no_image": 1},
        "enrolled": 2,
        "images": 2,
        "boxes": {"protrusion": 3, "non-protrusion": 1},
        "unlisted_files": 3,
    }


def test_the_drawing_is_the_same_for_the_same_numbers_only(tmp_path: Path) -> None:
    other = Funnel(**{**funnel_json(FULL), "images": 1847})
    for name, funnel in (("a", FULL), ("b", FULL), ("c", other)):
        draw_funnel(tmp_path / f"{name}.png", funnel)
    first, same, changed = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == same != changed
    with PIL.Image.open(tmp_path / "a.png") as image:
        assert image.size == (1200, 810)
        assert np.asarray(image.convert("L")).std() > 10
