import numpy as np
import pytest

from meddet.phantom.spine import Body, Spine, draw_spine

BODY = Body("F", 50.0, 1.0)


@pytest.fixture(scope="module")
def spines() -> list[Spine]:
    return [draw_spine(BODY, np.random.default_rng(seed)) for seed in range(1500)]


def test_back_is_the_middle_of_the_posterior_corners(spines):
    for spine in spines[:20]:
        for disc in range(12):
            corners = np.concatenate([spine.edge(disc, side, np.ones(1)) for side in (-1, 1)])
            np.testing.assert_allclose(spine.back(disc), corners.mean(axis=0), atol=1e-12)
            across = np.sqrt(((corners[1] - corners[0]) ** 2).sum())
            assert across == pytest.approx(np.hypot(spine.posterior_height(disc), spine.listhesis[disc]), abs=1e-9)


def test_the_endplate_above_a_disc_is_the_hollow_one(spines):
    u = np.array([-1.0, 0.0, 1.0])
    for spine in spines[:20]:
        above, below = (side * (spine.edge(3, side, u) - spine.centres[3]) @ spine.tangent(3) for side in (-1, 1))
        assert above[1] - above.min() >= below[1] - below.min() - 1e-9
        assert above[1] == pytest.approx(below[1])


def test_a_block_vertebra_is_rare_and_its_disc_thin(spines):
    blocks = [spine for spine in spines if spine.block >= 0]
    assert 0.003 < len(blocks) / len(spines) < 0.02
    assert {spine.block for spine in blocks} <= {0, 3, 4}
    usual = np.mean([spine.heights[:6].mean() for spine in spines])
    assert np.mean([spine.heights[spine.block] for spine in blocks]) < 0.75 * usual


def test_slipped_discs_are_as_common_and_as_far_as_the_design_says(spines):
    steps = np.abs(np.stack([spine.listhesis for spine in spines]))
    assert 0.03 < (steps[:, :6] > 0).mean() < 0.05
    assert steps[steps > 0].min() >= 1 and steps.max() <= 3
    assert steps[:, 6:].max() == 0


def test_the_pitch_is_that_of_the_design(spines):
    gaps = np.stack([np.sqrt((np.diff(spine.centres, axis=0) ** 2).sum(axis=1)) for spine in spines])
    assert gaps[:, :4].mean() == pytest.approx(16.6, abs=0.2)
    assert gaps[:, 4].mean() / gaps[:, :4].mean() == pytest.approx(1.12, abs=0.02)
