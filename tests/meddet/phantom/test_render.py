from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom import render as rendering
from meddet.phantom.presets import PRESETS
from meddet.phantom.raster import Canvas, upsample
from meddet.phantom.render import Picture, render
from meddet.phantom.study import draw_patient, draw_slice
from meddet.phantom.tissue import spin_echo


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
