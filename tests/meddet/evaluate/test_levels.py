import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meddet.classes import LEVELS
from meddet.evaluate.calibration import IDENTITY
from meddet.evaluate.levels import LevelPrior, centres, fit_levels, name_detections, name_levels
from meddet.structures import Detections, Region, Target

HALF = np.array([15, 6])
REGION = Region(100.0, 50.0, 300.0, 450.0)
MEAN = np.stack([0.5 + 0.02 * np.arange(6), 0.13 + 0.145 * np.arange(6)], axis=1)
COLUMN = np.array([[x * 200 + 100, y * 400 + 50] for x, y in MEAN])


def target(at: np.ndarray) -> Target:
    boxes = np.concatenate([at - HALF, at + HALF], axis=1)
    return Target(torch.tensor(boxes, dtype=torch.float32), torch.zeros(len(at), dtype=torch.int64))


def necks(count: int, seed: int = 0) -> list[np.ndarray]:
    """Six centres in the region's pixels: the column lies, stretches and bends differently in each."""
    random = np.random.default_rng(seed)
    shift, stretch = random.normal(0, (8, 6), (count, 1, 2)), 1 + random.normal(0, 0.05, (count, 1, 1))
    middle = COLUMN.mean(axis=0)
    return list((COLUMN - middle) * stretch + middle + shift + random.normal(0, 2, (count, 6, 2)))


@pytest.fixture(scope="module")
def prior() -> LevelPrior:
    made = fit_levels([target(each) for each in necks(200)], [list(LEVELS)] * 200, [REGION] * 200)
    assert made is not None
    return made


def relative(at: np.ndarray) -> np.ndarray:
    return centres(target(at).boxes.numpy(), REGION)


def test_the_prior_is_mean_and_covariance_of_the_centres_in_the_region(prior: LevelPrior) -> None:
    rows = np.stack([relative(each).ravel() for each in necks(200)])
    assert prior.images == 200
    assert prior.mean == pytest.approx(rows.mean(axis=0))
    assert np.asarray(prior.covariance) == pytest.approx(np.cov(rows, rowvar=False) + 1e-4 * np.eye(12))


def test_an_image_without_all_levels_tells_nothing_and_one_image_is_no_prior() -> None:
    whole, part = target(COLUMN), target(COLUMN[:5])
    assert fit_levels([whole, part], [list(LEVELS), list(LEVELS[:5])], [REGION] * 2) is None
    unknown = [[*LEVELS[:5], ""]] * 2
    assert fit_levels([whole, whole], unknown, [REGION] * 2) is None
    both = fit_levels([whole, whole], [list(LEVELS)] * 2, [REGION] * 2)
    assert both is not None
    assert name_levels(relative(COLUMN), np.full(6, 0.9), both) == LEVELS


@pytest.mark.parametrize("seed", range(5))
def test_six_clean_boxes_are_named_right_in_any_order(prior: LevelPrior, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(6)
    (neck,) = necks(1, seed=1000 + seed)
    names = name_levels(relative(neck)[order], np.full(6, 0.9), prior)
    assert names == tuple(LEVELS[place] for place in order)


@pytest.mark.parametrize("missing", range(6))
def test_five_boxes_are_named_as_what_they_are(prior: LevelPrior, missing: int) -> None:
    rest = [place for place in range(6) if place != missing]
    names = name_levels(relative(COLUMN[rest]), np.full(5, 0.9), prior)
    assert names == tuple(LEVELS[place] for place in rest)


def test_what_fits_no_level_stays_unnamed(prior: LevelPrior) -> None:
    step = COLUMN[1] - COLUMN[0]
    synchondrosis, thoracic, aside = COLUMN[0] - 0.62 * step, COLUMN[5] + step, COLUMN[2] + np.array([70, 10])
    at = np.stack([synchondrosis, *COLUMN, thoracic, aside])
    assert name_levels(relative(at), np.full(9, 0.9), prior) == ("", *LEVELS, "", "")


def test_between_two_boxes_at_one_place_confidence_decides(prior: LevelPrior) -> None:
    at = np.concatenate([COLUMN, COLUMN[3:4] + np.array([0, 12])])
    assert name_levels(relative(at), np.array([0.9] * 6 + [0.05]), prior) == (*LEVELS, "")
    moved = np.array([0.9, 0.9, 0.9, 0.05, 0.9, 0.9, 0.9])
    assert name_levels(relative(at), moved, prior)[3] == ""


def test_a_column_half_a_level_off_is_left_unnamed_and_a_smaller_margin_names_it(prior: LevelPrior) -> None:
    """Boxes midway between two ways to name them: the chain one level up or down is as likely."""
    step = (COLUMN[5] - COLUMN[0]) / 5
    middle = COLUMN[1:5] + step / 2
    assert name_levels(relative(middle), np.full(4, 0.9), prior) == ("",) * 4
    named = name_levels(relative(middle), np.full(4, 0.9), prior, margin=0.0)
    assert [LEVELS.index(name) for name in named if name] == sorted(LEVELS.index(name) for name in named if name)
    assert len([name for name in named if name]) >= 3


@settings(max_examples=40, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0.0, 1.0)), min_size=0, max_size=12
    ),
    margin=st.sampled_from([0.0, 3.0]),
)
def test_whatever_comes_the_order_is_kept_and_each_level_given_once(
    prior: LevelPrior, places: list[tuple[float, float, float]], margin: float
) -> None:
    rows = np.array(places, dtype=float).reshape(-1, 3)
    names = name_levels(rows[:, :2], rows[:, 2], prior, margin=margin)
    down = [LEVELS.index(names[box]) for box in np.argsort(rows[:, 1], kind="stable") if names[box]]
    assert down == sorted(set(down))
    if margin > 0:
        bolder = name_levels(rows[:, :2], rows[:, 2], prior, margin=0.0)
        assert all(name in ("", other) for name, other in zip(names, bolder, strict=True))


def brute_force(centre: np.ndarray, confidence: np.ndarray, prior: LevelPrior) -> tuple[str, ...]:
    """The best of all chains, by the head of the module, with scipy's densities."""
    from itertools import combinations

    from scipy.stats import multivariate_t

    mean, covariance = np.asarray(prior.mean), np.asarray(prior.covariance)
    order = np.argsort(centre[:, 1], kind="stable")
    odds = np.log(confidence) - np.log1p(-confidence)

    def slots(level: int) -> list[int]:
        return [2 * level, 2 * level + 1]

    def chain(boxes: tuple[int, ...], levels: tuple[int, ...]) -> float:
        total = (6 - len(boxes)) * np.log(0.05)
        for place, (box, level) in enumerate(zip(boxes, levels, strict=True)):
            at, shape = mean[slots(level)], covariance[np.ix_(slots(level), slots(level))]
            if place:
                before, other = boxes[place - 1], slots(levels[place - 1])
                cross = covariance[np.ix_(slots(level), other)] @ np.linalg.inv(covariance[np.ix_(other, other)])
                at = at + cross @ (centre[before] - mean[other])
                shape = shape - cross @ covariance[np.ix_(other, slots(level))]
            total += multivariate_t.logpdf(centre[box], at, shape, df=4) + odds[box]
        return float(total)

    best, names = 6 * np.log(0.05), ("",) * len(centre)
    for number in range(1, min(len(centre), 6) + 1):
        for boxes in combinations(order.tolist(), number):
            for levels in combinations(range(6), number):
                value = chain(boxes, levels)
                if value > best:
                    best = value
                    given = dict(zip(boxes, levels, strict=True))
                    names = tuple(LEVELS[given[box]] if box in given else "" for box in range(len(centre)))
    return names


@pytest.mark.parametrize("seed", range(4))
def test_the_chain_is_the_best_of_all_chains(prior: LevelPrior, seed: int) -> None:
    random = np.random.default_rng(seed)
    kept = np.sort(random.permutation(6)[:4])
    at = np.concatenate([MEAN[kept] + random.normal(0, 0.03, (4, 2)), random.uniform(0, 1, (1, 2))])
    confidence = random.uniform(0.05, 0.95, 5)
    assert name_levels(at, confidence, prior, margin=0.0) == brute_force(at, confidence, prior)


def detections(shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> Detections:
    """Two boxes of different class and IoU .55 at every disc, and one of another place."""
    at = np.concatenate([COLUMN, COLUMN + np.array([8, 0]), COLUMN[:1] - (0, 45)])
    boxes = (target(at).boxes + torch.tensor(shift * 2)) * scale
    scores = torch.tensor([0.9] * 6 + [0.4] * 6 + [0.1])
    return Detections(boxes, scores, torch.tensor([0] * 6 + [1] * 6 + [0]))


def test_every_box_at_a_place_is_named_alike(prior: LevelPrior) -> None:
    assert name_detections(detections(), REGION, prior, confidence=IDENTITY) == (*LEVELS, *LEVELS, "")


def test_moving_and_scaling_the_image_changes_nothing(prior: LevelPrior) -> None:
    region = Region(*(2 * (side + 30) for side in (REGION.x1, REGION.y1, REGION.x2, REGION.y2)))
    moved = name_detections(detections((30.0, 30.0), 2.0), region, prior, confidence=IDENTITY)
    assert moved == (*LEVELS, *LEVELS, "")


def test_no_box_and_no_prior_name_nothing(prior: LevelPrior) -> None:
    nothing = Detections(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64))
    assert name_detections(nothing, REGION, prior, confidence=IDENTITY) == ()
    assert name_detections(detections(), REGION, None, confidence=IDENTITY) == ("",) * 13
