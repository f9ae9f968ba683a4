from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.canal import CORD_END_MM, FORAMEN_MM, Canal, build_canal, dens_frame
from meddet.phantom.presets import PRESETS
from meddet.phantom.study import Patient, draw_patient

LEVEL = 3


@pytest.fixture(scope="module")
def patient() -> Patient:
    """A patient without listhesis or extrusions, whose only protrusion lies in the midline at C5/6."""
    drawn = draw_patient(PRESETS["full"].only("default"), 8)
    hidden = replace(drawn.pathology, migration=np.zeros(6), apex=np.zeros(6), skew=np.zeros(6))
    return replace(drawn, pathology=hidden)


def _canal(patient: Patient, depth: float, z_mm: float = 0.0) -> Canal:
    depths = np.zeros(6)
    depths[LEVEL] = depth
    return build_canal(patient.spine, patient.canal_size, patient.pathology, depths, z_mm)


def _at(canal: Canal, curve: np.ndarray, arc: float) -> float:
    return float(np.interp(arc, canal.arc, curve))


def test_csf_thins_first_then_the_cord_gives_way_by_half(patient):
    free = _canal(patient, 0.0)
    arc = float(free.disc_at[LEVEL])
    gap = _at(free, free.cord_front, arc) - _at(free, free.dura_front, arc)
    thickness = _at(free, free.cord_back, arc) - _at(free, free.cord_front, arc)
    assert gap > 0.5
    shallow = _canal(patient, 0.5 * gap)
    assert _at(shallow, shallow.dura_front, arc) > _at(free, free.dura_front, arc)
    assert _at(shallow, shallow.cord_front, arc) == pytest.approx(_at(free, free.cord_front, arc), abs=0.1)
    deep = _canal(patient, gap + 2.0)
    indented = _at(deep, deep.cord_front, arc) - _at(free, free.cord_front, arc)
    moved = _at(deep, deep.cord_back, arc) - _at(free, free.cord_back, arc)
    assert 0.8 < indented < 2.6
    assert moved == pytest.approx(indented / 2, abs=0.35)
    assert deep.compression[LEVEL] == pytest.approx(indented / thickness, abs=0.06)
    assert free.compression.max() < 0.05


def test_compression_grows_with_depth(patient):
    shares = [_canal(patient, depth).compression[LEVEL] for depth in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    assert (np.diff(shares) >= -1e-9).all()
    assert shares[-1] > 0.25


@pytest.mark.parametrize("depth", [0.0, 2.5, 5.5])
@pytest.mark.parametrize("z_mm", [0.0, 4.0, 8.0])
def test_the_order_from_front_to_back_holds(patient, depth, z_mm):
    canal = _canal(patient, depth, z_mm)
    for front, back in (("dura_front", "dura_back"), ("cord_front", "cord_back"), ("dura_back", "lamina")):
        assert (getattr(canal, front) <= getattr(canal, back) + 1e-9).all()
    assert (canal.cord_front >= canal.dura_front).all()


def test_the_cord_narrows_and_vanishes_beside_the_midline_but_the_medulla_stays(patient):
    arc_cord = 10.0 + float(_canal(patient, 0.0).disc_at[0])
    arc_stem = float(_canal(patient, 0.0).disc_at[0]) - (FORAMEN_MM + 8) * patient.spine.size
    widths = {}
    for z_mm in (0.0, 3.0, 5.0, CORD_END_MM + 0.1):
        canal = _canal(patient, 0.0, z_mm)
        widths[z_mm] = [_at(canal, canal.cord_back - canal.cord_front, arc) for arc in (arc_cord, arc_stem)]
    cord = [width[0] for width in widths.values()]
    assert (np.diff(cord) < 0).all() and cord[-1] == pytest.approx(0, abs=0.05)
    assert widths[CORD_END_MM + 0.1][1] > 3


def test_head_coordinates_are_heights_above_c23(patient):
    spine = patient.spine
    (point,) = dens_frame(spine, np.array([30.0]), np.array([0.0]))
    assert np.hypot(*point) == pytest.approx(30 * spine.size)
    assert point[1] < 0
