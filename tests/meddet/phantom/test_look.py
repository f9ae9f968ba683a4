from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.look import export, jpeg_severity, to_uint8, window
from meddet.phantom.protocol import Look

DARK = Look("dark", 180.0, 1.0, 0.0, 0, 1.0, (0.0, 0.0), 0, 0)
RAMP = np.linspace(0, 2, 4096).reshape(64, 64)


@pytest.mark.parametrize("look", [DARK, replace(DARK, window="gamma", gamma=0.6), replace(DARK, window="csf"),
                                  replace(DARK, window="lifted", lift=20.0)])  # fmt: skip
def test_windows_keep_the_order_of_magnitudes(look):
    assert (np.diff(window(RAMP, look).ravel()) >= 0).all()


def test_dark_window_puts_the_fat_at_its_level_and_csf_window_csf():
    assert np.percentile(window(RAMP, DARK), 99.9) == pytest.approx(180, abs=0.1)
    assert window(np.ones((8, 8)), replace(DARK, window="csf", level=210.0)).max() == 210
    assert window(np.zeros((8, 8)), replace(DARK, window="lifted", lift=12.0)).min() == 12


def test_inverted_window_is_the_negative():
    look = replace(DARK, window="csf", level=200.0)
    positive, negative = window(RAMP / 2, look), window(RAMP / 2, replace(look, window="inverted"))
    np.testing.assert_allclose(positive + negative, 255, atol=1e-5)


def test_local_window_evens_out_a_slope():
    texture = 1 + 0.2 * np.sin(np.arange(256) / 2)[None, :]
    slope = np.linspace(0.2, 2, 256)[:, None] * texture
    grey = window(slope, replace(DARK, window="local"))
    assert grey[:64].mean() / grey[-64:].mean() > 2 * slope[:64].mean() / slope[-64:].mean()


def test_bars_cover_both_sides_with_one_tone():
    grey = export(np.full((40, 50), 99.0), replace(DARK, bars=(0.1, 0.0), bar_tone=7), (40, 50), flipped=False)
    assert (grey[:, :5] == 7).all() and (grey[:, -5:] == 7).all() and (grey[:, 5:-5] == 99).all()


def test_export_scales_flips_and_leaves_few_tones():
    small = np.tile(np.linspace(0, 200, 32), (16, 1))
    grey = export(small, DARK, (40, 80), flipped=True)
    assert grey.shape == (40, 80)
    assert grey[:, 0].mean() > 190 > 10 > grey[:, -1].mean()
    assert len(np.unique(export(small, replace(DARK, tones=16), (16, 32), flipped=False))) <= 16


def test_jpeg_changes_little_and_its_severity_follows_its_quality():
    grey = 100 + 50 * np.sin(np.arange(64) / 6)[None, :] * np.ones((64, 1))
    pressed = export(grey, replace(DARK, jpeg=75), (64, 64), flipped=False)
    assert 0 < np.abs(pressed - grey).max() < 15
    assert [jpeg_severity(q) for q in (0, 95, 84, 75)] == [0, 1, 2, 3]


def test_eight_bits_clip_and_round():
    assert to_uint8(np.array([[-5.0, 0.4, 0.6, 254.6, 400]])).tolist() == [[0, 0, 1, 255, 255]]
