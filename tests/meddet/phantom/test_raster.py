import numpy as np
import pytest

from meddet.phantom.raster import Canvas, ellipse, inset, ribbon, spline


def _canvas(side: int = 96) -> Canvas:
    return Canvas(side=side, fov_mm=side, rotation=0.0, origin_mm=(side / 2, side / 2), rng=np.random.default_rng(0))


@pytest.mark.parametrize("soft_mm", [0.0, 0.3, 1.0, 2.0])
def test_a_soft_edge_keeps_the_area(soft_mm):
    canvas = _canvas()
    canvas.fill(ellipse((0, 0), (20, 10)), 1.0, grain=0, smooth=0, soft_mm=soft_mm)
    assert canvas.signal.sum() * canvas.pixel_mm**2 == pytest.approx(np.pi * 200, rel=0.03)


def test_strips_hold_what_one_box_would():
    canvas = _canvas(200)
    slanted = ribbon(spline([(-80, -80), (0, 10), (80, 85)], closed=False), 6.0)
    whole = np.zeros_like(canvas.signal)
    boxes = 0
    for where, share in canvas.coverage(slanted):
        assert whole[where].max(initial=0.0) == 0
        whole[where] = share
        boxes += share.size
    top, left, mask = canvas._mask(slanted, 0.0)
    np.testing.assert_array_equal(whole[top : top + len(mask), left : left + mask.shape[1]], mask / 255.0)
    assert boxes < 0.5 * mask.size


def test_nothing_is_covered_outside_the_image():
    assert list(_canvas().coverage(ellipse((900, 0), (5, 5)))) == []


@pytest.mark.parametrize("turn", [1, -1])
def test_inset_moves_inwards_whatever_the_direction(turn):
    circle = ellipse((3, -2), (10, 10))[::turn]
    radius = np.sqrt(((inset(circle, 2.5) - [3, -2]) ** 2).sum(axis=1))
    np.testing.assert_allclose(radius, 7.5, atol=1e-9)


def test_bone_is_marrow_in_a_black_wall():
    canvas = _canvas()
    canvas.signal[:] = 0.5
    canvas.bone(ellipse((0, 0), (12, 12)), 0.8, wall_mm=2.0, soft_mm=0.0, mottle=0.0)
    row = canvas.signal[canvas.side // 2]
    middle, wall = row[canvas.side // 2], row[canvas.side // 2 + 22]
    assert middle == pytest.approx(0.8, rel=0.35) and wall < 0.05 and row[5] == 0.5


def test_scale_multiplies_inside_only():
    canvas = _canvas()
    canvas.signal[:] = 1.0
    canvas.scale(ellipse((0, 0), (10, 10)), 0.25, soft_mm=0.2)
    assert canvas.signal[canvas.side // 2, canvas.side // 2] == 0.25
    assert canvas.signal[2, 2] == 1.0
