"""What is painted, looked at without scanner or noise."""

from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.canal import build_canal, dens_frame
from meddet.phantom.paint_axis import axis_outline, paint_axis, synchondrosis
from meddet.phantom.paint_canal import SPOT_COMPRESSION, paint_canal, paint_cord, paint_protrusion
from meddet.phantom.paint_column import modic_discs, paint_bodies, paint_discs
from meddet.phantom.paint_posterior import paint_posterior
from meddet.phantom.paint_spine import paint_spine
from meddet.phantom.presets import PRESETS
from meddet.phantom.raster import Canvas
from meddet.phantom.study import DiscBox, Patient, Slice, cap_outline, draw_patient, draw_slice
from meddet.phantom.tissue import Tissue, draw_tissue

PRESET = PRESETS["full"].only("default")
FOV_MM = 256.0


@pytest.fixture(scope="module")
def patient() -> Patient:
    drawn = draw_patient(PRESET, 8)
    return replace(drawn, pathology=replace(drawn.pathology, migration=np.zeros(6), osteophyte=np.zeros(6, bool)))


@pytest.fixture(scope="module")
def tissue(patient: Patient) -> Tissue:
    return draw_tissue(patient.protocol.sequence, np.random.default_rng(0))


def _canvas(level: float = 0.0, *, side: int = 256) -> Canvas:
    canvas = Canvas(side=side, fov_mm=FOV_MM, rotation=0.0, origin_mm=(120, 95), rng=np.random.default_rng(1))
    canvas.grain *= 0
    canvas.smooth *= 0
    canvas.mottle *= 0
    canvas.signal[:] = level
    return canvas


def _read(canvas: Canvas, points: np.ndarray) -> np.ndarray:
    index = (canvas.to_image(points) / canvas.pixel_mm).astype(int)
    return canvas.signal[index[:, 1], index[:, 0]]


def _slice(patient: Patient, depth: np.ndarray, z_mm: float = 0.0) -> Slice:
    item = draw_slice(PRESET, patient, 1)
    canal = build_canal(patient.spine, patient.canal_size, patient.pathology, depth, z_mm)
    return replace(item, z_mm=z_mm, canal=canal, boxes=())


@pytest.mark.parametrize("seed", range(8))
def test_the_synchondrosis_lies_13_to_17_mm_above_c23_and_spans_its_share(patient, seed):
    spine = patient.spine
    line = synchondrosis(spine, np.random.default_rng(seed))
    up = dens_frame(spine, np.array([1.0]), np.array([0.0]))[0] / spine.size
    height = line @ up
    assert height.min() > 12.3 and height.max() < 17.7
    length = np.hypot(*(line[-1] - line[0]))
    assert 0.4 * 12 < length < 0.9 * 13.5


def test_half_of_all_axes_have_a_dark_line_under_the_dens(patient, tissue):
    spine = patient.spine
    heights = np.arange(11.5, 19, 0.25)
    column = dens_frame(spine, heights / spine.size, np.zeros(len(heights)))
    dark = 0
    for seed in range(40):
        canvas = _canvas()
        paint_axis(canvas, spine, tissue, np.random.default_rng(seed))
        profile = _read(canvas, column)
        if profile.min() < 0.5 * np.median(profile):
            dark += 1
            assert 12.5 < heights[profile.argmin()] < 17.5
    assert 12 <= dark <= 28


def test_the_dens_stands_35_to_40_mm_above_c23(patient):
    outline = axis_outline(patient.spine, 38.0, 0.0)
    up = dens_frame(patient.spine, np.array([1.0]), np.array([0.0]))[0] / patient.spine.size
    assert (outline @ up).max() / patient.spine.size == pytest.approx(37.5, abs=1.0)


@pytest.mark.parametrize("depth", [1.0, 2.5, 5.0])
@pytest.mark.parametrize(("migration", "osteophyte"), [(0.0, False), (0.0, True), (5.0, False)])
def test_the_drawn_cap_fills_its_outline_and_stays_inside_the_box(patient, tissue, depth, migration, osteophyte):
    hidden = replace(patient.pathology, migration=np.full(6, migration), osteophyte=np.full(6, osteophyte))
    ill = replace(patient, pathology=hidden)
    canvas = _canvas(5.0)
    paint_protrusion(canvas, ill, DiscBox(3, depth, True, (0.0, 0.0, 1.0, 1.0)), tissue)
    outline = canvas.to_image(cap_outline(ill.spine, hidden, 3, depth)) / canvas.pixel_mm
    rows, columns = np.nonzero(canvas.signal < 4.0)
    slack = 3.0 if osteophyte else 0.8
    assert columns.max() * canvas.pixel_mm == pytest.approx(outline[:, 0].max() * canvas.pixel_mm, abs=0.8)
    assert rows.min() >= outline[:, 1].min() - slack / canvas.pixel_mm
    assert rows.max() <= outline[:, 1].max() + slack / canvas.pixel_mm
    spine = ill.spine
    ray = (
        spine.back(3) + hidden.apex[3] * spine.tangent(3) + np.linspace(0.2, depth - 0.6, 8)[:, None] * spine.normal(3)
    )
    assert _read(canvas, ray).max() < 4.0


def test_an_osteophyte_complex_is_darker_than_a_soft_protrusion(patient, tissue):
    dark = []
    for spur in (False, True):
        ill = replace(patient, pathology=replace(patient.pathology, osteophyte=np.full(6, spur), apex=np.zeros(6)))
        canvas = _canvas(5.0)
        paint_protrusion(canvas, ill, DiscBox(3, 3.0, True, (0.0, 0.0, 1.0, 1.0)), tissue)
        dark.append(_read(canvas, (ill.spine.back(3) + 2.2 * ill.spine.normal(3))[None])[0])
    assert dark[1] < 0.06 < dark[0]


def test_a_black_line_parts_the_protrusion_from_the_csf(patient, tissue):
    depth = np.array([0, 0, 0, 2.0, 0, 0])
    item = _slice(patient, depth)
    canvas = _canvas(side=640)
    paint_canal(canvas, item, tissue, np.random.default_rng(3))
    canal = item.canal
    arc = float(canal.disc_at[3] + patient.pathology.apex[3])
    front = float(np.interp(arc, canal.arc, canal.dura_front))
    line = _read(canvas, canal.at(arc, front + np.linspace(-0.6, 0.0, 4)))
    assert line.min() < 0.15


def test_a_pressed_cord_is_bright_at_times_and_a_free_one_never(patient, tissue):
    for depth, expected in ((0.0, 0), (5.5, 15)):
        item = _slice(patient, np.array([0, 0, 0, depth, 0, 0]))
        assert (item.canal.compression[3] > SPOT_COMPRESSION) == (depth > 0)
        middle = item.canal.at(item.canal.disc_at[3], float(_middle(item)))
        bright = 0
        for seed in range(100):
            canvas = _canvas(1.0)
            paint_cord(canvas, item, tissue, np.random.default_rng(seed))
            bright += bool(_read(canvas, middle)[0] > 1.3 * tissue["cord"])
        assert abs(bright - expected) <= 9 and (depth > 0 or bright == 0)


def _middle(item: Slice) -> float:
    canal = item.canal
    return float(np.interp(canal.disc_at[3], canal.arc, 0.52 * canal.cord_front + 0.48 * canal.cord_back))


def test_stem_and_cord_meet_without_a_seam(patient, tissue):
    item = _slice(patient, np.zeros(6))
    canvas = _canvas(1.0)
    paint_spine(canvas, item, tissue, np.random.default_rng(5))
    canal = item.canal
    arcs = canal.disc_at[0] - np.linspace(28, 50, 45) * patient.spine.size
    middle = canal.at(arcs, np.interp(arcs, canal.arc, 0.3 * canal.cord_front + 0.7 * canal.cord_back))
    profile = _read(canvas, middle) / tissue["cord"]
    assert profile.min() > 0.9 and profile.max() < 1.2
    assert np.abs(np.diff(profile)).max() < 0.08


def test_discs_are_darker_than_marrow_and_degenerate_ones_darker_still(patient, tissue):
    middles = {}
    for state in (0.05, 0.95):
        spine = replace(patient.spine, degeneration=np.full(12, state))
        item = replace(_slice(patient, np.zeros(6)), patient=replace(patient, spine=spine))
        canvas = _canvas()
        paint_bodies(canvas, spine, tissue, np.random.default_rng(2), plate_mm=0.7)
        paint_discs(canvas, item, tissue, np.random.default_rng(2), plate_mm=0.7)
        discs = _read(canvas, spine.centres[:6])
        bodies = _read(canvas, (spine.centres[:6] + spine.centres[1:7]) / 2 - 3 * spine.normal(3))
        assert np.median(discs) < np.median(bodies)
        middles[state] = np.median(discs)
    assert middles[0.95] < 0.7 * middles[0.05]


def test_modic_changes_come_with_age(patient):
    rng = np.random.default_rng(0)
    young, old = ([len(modic_discs(patient.spine, age, rng)) for _ in range(1500)] for age in (25.0, 75.0))
    assert 0.03 < np.mean(young) < 0.07 and 0.12 < np.mean(old) < 0.18


def test_beside_the_midline_laminae_stand_where_processes_were(patient, tissue):
    reach = []
    for z_mm in (0.0, 7.5):
        item = _slice(patient, np.zeros(6), z_mm)
        canvas = _canvas(5.0)
        paint_posterior(canvas, item, tissue, np.random.default_rng(4))
        canal = item.canal
        arc = canal.disc_at[5] + 8.0
        offsets = np.arange(0, 45, 0.5)
        painted = _read(canvas, canal.at(np.full(len(offsets), arc), np.interp(arc, canal.arc, canal.lamina) + offsets))
        reach.append(offsets[painted < 4.0].max())
    assert reach[0] > 18 and reach[1] < 0.75 * reach[0]
