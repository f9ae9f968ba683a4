from dataclasses import dataclass, replace

import numpy as np
import pytest

from meddet.phantom import render as rendering
from meddet.phantom.look import to_uint8
from meddet.phantom.presets import PRESETS
from meddet.phantom.raster import Canvas, upsample
from meddet.phantom.render import Picture, render
from meddet.phantom.study import Slice, draw_patient, draw_slice
from meddet.phantom.tissue import spin_echo

FULL = PRESETS["full"].only("default")
NUM_IMAGES = 40
"""Enough for medians of pixel statistics; phantom.md asks for 200, which would take more than a minute."""


@dataclass(frozen=True)
class Statistics:
    grey: np.ndarray
    ratios: dict[str, float]


def _read(item: Slice, magnitude: np.ndarray, points: np.ndarray) -> np.ndarray:
    frame = item.patient.frame
    c, s = np.cos(frame.rotation), np.sin(frame.rotation)
    turned = np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], axis=1)
    index = ((turned + frame.origin_mm) / frame.fov_mm * len(magnitude)).astype(int).clip(0, len(magnitude) - 1)
    return magnitude[index[:, 1], index[:, 0]]


def _ratios(item: Slice, magnitude: np.ndarray) -> dict[str, float]:
    canal, spine = item.canal, item.patient.spine
    arcs = np.linspace(canal.disc_at[0], canal.disc_at[5], 120)

    def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return _read(item, magnitude, canal.at(arcs, np.interp(arcs, canal.arc, (first + second) / 2)))

    gaps = (between(canal.dura_front, canal.cord_front), between(canal.cord_back, canal.dura_back))
    csf = np.percentile(np.concatenate(gaps), 75)
    bodies = np.concatenate(
        [(spine.centres[i] + spine.centres[i + 1]) / 2 + [[x, 0.0] for x in (-3, -1, 1, 3)] for i in range(5)]
    )
    u = np.linspace(-0.9, 0.9, 20)
    discs = []
    for disc in range(6):
        upper, lower = spine.edge(disc, -1, u), spine.edge(disc, 1, u)
        discs.append(
            np.concatenate([_read(item, magnitude, upper + (lower - upper) * t) for t in np.linspace(0.1, 0.9, 9)])
        )
    return {
        "air": magnitude[5:60, 5:40].mean() / csf,
        "cord": np.median(between(canal.cord_front, canal.cord_back)) / csf,
        "marrow": np.median(_read(item, magnitude, bodies)) / csf,
        "disc_p10": np.percentile(np.concatenate(discs), 10) / csf,
        "fat": np.percentile(magnitude, 99.9) / csf,
    }


@pytest.fixture(scope="module")
def statistics() -> list[Statistics]:
    found = []
    for number in range(201, 201 + NUM_IMAGES):
        item = draw_slice(FULL, draw_patient(FULL, number), 1)
        picture = render(FULL, item)
        found.append(Statistics(to_uint8(picture.grey), _ratios(item, picture.scan.magnitude)))
    return found


@pytest.mark.parametrize(
    ("percentile", "low", "high"),
    [(50, 6, 15), (75, 22, 48), (90, 50, 84), (95, 78, 124), (99, 113, 184), (99.9, 142, 218)],
)
def test_grey_values_lie_in_the_ranges_of_the_paper(statistics, percentile, low, high):
    assert low <= np.median([np.percentile(s.grey, percentile) for s in statistics]) <= high


def test_images_are_as_dark_as_those_of_the_paper(statistics):
    assert 20 <= np.median([s.grey.mean() for s in statistics]) <= 33
    assert 0.45 <= np.median([(s.grey < 12).mean() for s in statistics]) <= 0.61


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("air", 0.04, 0.09), ("cord", 0.3, 0.6), ("marrow", 0.4, 0.9), ("disc_p10", 0.0, 0.15), ("fat", 1.4, 4.8)],
)
def test_contrasts_against_csf(statistics, name, low, high):
    assert low <= np.median([s.ratios[name] for s in statistics]) <= high


def _small(**change: object) -> Picture:
    preset = replace(PRESETS["tiny"].only("default"), **change)
    return render(preset, draw_slice(preset, draw_patient(preset, 3), 1))


def test_same_seed_same_array_and_other_seed_another():
    np.testing.assert_array_equal(_small().grey, _small().grey)
    assert not np.array_equal(_small().grey, _small(seed=5).grey)


def test_another_noise_leaves_the_object_as_it_was(monkeypatch):
    preset = PRESETS["tiny"].only("default")
    item = draw_slice(preset, draw_patient(preset, 3), 1)
    before = rendering.paint(preset, item)[0].signal
    first = render(preset, item).scan.magnitude
    original = rendering.stream
    monkeypatch.setattr(rendering, "stream", lambda s, p, i, n: original(s + (n == "noise"), p, i, n))
    assert not np.array_equal(first, render(preset, item).scan.magnitude)
    np.testing.assert_array_equal(before, rendering.paint(preset, item)[0].signal)


def test_ruined_images_are_noisier():
    preset = PRESETS["tiny"]
    numbers = range(1, preset.scanned + 1)
    ruined = next(n for n in numbers if draw_patient(preset, n).exclusion == "quality")
    picture = render(preset, draw_slice(preset, draw_patient(preset, ruined), 1))
    assert picture.scan.sigma == 0.3
    assert {"ghost:3", "motion:3"} <= set(picture.scan.artefacts)


def test_noise_in_air_is_rician():
    picture = _small()
    air = picture.scan.magnitude[4:40, 4:20]
    assert air.mean() == pytest.approx(picture.scan.sigma * np.sqrt(np.pi / 2), rel=0.25)


def test_spin_echo_gives_the_table_of_the_design():
    csf, cord = spin_echo(3000, 108, np.array([[4273.0, 1578.0, 107.5], [780.0, 102.0, 58.7]]))
    assert cord / csf == pytest.approx(0.39, abs=0.01)


def test_fill_covers_the_area_of_its_polygon():
    canvas = Canvas(side=64, fov_mm=64, rotation=0.0, origin_mm=(32, 32), rng=np.random.default_rng(0))
    square = np.array([(-5.0, -5), (5, -5), (5, 5), (-5, 5)])
    canvas.fill(square, 2.0, grain=0, smooth=0)
    assert canvas.signal.sum() * canvas.pixel_mm**2 == pytest.approx(200, rel=0.03)
    canvas.fill(square + 500, 2.0)
    assert canvas.signal[:20].max() == 0


def test_image_coordinates_come_back():
    canvas = Canvas(side=32, fov_mm=200, rotation=0.3, origin_mm=(90, 70), rng=np.random.default_rng(0))
    points = np.array([(1.0, 2.0), (-30, 44)])
    np.testing.assert_allclose(canvas.from_image(canvas.to_image(points)), points, atol=1e-12)


def test_upsample_keeps_corners_and_lines():
    field = upsample(np.array([[0.0, 1.0], [2.0, 3.0]]), (5, 3))
    np.testing.assert_allclose(field[:, 0], [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(field[0], [0, 0.5, 1])
