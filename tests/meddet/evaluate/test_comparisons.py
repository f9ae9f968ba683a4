from collections.abc import Callable

import numpy as np
import pytest

from meddet.evaluate.comparisons import FROC, METRICS, comparisons, holm, two_sided_p
from meddet.evaluate.froc import froc
from meddet.evaluate.paired import paired_bootstrap
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally

Make = Callable[..., Scored]
NAN = float("nan")


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.04, NAN, 0.01], [0.04, NAN, 0.02]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_by_hand(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected, nan_ok=True)


def test_p_counts_the_smaller_side_and_the_sample_itself() -> None:
    draws = np.asarray([-1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    assert two_sided_p(draws) == pytest.approx(2 * (1 + 1) / (9 + 1))
    assert two_sided_p(-draws) == two_sided_p(draws)
    assert two_sided_p(np.append(draws, NAN)) == two_sided_p(draws)
    assert two_sided_p(np.ones(999)) == 0.002
    assert two_sided_p(np.zeros(10)) == 1.0
    assert np.isnan(two_sided_p(np.full(3, NAN)))


def test_p_and_interval_say_the_same() -> None:
    random = np.random.default_rng(0)
    for shift in np.linspace(0, 4, 41):
        draws = random.normal(shift, 1, 2000)
        low, high = np.percentile(draws, [2.5, 97.5])
        if abs(low) > 0.02:
            assert (two_sided_p(draws) < 0.05) == bool(low > 0 or high < 0)


def test_rows_are_those_of_the_paired_bootstrap(make_scored: Make) -> None:
    models = {"student": make_scored(skill=0.9), "baseline": make_scored(noise=9.0, seed=1), "a": make_scored(seed=2)}
    tallies = {name: tally(scored) for name, scored in models.items()}
    rows = comparisons(tallies, model="student", resamples=300)
    assert [(row["metric"], row["against"]) for row in rows] == [
        (metric, name) for metric in (*METRICS, FROC) for name in ("baseline", "a")
    ]
    for row in rows:
        assert (row["family"], row["model"], row["n_patients"]) == (row["metric"], "student", 12)
        assert row["p"] <= row["p_holm"] <= min(2 * row["p"], 1)
        if row["metric"] != FROC:
            paired = paired_bootstrap(models[row["against"]], models["student"], resamples=300)[row["metric"]]
            got = (row["difference"], row["low"], row["high"])
            assert got == pytest.approx((paired.difference, paired.low, paired.high), abs=1e-12)
    one = np.ones((1, 12))
    at_one = {name: froc(counted, one)["protrusion.1"][0] for name, counted in tallies.items()}
    last = rows[-1]
    assert last["difference"] == pytest.approx(at_one["student"] - at_one["a"], abs=1e-12)
    worse = next(row for row in rows if row["metric"] == "ap50" and row["against"] == "baseline")
    assert worse["p_holm"] < 0.05
    assert worse["low"] > 0


def test_a_model_beside_itself_differs_by_nothing(make_scored: Make) -> None:
    counted = tally(make_scored(patients=4))
    for row in comparisons({"student": counted, "twin": counted}, model="student", resamples=50):
        assert (row["difference"], row["p"], row["p_holm"]) == (0.0, 1.0, 1.0)


def test_alone_there_is_nothing_to_compare(make_scored: Make) -> None:
    assert comparisons({"student": tally(make_scored(patients=2))}, model="student", resamples=5) == []
