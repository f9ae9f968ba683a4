import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, cohen_kappa_score, confusion_matrix, roc_auc_score, roc_curve

from meddet.evaluate.agreement import ROC_POINTS, Units, agreement, at_prevalence, roc


def some_units(*, patients: int = 15, number: int = 120, seed: int = 0) -> Units:
    random = np.random.default_rng(seed)
    truth = random.uniform(size=number) < 0.3
    share = np.round(np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0, 1), 2)  # with ties
    owner = np.concatenate([np.arange(patients), random.integers(0, patients, number - patients)])
    return Units(owner, truth, share > 0.5, share, 0.1 + 0.8 * share)


def whole(units: Units, patients: int = 15) -> dict[str, float]:
    return {name: float(value[0]) for name, value in agreement(units, np.ones((1, patients))).items()}


@pytest.mark.parametrize("seed", range(5))
def test_every_number_is_scikit_learns(seed: int) -> None:
    units = some_units(seed=seed)
    numbers = whole(units)
    (right_no, wrong_yes), (wrong_no, right_yes) = confusion_matrix(units.truth, units.called)
    assert numbers["sensitivity"] == pytest.approx(right_yes / (right_yes + wrong_no))
    assert numbers["specificity"] == pytest.approx(right_no / (right_no + wrong_yes))
    assert numbers["ppv"] == pytest.approx(right_yes / (right_yes + wrong_yes))
    assert numbers["npv"] == pytest.approx(right_no / (right_no + wrong_no))
    assert numbers["balanced_accuracy"] == pytest.approx((numbers["sensitivity"] + numbers["specificity"]) / 2)
    assert numbers["kappa"] == pytest.approx(cohen_kappa_score(units.truth, units.called))
    assert numbers["auc"] == pytest.approx(roc_auc_score(units.truth, units.share))
    assert numbers["brier"] == pytest.approx(brier_score_loss(units.truth, units.probability))


def test_gwets_ac1_stays_high_where_one_answer_is_rare_and_kappa_does_not() -> None:
    """118 of 125 agree, 1 of them on yes: Gwet 2008, pa = .944, q = 9 / 250, pe = 2 q (1 - q)."""
    truth = np.array([True] + [True] * 3 + [False] * 4 + [False] * 117)
    called = np.array([True] + [False] * 3 + [True] * 4 + [False] * 117)
    share = called.astype(float)
    numbers = whole(Units(np.zeros(125, dtype=int), truth, called, share, share), 1)
    chance = 2 * (9 / 250) * (1 - 9 / 250)
    assert numbers["ac1"] == pytest.approx((118 / 125 - chance) / (1 - chance))
    assert numbers["ac1"] > 0.93
    assert numbers["kappa"] < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_what_its_patients_written_down_as_often_give(seed: int) -> None:
    units = some_units(seed=seed)
    drawn = np.random.default_rng(seed).multinomial(15, np.full(15, 1 / 15))
    rows = np.concatenate([np.flatnonzero(units.owner == patient) for patient in np.repeat(np.arange(15), drawn)])
    again = Units(*(part[rows] for part in (units.owner, units.truth, units.called, units.share, units.probability)))
    weighted = agreement(units, drawn.astype(float)[None])
    for name, value in whole(again).items():
        assert weighted[name][0] == pytest.approx(value, nan_ok=True), name


def test_at_the_prevalence_that_was_found_the_predictive_values_are_those_that_were_found() -> None:
    units = some_units()
    numbers = agreement(units, np.ones((1, 15)))
    again = at_prevalence(numbers, float(units.truth.mean()))
    assert again["ppv"] == pytest.approx(numbers["ppv"])
    assert again["npv"] == pytest.approx(numbers["npv"])
    rare = at_prevalence({"sensitivity": np.array([0.8]), "specificity": np.array([0.9])}, 0.05)
    assert rare["ppv"] == pytest.approx([0.04 / 0.135])
    assert rare["npv"] == pytest.approx([0.855 / 0.865])


def test_the_roc_curve_is_scikit_learns() -> None:
    units = some_units()
    fpr, tpr, _ = roc_curve(units.truth, units.share, drop_intermediate=False)
    assert roc(units) == pytest.approx(np.stack([fpr, tpr], axis=1))
    many = roc(some_units(number=5000))
    assert len(many) <= ROC_POINTS
    assert many[[0, -1]].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    fine = some_units(number=5000)
    fine = Units(fine.owner, fine.truth, fine.called, fine.share + 1e-6 * np.arange(5000), fine.probability)
    assert len(roc(fine)) == ROC_POINTS


def test_fault_35_nothing_and_one_kind_alone_are_undefined() -> None:
    nothing = some_units().pick(np.zeros(120, dtype=bool))
    assert all(np.isnan(value) for value in whole(nothing).values())
    assert roc(nothing).shape == (0, 2)
    healthy = some_units()
    healthy = healthy.pick(~healthy.truth)
    numbers = whole(healthy)
    assert {name for name, value in numbers.items() if np.isnan(value)} == {"sensitivity", "balanced_accuracy", "auc"}
    assert roc(healthy).shape == (0, 2)
