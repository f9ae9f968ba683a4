import numpy as np
import pytest

from meddet.evaluate.conformal import Conformal, fit_conformal, mean_loss
from meddet.evaluate.discs import Discs


def table(patients: list[str], scores: np.ndarray, protruded: np.ndarray | None = None) -> Discs:
    number = len(scores)
    return Discs(
        patient=np.array(patients, dtype=str),
        level=np.full(number, ""),
        protruded=np.ones(number, dtype=bool) if protruded is None else protruded,
        located=scores > 0,
        score=scores.astype(float),
        probability=np.where(scores > 0, 0.5, np.nan),
        named=np.full(number, ""),
    )


def drawn(random: np.random.Generator, patients: int) -> Discs:
    """Patients who differ in how hard their one to six protrusions are to see."""
    names, scores = [], []
    for patient in range(patients):
        number = int(random.integers(1, 7))
        hard = random.normal(0, 1)
        names += [f"{patient:03d}"] * number
        scores += (0.06 + 0.9 / (1 + np.exp(-random.normal(1.5 - hard, 1, number)))).tolist()
    return table(names, np.array(scores))


def loss(discs: Discs, threshold: float) -> np.ndarray:
    _, owner = np.unique(discs.patient, return_inverse=True)
    return np.bincount(owner, discs.score <= threshold) / np.bincount(owner)


def test_the_threshold_is_the_highest_that_holds() -> None:
    # Of 19 patients with one protrusion one may be missed: (1 + 1) / 20 = 0.1.
    scores = 0.1 + 0.01 * np.arange(19)
    promise = fit_conformal(table([f"{i:02d}" for i in range(19)], scores), alpha=0.1, least_score=0.05)
    assert promise.patients == 19
    assert promise.threshold is not None
    assert scores[0] <= promise.threshold < scores[1]
    assert promise.threshold == pytest.approx(0.11, abs=3e-6)
    assert promise.reason == ""


def test_patients_count_not_discs_and_those_without_a_protrusion_do_not() -> None:
    scores = np.array([0.1] * 30 + [0.5] * 18 + [0.9, 0.9])
    names = ["00"] * 30 + [f"{i:02d}" for i in range(1, 19)] + ["99", "00"]
    protruded = np.array([True] * 48 + [False, True])
    promise = fit_conformal(table(names, scores, protruded), alpha=0.1, least_score=0.05)
    assert promise.patients == 19
    assert promise.threshold == pytest.approx(0.5, abs=3e-6)


@pytest.mark.parametrize(
    ("patients", "score", "said"),
    [
        (8, 0.5, "expected at least 9 validation patients with a protrusion, got 8"),
        (0, 0.5, "got 0"),
        (9, 0.0, "misses"),
    ],
)
def test_where_no_threshold_holds_the_reason_is_told(patients: int, score: float, said: str) -> None:
    promise = fit_conformal(
        table([str(i) for i in range(patients)], np.full(patients, score)), alpha=0.1, least_score=0.05
    )
    assert promise.threshold is None
    assert said in promise.reason
    enough = fit_conformal(table([str(i) for i in range(9)], np.full(9, 0.5)), alpha=0.1, least_score=0.05)
    assert enough.threshold == pytest.approx(0.5, abs=3e-6)


def test_a_threshold_is_never_below_what_was_kept() -> None:
    promise = fit_conformal(table([str(i) for i in range(30)], np.full(30, 0.05)), alpha=0.1, least_score=0.05)
    assert promise.threshold == pytest.approx(0.05, abs=3e-6)
    assert promise.threshold < 0.05


@pytest.mark.parametrize(("alpha", "patients"), [(0.1, 25), (0.2, 12)])
def test_over_many_draws_of_exchangeable_patients_the_mean_loss_keeps_the_promise(alpha: float, patients: int) -> None:
    random = np.random.default_rng(5)
    losses, thresholds = [], []
    for _ in range(300):
        promise = fit_conformal(drawn(random, patients), alpha=alpha, least_score=0.05)
        thresholds.append(promise.threshold or 0.0)
        losses.append(loss(drawn(random, 40), promise.threshold or 0.0).mean())
    error = 3 * np.std(losses) / np.sqrt(300)
    assert np.mean(losses) <= alpha + error
    assert np.mean(losses) >= alpha - 2 / (patients + 1) - error  # not by calling everything
    # Without the correction for n the promise would be broken.
    naive = []
    for _ in range(300):
        discs = drawn(random, patients)
        best = max(
            t for t in np.append(np.sort(discs.score)[: 2 * patients] - 1e-9, 0.0) if loss(discs, t).mean() <= alpha
        )
        naive.append(loss(drawn(random, 40), best).mean())
    assert np.mean(naive) > np.mean(losses)


def test_the_mean_loss_weighs_patients() -> None:
    missed, owner = np.array([True, False, True]), np.array([0, 0, 2])
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 5.0, 0.0], [0.0, 1.0, 0.0]])
    value = mean_loss(missed, owner, weights)
    assert value[:2] == pytest.approx([0.75, 0.5])
    assert np.isnan(value[2])


def test_a_promise_says_what_it_lacks() -> None:
    assert Conformal(0.05, None, 3).reason == "expected at least 19 validation patients with a protrusion, got 3"
