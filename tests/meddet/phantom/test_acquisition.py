from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.acquisition import acquire, acquired_lines, spectrum_of
from meddet.phantom.artefacts import Artefact
from meddet.phantom.protocol import Readout

CLEAN = Readout(
    matrix=64, phase_share=1.0, phase_axis=0, taper=0.0, enhance=0.0, thickness_mm=0, sigma=0.0
)  # fmt: skip


def _acquire(signal: np.ndarray, readout: Readout = CLEAN, *names: Artefact, shape=(64, 64), seed: int = 0):
    noise, rng = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    return acquire(
        signal, readout=readout, shape=shape, size_mm=(100.0, 100.0 * shape[0] / shape[1]), artefacts=names,
        noise=noise, rng=rng,
    )  # fmt: skip


def _smooth(height: int = 128, width: int = 128) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.exp(-(((y - 0.4 * height) / 14) ** 2) - ((x - 0.6 * width) / 18) ** 2)


@pytest.mark.parametrize("lines", [(16, 24), (15, 21), (64, 48)])
def test_spectrum_is_the_middle_of_the_fourier_transform(lines):
    signal = np.random.default_rng(0).random((64, 48))
    whole = np.fft.fft2(signal)
    waves = [np.arange(count) - count // 2 for count in lines]
    expected = whole[np.ix_(waves[0] % 64, waves[1] % 48)]
    inner = [slice(1, None) if count % 2 == 0 else slice(None) for count in lines]
    np.testing.assert_allclose(spectrum_of(signal, lines)[inner[0], inner[1]], expected[inner[0], inner[1]], atol=1e-9)


def test_a_smooth_object_comes_back_as_it_was():
    scan = _acquire(_smooth())
    blocks = _smooth().reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(scan.magnitude - blocks).max() < 0.06
    assert scan.magnitude.mean() == pytest.approx(_smooth().mean(), rel=1e-4)


def test_images_need_not_be_square():
    scan = _acquire(_smooth(96, 128), shape=(48, 64))
    assert scan.magnitude.shape == (48, 64)
    assert scan.matrix == (48, 64)
    assert np.unravel_index(scan.magnitude.argmax(), (48, 64)) == (19, 38)


@pytest.mark.parametrize("sigma", [0.03, 0.12, 0.3])
def test_noise_in_air_is_rician_with_the_asked_sigma(sigma):
    scan = _acquire(np.zeros((256, 256)), replace(CLEAN, matrix=128, sigma=sigma), shape=(128, 128))
    assert scan.magnitude.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.03)
    assert scan.magnitude.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.03)


def test_noise_over_bright_signal_is_gaussian_with_the_asked_sigma():
    scan = _acquire(np.full((256, 256), 5.0), replace(CLEAN, matrix=128, sigma=0.1), shape=(128, 128))
    assert scan.magnitude.std() == pytest.approx(0.1, rel=0.05)


def test_fewer_phase_lines_smear_along_the_phase_axis_alone():
    point = np.zeros((128, 128))
    point[64:66, 64:66] = 1
    scan = _acquire(point, replace(CLEAN, phase_share=0.5))
    along, across = scan.magnitude[:, 32], scan.magnitude[32]
    assert (along > 0.5 * along.max()).sum() > (across > 0.5 * across.max()).sum()
    assert acquired_lines(replace(CLEAN, phase_share=0.5), (64, 64), ()) == (32, 64)


def test_gibbs_lowers_the_lines_and_rings():
    edge = np.zeros((1024, 64))
    edge[512:] = 1
    readout = replace(CLEAN, matrix=512, taper=0.6)
    plain = _acquire(edge, readout, shape=(512, 32)).magnitude
    rung = _acquire(edge, readout, Artefact("gibbs", 3), shape=(512, 32))
    assert rung.matrix == (192, 32)
    assert rung.magnitude[300:480].std() > 2 * plain[300:480].std()
    assert rung.artefacts == ("gibbs:3",)


def test_enhancing_raises_edges_and_softening_lowers_them():
    steps = 1 / (1 + np.exp(-(np.arange(128) - 63.5) / 2))
    edge = np.ones((128, 1)) * steps * steps[::-1].cumsum().clip(0, 1)
    steep = [np.diff(_acquire(edge, replace(CLEAN, enhance=e)).magnitude[32, 24:40]).max() for e in (-0.5, 0.0, 0.6)]
    assert steep[0] < steep[1] < steep[2]


def test_a_thick_slice_blurs_front_to_back_more_than_head_to_feet():
    y, x = np.mgrid[:256, :256]
    signal = np.exp(-(((y - 128) / 5) ** 2) - ((x - 128) / 5) ** 2)

    def spreads(thickness_mm: int) -> tuple[float, float]:
        image = _acquire(signal, replace(CLEAN, matrix=128, thickness_mm=thickness_mm), shape=(128, 128)).magnitude
        return tuple(float((image * (axis[::2, ::2] - 128) ** 2).sum() / image.sum()) for axis in (y, x))

    thin, thick = spreads(0), spreads(5)
    assert thick[1] - thin[1] > thick[0] - thin[0] > 0
    assert thick[1] - thin[1] == pytest.approx((0.75 / (100 / 256)) ** 2, rel=0.1)
