from dataclasses import replace

import numpy as np
import pytest

from meddet.phantom.pathology import Protrusions, contour, half_width
from meddet.phantom.presets import PRESETS
from meddet.phantom.study import cap_outline, draw_patient


def _hidden(migration: float) -> Protrusions:
    six = np.zeros(6)
    return Protrusions(
        depth=six + 3, apex_z=six, reach_z=six + 5, apex=six, width=six + 0.8, skew=six, migration=six + migration,
        osteophyte=np.zeros(6, bool),
    )  # fmt: skip


@pytest.mark.parametrize("migration", [-6.0, -2.0, 2.0, 6.0])
def test_an_extrusion_has_a_neck_thinner_than_its_head_and_than_a_plain_base(migration):
    neck, plain = (half_width(_hidden(m), 2, 3.0, 3.0) for m in (migration, 0.0))
    head = 1.3 * neck
    assert neck < head and neck < plain and head == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("migration", [-5.0, 4.0])
def test_the_head_of_an_extrusion_lies_where_it_has_migrated(migration):
    patient = draw_patient(PRESETS["full"].only("default"), 8)
    hidden, spine = replace(patient.pathology, migration=np.full(6, migration), apex=np.zeros(6)), patient.spine
    outline = cap_outline(spine, hidden, 3, 3.0) - spine.back(3)
    along, reach = outline @ spine.tangent(3), outline @ spine.normal(3)
    stands_out = along[reach > 1.2]
    assert stands_out.min() < -0.5 and stands_out.max() > 0.5
    assert np.abs(along[reach > 0.5]).max() > abs(migration) + 1
    assert np.sign(along[np.abs(along).argmax()]) == np.sign(migration)


def test_a_contour_leans_to_its_longer_side():
    reach = contour(np.array([-2.0, 2.0]), depth=2.0, half=2.0, skew=0.3)
    assert reach[0] < 1 < reach[1]
