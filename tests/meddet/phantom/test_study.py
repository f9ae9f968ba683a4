from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.acceptance import geometry_findings
from meddet.phantom.pathology import contour, slice_depth, solve_shift
from meddet.phantom.presets import PRESETS, PROTRUSION_MM, stream
from meddet.phantom.study import DiscBox, Slice, cap_outline, disc_outline, draw_patient, draw_slice

FULL = PRESETS["full"].only("default")


@pytest.fixture(scope="module")
def slices() -> list[Slice]:
    """About 2,000 geometry-only draws: the enrolled patients of full, as many images as they have."""
    drawn = []
    for number in range(1, FULL.scanned + 1):
        patient = draw_patient(FULL, number)
        if not patient.exclusion:
            drawn += [draw_slice(FULL, patient, index) for index in range(1, patient.num_images + 1)]
    return drawn


@pytest.fixture(scope="module")
def boxes(slices: list[Slice]) -> list[tuple[DiscBox, float]]:
    return [(box, item.patient.frame.fov_mm) for item in slices for box in item.boxes]


def test_full_has_the_funnel_of_the_paper(slices):
    patients = [draw_patient(FULL, number) for number in range(1, 945)]
    reasons = [patient.exclusion for patient in patients]
    assert [reasons.count(r) for r in ("quality", "incomplete", "operated", "")] == [2, 6, 22, 914]
    assert len(slices) == 1848
    assert sum(p.num_images == 3 for p in patients if not p.exclusion) == 20


@pytest.mark.parametrize(("name", "scanned", "enrolled"), [("tiny", 12, 9), ("quick", 240, 231)])
def test_smaller_presets_keep_every_exclusion(name, scanned, enrolled):
    preset = PRESETS[name]
    reasons = [draw_patient(preset, number).exclusion for number in range(1, scanned + 1)]
    assert reasons.count("") == enrolled
    assert min(reasons.count(r) for r in ("quality", "incomplete", "operated")) >= 1


def test_every_enrolled_slice_has_six_boxes_inside_the_image(slices):
    for item in slices:
        assert [box.level for box in item.boxes] == list(range(6))
        corners = np.array([box.corners for box in item.boxes])
        assert corners.min() >= 0 and corners.max() <= item.patient.frame.fov_mm
        assert (corners[:, 2:] - corners[:, :2]).min() > 2


def test_boxes_and_labels_are_those_of_the_paper(slices):
    assert [finding for finding in geometry_findings(slices) if not finding.inside] == []


def test_few_protrusions_at_both_ends_of_the_neck(boxes):
    labels = np.array([[b.level, b.protruded] for b, _ in boxes])
    rate = [labels[labels[:, 0] == level, 1].mean() for level in range(6)]
    assert abs(rate[5] - rate[0]) < 0.08


def test_label_is_the_depth_in_that_slice(boxes):
    assert all(b.protruded == (b.depth_mm >= PROTRUSION_MM) for b, _ in boxes)


def test_label_noise_flips_only_near_the_threshold():
    noisy = replace(FULL, label_noise=1.0)
    patient = draw_patient(FULL, 5)
    for index in (1, 2):
        for clean, flipped in zip(
            draw_slice(FULL, patient, index).boxes, draw_slice(noisy, patient, index).boxes, strict=True
        ):
            near = abs(clean.depth_mm - PROTRUSION_MM) < 0.4
            assert (clean.protruded != flipped.protruded) == near
            assert clean.corners == flipped.corners


def test_easy_leaves_a_gap_between_the_classes():
    easy = FULL.only("easy")
    depths = [b.depth_mm for n in range(1, 60) for b in draw_slice(easy, draw_patient(easy, n), 1).boxes]
    assert not [d for d in depths if 0.8 < d < 1.8]
    assert min(depths) < 0.8 and max(depths) > 1.8


def test_boxes_are_tight_around_disc_and_protrusion(slices):
    for item in slices[::50]:
        patient, frame = item.patient, item.patient.frame
        c, s = np.cos(frame.rotation), np.sin(frame.rotation)
        for box in item.boxes:
            disc = disc_outline(patient.spine, box.level)
            cap = cap_outline(patient.spine, patient.pathology, box.level, box.depth_mm)
            p = np.concatenate([disc, cap]) if box.depth_mm > 0.05 else disc
            p = np.stack([c * p[:, 0] - s * p[:, 1], s * p[:, 0] + c * p[:, 1]], axis=1) + frame.origin_mm
            gap = np.concatenate([p.min(axis=0) - box.corners[:2], np.array(box.corners[2:]) - p.max(axis=0)])
            assert np.abs(gap).max() < 4.5
            assert gap[0] >= -0.3 and gap[2] >= -0.3


def test_depth_falls_off_the_apex():
    assert slice_depth(np.array([2.0]), np.array([1.0]), np.array([5.0]), 1.0, "default")[0] == 2.0
    assert slice_depth(np.array([2.0]), np.array([1.0]), np.array([5.0]), 6.0, "default")[0] == pytest.approx(2 / np.e)


def test_contour_has_its_depth_and_half_width():
    reach = contour(np.array([-4.0, -2.0, 0.0, 2.0, 4.0]), depth=3.0, half=2.0, skew=0.0)
    np.testing.assert_allclose(reach, [0, 1.5, 3, 1.5, 0], atol=1e-12)


def test_prevalence_moves_the_shift():
    assert solve_shift(0.60, "default") > solve_shift(0.45, "default") > solve_shift(0.30, "default")


def test_deep_protrusions_push_the_dura_and_the_cord_back(slices):
    deep = [(item, box) for item in slices for box in item.boxes if box.depth_mm > 3.5][:20]
    assert deep
    for item, box in deep:
        canal = item.canal
        near = np.abs(canal.arc - canal.disc_at[box.level] - item.patient.pathology.apex[box.level]) < 1.5
        assert canal.dura_front[near].max() > 0.75 * box.depth_mm
        assert (canal.dura_front <= canal.dura_back).all()
        assert (canal.cord_front <= canal.cord_back).all()


def test_incomplete_and_operated_patients_miss_boxes():
    for number in range(1, FULL.scanned + 1):
        patient = draw_patient(FULL, number)
        count = len(draw_slice(FULL, patient, 1).boxes) if patient.exclusion in ("incomplete", "operated") else None
        if patient.exclusion == "incomplete":
            assert 1 <= count <= 4
        elif patient.exclusion == "operated":
            assert count == 5


def test_streams_are_independent_and_repeatable():
    first, again = stream(1, 2, 3, "noise").random(4), stream(1, 2, 3, "noise").random(4)
    np.testing.assert_array_equal(first, again)
    others = [stream(1, 2, 3, "geometry"), stream(1, 2, 4, "noise"), stream(1, 3, 3, "noise"), stream(2, 2, 3, "noise")]
    assert all(not np.allclose(first, other.random(4)) for other in others)
