import pytest

from meddet.phantom.acceptance import Finding, enrolled_slices, picture_findings, picture_statistics
from meddet.phantom.presets import PRESETS
from meddet.phantom.render import render

DEFAULT = PRESETS["full"].only("default")
NUM_IMAGES = 16
"""Enough for medians of pixel statistics to a tenth; benchmarks/phantom.py takes the 200 of phantom.md."""


@pytest.fixture(scope="module")
def pictures() -> dict[str, Finding]:
    slices = enrolled_slices(DEFAULT, NUM_IMAGES)
    return {f.name: f for f in picture_findings(picture_statistics(item, render(DEFAULT, item)) for item in slices)}


@pytest.mark.parametrize(
    "name", ["grey mean", *(f"grey p{p}" for p in ("50", "75", "90", "95", "99", "99.9")), "share below 12"]
)
def test_images_are_as_dark_as_those_of_the_paper(pictures, name):
    finding = pictures[name]
    assert 0.9 * finding.low <= finding.value <= 1.1 * finding.high


@pytest.mark.parametrize("name", ["air / CSF", "cord / CSF", "marrow / CSF", "disc p10 / CSF", "fat p99.9 / CSF"])
def test_contrasts_against_csf(pictures, name):
    assert pictures[name].inside, pictures[name]


def test_a_value_beyond_its_range_is_outside():
    assert Finding("x", 1.0, 0.5, 1.0).inside
    assert not Finding("x", 1.01, 0.5, 1.0).inside
