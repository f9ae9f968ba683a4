from collections import Counter
from dataclasses import replace

import pytest

from meddet.phantom.presets import PRESETS
from meddet.phantom.roles import roles, spread_modes


@pytest.mark.parametrize("name", ["tiny", "quick", "full"])
def test_half_of_every_group_is_default_and_half_diverse(name):
    preset = PRESETS[name]
    found = roles(preset)
    for group in (found, [r for r in found if not r.exclusion], [r for r in found if r.rated]):
        counts = Counter(role.mode for role in group)
        assert set(counts) == {"default", "diverse"}
        assert abs(counts["default"] - counts["diverse"]) <= 1


def test_every_beginning_of_a_mix_has_its_shares():
    mix = (("default", 0.5), ("diverse", 0.3), ("stress", 0.2))
    dealt = spread_modes(mix, 200)
    for end in range(1, 201):
        for mode, share in mix:
            assert abs(dealt[:end].count(mode) - share * end) < 1


def test_one_mode_takes_every_patient():
    assert {role.mode for role in roles(PRESETS["quick"].only("stress"))} == {"stress"}


def test_a_fifth_of_the_enrolled_is_read_by_raters_and_with_a_number_everyone():
    quick = PRESETS["quick"]
    assert sum(role.rated for role in roles(quick)) == round(0.2 * quick.enrolled)
    read = quick.read_by(2)
    assert sum(role.rated for role in roles(read)) == quick.enrolled
    assert not any(role.rated for role in roles(read) if role.exclusion)
    assert not any(role.rated for role in roles(replace(quick, raters=0)))


def test_refuses_more_raters_than_letters():
    with pytest.raises(ValueError, match="expected 0 to 26 raters"):
        roles(PRESETS["tiny"].read_by(27))
