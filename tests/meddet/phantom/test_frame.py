import numpy as np
import pytest

from meddet.phantom.frame import Frame
from meddet.phantom.presets import PRESETS
from meddet.phantom.study import Slice, draw_patient, draw_slice

DIVERSE = PRESETS["full"].only("diverse")


@pytest.fixture(scope="module")
def slices() -> list[Slice]:
    patients = (draw_patient(DIVERSE, number) for number in range(1, 301))
    return [draw_slice(DIVERSE, patient, 1) for patient in patients if not patient.exclusion]


def test_every_labelled_disc_lies_inside_a_diverse_image_and_its_bars(slices):
    for item in slices:
        assert [box.level for box in item.boxes] == list(range(6))
        size, bars = np.array(item.patient.frame.size_mm), np.array(item.patient.protocol.look.bars)
        corners = np.array([box.corners for box in item.boxes])
        assert (corners[:, :2] >= size * bars - 1e-9).all()
        assert (corners[:, 2:] <= size * (1 - bars) + 1e-9).all()
        assert (corners[:, 2:] - corners[:, :2]).min() > 3


def test_diverse_views_are_of_every_kind(slices):
    frames = [item.patient.frame for item in slices]
    fields = np.array([frame.fov_mm for frame in frames])
    assert fields.min() < 170 and fields.max() > 380 and (fields >= 160).all() and (fields <= 400.01).all()
    degrees = np.degrees([frame.rotation for frame in frames])
    assert np.abs(degrees).max() <= 15 and degrees.std() > 7
    assert 0.05 < np.mean([frame.flipped for frame in frames]) < 0.25
    shapes = {(item.patient.protocol.rows, item.patient.protocol.columns) for item in slices}
    assert all(256 <= side <= 640 for shape in shapes for side in shape)
    assert all(0.5 <= rows / columns <= 2 for rows, columns in shapes)
    assert any(r > c for r, c in shapes) and any(r < c for r, c in shapes) and any(r == c for r, c in shapes)
    tops = [min(box.corners[1] for box in item.boxes) / item.patient.frame.size_mm[1] for item in slices]
    assert min(tops) < 0.08 and max(tops) > 0.35


def test_diverse_annotators_are_wider_but_not_by_much(slices):
    def mean_size(chosen: list[Slice]) -> np.ndarray:
        corners = np.array([box.corners for item in chosen for box in item.boxes])
        return (corners[:, 2:] - corners[:, :2]).mean(axis=0)

    tight = [item for item in slices if not any(item.patient.protocol.margins_mm)]
    wide = [item for item in slices if any(item.patient.protocol.margins_mm)]
    assert ((mean_size(wide) - mean_size(tight)) > 1).all()
    assert ((mean_size(wide) - mean_size(tight)) < 3).all()
    assert max(margin for item in slices for margin in item.patient.protocol.margins_mm) < 2


def test_dicom_files_are_never_flipped(slices):
    assert not any(item.patient.frame.flipped for item in slices if item.patient.role.dicom)


def test_a_flip_mirrors_points_in_the_image():
    points = np.array([[0.0, 0.0], [10.0, 5.0]])
    straight = Frame(200.0, (80.0, 50.0), 0.2, (0.75, 1.0))
    mirrored = Frame(200.0, (80.0, 50.0), 0.2, (0.75, 1.0), flipped=True)
    there, back = straight.to_image(points), mirrored.to_image(points)
    np.testing.assert_allclose(there[:, 0] + back[:, 0], 150)
    np.testing.assert_array_equal(there[:, 1], back[:, 1])
    np.testing.assert_allclose(there[0], (80, 50))
