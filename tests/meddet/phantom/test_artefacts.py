from collections import Counter

import numpy as np
import pytest

from meddet.phantom.acquisition import Scan, acquire
from meddet.phantom.artefacts import CHANCES, Artefact, draw_artefacts, motion, paint_metal, severity_of, spike, wrap
from meddet.phantom.presets import PRESETS
from meddet.phantom.protocol import Readout
from meddet.phantom.raster import Canvas
from meddet.phantom.study import draw_patient

READOUT = Readout(matrix=64, phase_share=1.0, phase_axis=0, taper=0.0, enhance=0.0, thickness_mm=0, sigma=0.0)


def _scan(*artefacts: Artefact) -> Scan:
    y, x = np.mgrid[:128, :128]
    signal = np.exp(-(((y - 64) / 9) ** 2) - ((x - 64) / 9) ** 2)
    return acquire(
        signal, readout=READOUT, shape=(64, 64), size_mm=(100.0, 100.0), artefacts=artefacts,
        noise=np.random.default_rng(0), rng=np.random.default_rng(3),
    )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_wrap_by_ten_percent_moves_the_energy_of_one_end_to_the_other(axis):
    signal = np.zeros((200, 200))
    np.moveaxis(signal, axis, 0)[-5] = 1
    folded = np.moveaxis(wrap(signal, 2, axis), axis, 0)
    rows = np.flatnonzero(folded.sum(axis=1))
    assert rows.tolist() == [4, 195]
    assert 0 < folded[4, 0] < 1 and folded[195, 0] == 1
    middle = np.zeros((200, 200))
    np.moveaxis(middle, axis, 0)[30:170] = 1
    np.testing.assert_array_equal(wrap(middle, 2, axis), middle)


def test_zipper_is_a_line_along_the_phase_axis():
    extra = np.abs(_scan(Artefact("zipper", 3)).magnitude - _scan().magnitude)
    columns = extra.sum(axis=0)
    bright = int(columns.argmax())
    assert columns[max(bright - 1, 0) : bright + 2].sum() > 0.5 * columns.sum()
    assert (extra[:, bright] > 0.1).mean() > 0.5


def test_ghosts_lie_along_the_phase_axis():
    extra = np.abs(_scan(Artefact("ghost", 3)).magnitude - _scan().magnitude)
    assert extra[:10, 20:44].max() > 0.02 or extra[-10:, 20:44].max() > 0.02 or extra.max() > 0.05
    assert extra[:, :12].max() < 0.2 * extra.max()


def test_spikes_are_stripes_of_one_height_all_over():
    extra = np.abs(_scan(Artefact("spike", 1)).magnitude - _scan().magnitude)
    quarters = [extra[:20, :20], extra[-20:, -20:], extra[:20, -20:], extra[-20:, :20]]
    heights = [quarter.max() for quarter in quarters]
    assert min(heights) > 0.5 * max(heights) > 0


def test_a_spike_is_part_of_the_largest_value():
    spectrum = np.zeros((64, 64), dtype=complex)
    spectrum[32, 32] = 10
    points = np.abs(spike(spectrum, 3, np.random.default_rng(0))) > 0
    assert 2 <= points.sum() <= 5
    added = spike(spectrum, 1, np.random.default_rng(0)) - spectrum
    assert 2 <= np.abs(added).max() <= 10


def test_motion_keeps_the_energy_and_the_middle_of_k_space():
    spectrum = np.fft.fftshift(np.fft.fft2(np.random.default_rng(1).random((64, 64))))
    moved = motion(spectrum, 3, 0, np.random.default_rng(2), size_mm=100.0)
    np.testing.assert_allclose(np.abs(moved), np.abs(spectrum))
    np.testing.assert_allclose(moved[32], spectrum[32])
    assert not np.allclose(moved, spectrum)


@pytest.mark.parametrize(("name", "radius"), [("void", 25.0), ("hardware", 10.0)])
def test_metal_leaves_a_void_with_a_bright_rim(name, radius):
    spine = draw_patient(PRESETS["full"], 1).spine
    canvas = Canvas(side=256, fov_mm=300, rotation=0.0, origin_mm=(150, 100), rng=np.random.default_rng(0))
    canvas.signal[:] = 1.0
    paint_metal(canvas, spine, (Artefact(name, 2),), np.random.default_rng(1))
    dark = (canvas.signal < 0.5).sum() * canvas.pixel_mm**2
    assert 0.5 * np.pi * radius**2 < dark < 1.3 * np.pi * radius**2
    assert canvas.signal.max() > 1.2


def _counts(mode: str, number: int = 4000) -> Counter:
    rng = np.random.default_rng(0)
    return Counter(a.name for _ in range(number) for a in draw_artefacts(mode, ruined=False, rng=rng))


def test_artefacts_come_as_often_as_the_design_says():
    plain, stress = _counts("default"), _counts("stress")
    for name, chance in CHANCES.items():
        assert plain[name] / 4000 == pytest.approx(chance, abs=0.02)
        if name != "hardware":
            assert stress[name] > 1.8 * plain[name]
    assert stress["hardware"] > 0 == plain["hardware"]
    assert not _counts("easy", 200)


def test_ruined_slices_have_the_worst_ghost_and_motion():
    found = draw_artefacts("default", ruined=True, rng=np.random.default_rng(0))
    assert severity_of(found, "ghost") == severity_of(found, "motion") == 3
    assert str(Artefact("ghost", 3)) == "ghost:3"
    assert severity_of((), "ghost") == 0
