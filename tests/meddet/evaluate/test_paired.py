from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from meddet.evaluate.paired import paired_bootstrap, paired_by_group
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally

Make = Callable[..., Scored]
Pick = Callable[[Scored, list[int]], Scored]


def test_a_model_against_itself_differs_by_exactly_nothing(make_scored: Make) -> None:
    scored = make_scored()
    for difference in paired_bootstrap(scored, scored, resamples=200).values():
        assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.champion == difference.challenger
        assert difference.n_patients == 12


def test_changing_sides_changes_the_sign(make_scored: Make) -> None:
    one, other = make_scored(skill=0.7), make_scored(skill=0.8, seed=1)
    there, back = paired_bootstrap(one, other, resamples=300), paired_bootstrap(other, one, resamples=300)
    for name, difference in there.items():
        assert back[name].difference == -difference.difference
        assert back[name].low == pytest.approx(-difference.high, abs=1e-12)
        assert back[name].high == pytest.approx(-difference.low, abs=1e-12)


def test_the_order_of_the_images_changes_nothing(make_scored: Make, pick: Pick) -> None:
    one, other = make_scored(skill=0.7), make_scored(skill=0.8, seed=1)
    order = np.random.default_rng(3).permutation(24).tolist()
    assert paired_bootstrap(pick(one, order), pick(other, order), resamples=200) == paired_bootstrap(
        one, other, resamples=200
    )


def test_a_model_made_worse_is_shown_to_be_worse(make_scored: Make) -> None:
    """Every fourth of its detections has the other class, and all score lower."""
    good = make_scored(patients=30, skill=0.9)
    worse = tuple(
        replace(
            each, scores=each.scores * 0.7, labels=torch.where(torch.arange(18) % 4 == 0, 1 - each.labels, each.labels)
        )
        for each in good.detections
    )
    differences = paired_bootstrap(good, replace(good, detections=worse))
    for name in ("ap50", "ap50.protrusion", "sensitivity", "sensitivity.protrusion", "sensitivity.any", "disc_auc"):
        assert differences[name].high < 0, name
    for difference in differences.values():
        assert difference.low <= difference.difference <= difference.high
    assert differences["ap50"].difference == differences["ap50"].challenger - differences["ap50"].champion


def test_the_interval_covers_a_known_mean_difference(make_scored: Make) -> None:
    """Two models that differ in false positives alone: the interval is that of a mean over patients."""
    one = make_scored(patients=25)
    quiet = replace(one, thresholds={"protrusion": 0.97, "non-protrusion": 0.97})
    name = "false_positives_per_image"
    difference = paired_bootstrap(one, quiet)[name]
    each = tally(quiet).numbers(np.eye(25))[name] - tally(one).numbers(np.eye(25))[name]
    assert difference.difference == pytest.approx(each.mean())
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * each.std() / np.sqrt(25), rel=0.1)


def test_patients_left_out_have_no_part(make_scored: Make, pick: Pick) -> None:
    one, other = make_scored(skill=0.7), make_scored(skill=0.8, seed=1)
    kept = sorted(set(one.patients))[:5]
    images = [index for index, patient in enumerate(one.patients) if patient in kept]
    chosen = paired_bootstrap(one, other, patients=kept, resamples=200)
    assert chosen == paired_bootstrap(pick(one, images), pick(other, images), resamples=200)
    assert chosen["ap50"].n_patients == 5


def test_nobody_left_is_undefined(make_scored: Make) -> None:
    one = make_scored()
    difference = paired_bootstrap(one, one, patients=[], resamples=50)["ap50"]
    assert (difference.champion, difference.low, difference.n_patients) == ("undefined (n=0)", "undefined (n=0)", 0)


def test_groups_are_compared_each_by_itself(make_scored: Make) -> None:
    one, other = make_scored(skill=0.7), make_scored(skill=0.8, seed=1)
    groups = paired_by_group(one, other, resamples=100)
    assert set(groups) == {("sex", "F"), ("sex", "M"), ("scanner", "A")}
    assert groups[("scanner", "A")] == paired_bootstrap(one, other, resamples=100)
    women = [p for p, group in zip(one.patients, one.groups, strict=True) if group["sex"] == "F"]
    assert groups[("sex", "F")] == paired_bootstrap(one, other, patients=women, resamples=100)
    some = paired_by_group(one, other, patients=women[:2], resamples=100)
    assert some[("sex", "F")]["ap50"].n_patients == 1
    assert some[("sex", "M")]["ap50"].n_patients == 0


def test_another_test_part_is_refused(make_scored: Make) -> None:
    one = make_scored()
    with pytest.raises(ValueError, match=r"test_md5: expected the same test part, got 0+ of .* and f+ of"):
        paired_bootstrap(one, replace(one, test_md5="f" * 32))
