from itertools import combinations

import numpy as np
import pytest

from meddet.phantom.acceptance import enrolled_slices
from meddet.phantom.presets import PRESETS, PROTRUSION_MM
from meddet.phantom.raters import LARGEST_ERROR_MM, draw_raters, read_slice
from meddet.phantom.study import Slice

FULL = PRESETS["full"]


@pytest.fixture(scope="module")
def slices() -> list[Slice]:
    return list(enrolled_slices(FULL, 300))


@pytest.fixture(scope="module")
def read(slices: list[Slice]) -> dict[str, list[dict[int, bool]]]:
    return {
        rater.name: [{r.level: r.protruded for r in read_slice(FULL, rater, item)} for item in slices]
        for rater in draw_raters(FULL)
    }


def _kappa(first: np.ndarray, second: np.ndarray) -> float:
    agreed = (first == second).mean()
    chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return float((agreed - chance) / (1 - chance))


def test_three_raters_agree_as_people_do(read):
    assert list(read) == ["a", "b", "c"]
    for one, other in combinations(read, 2):
        pairs = [(x[k], y[k]) for x, y in zip(read[one], read[other], strict=True) for k in x.keys() & y.keys()]
        first, second = np.array(pairs).T
        assert 0.6 < _kappa(first, second) < 0.8


def test_raters_see_clear_discs_as_they_are_and_differ_near_the_threshold(slices, read):
    differ = []
    for rater in draw_raters(FULL):
        for item, found in zip(slices, read[rater.name], strict=True):
            for box in item.boxes:
                if found.get(box.level, box.protruded) != box.protruded:
                    differ.append(abs(box.depth_mm - PROTRUSION_MM))
                    assert differ[-1] <= LARGEST_ERROR_MM + abs(rater.bias_mm)
    assert np.median(differ) < 0.4


def test_raters_overlook_one_disc_in_a_hundred(slices, read):
    total = sum(len(item.boxes) for item in slices) * len(read)
    seen = sum(len(found) for readings in read.values() for found in readings)
    assert 0.005 < 1 - seen / total < 0.015


def test_boxes_of_raters_are_near_and_inside(slices):
    rater = draw_raters(FULL)[0]
    offsets = []
    for item in slices:
        truth = {box.level: np.array(box.corners) for box in item.boxes}
        width, height = item.patient.frame.size_mm
        for reading in read_slice(FULL, rater, item):
            x1, y1, x2, y2 = reading.corners
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            offsets.append(np.array(reading.corners) - truth[reading.level])
    assert 0.35 < np.std(offsets) < 0.55
    assert np.abs(offsets).max() < 2.5


def test_a_rater_reads_the_same_slice_the_same_way_whoever_else_reads(slices):
    one, many = draw_raters(FULL)[0], draw_raters(FULL.read_by(5))[0]
    assert one == many
    assert read_slice(FULL, one, slices[0]) == read_slice(FULL.read_by(5), many, slices[0])
