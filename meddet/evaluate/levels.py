"""Which disc is which: boxes are named C2/3 to C7/T1 as an ordered chain, or not at all where that is in doubt.

The six centres of an image, relative to the region that the detector looked at, have mean and covariance from the
training annotations, and the tails of Student's t, as a region may lie badly. A chain gives some of the boxes, from the
top, levels in order; a level without a box is skipped, a box without a level is something else (the C2 synchondrosis,
T1/2). Its log-likelihood adds, for each named box, log p(first centre), then log p(centre | centre named before), which
holds both position and spacing, and log c - log(1 - c) of the box's confidence c against a box that is anywhere
(density 1 over the region); each skipped level costs log(`_MISSED`). The best chain is found by dynamic programming
over (box, level), and so is, for each box, the best chain that gives it another level: where that rival is nearly as
likely, the box stays unnamed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_iou, nms

from meddet.classes import LEVELS
from meddet.structures import Detections, Region, Target

MARGIN = 3.0
"""Log-likelihood by which a chain must beat every rival that gives a box another level: 20 to 1."""
_SAME_PLACE = 0.3
_JITTER = 0.01
_MISSED = 0.05
_CONFIDENCE = (0.01, 0.99)
_LEAST_IMAGES = 2
_FREEDOM = 4.0
_NUM = len(LEVELS)


@dataclass(frozen=True)
class Knots:
    """A rising function: straight between its knots, level beyond them.

    Errors:
        ValueError: no knots, or not as many values as scores, or one falls.
    """

    score: tuple[float, ...]
    value: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no rising function."""
        falls = any(second < first for each in (self.score, self.value) for first, second in pairwise(each))
        if falls or not self.score or len(self.score) != len(self.value):
            raise ValueError(f"expected as many rising values as rising scores, got {len(self.score)} scores")

    def __call__(self, scores: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Read scores."""
        return np.asarray(np.interp(scores, self.score, self.value))


@dataclass(frozen=True)
class LevelPrior:
    """Where the six discs lie: x and y of each centre in widths and heights of the region, C2/3 first.

    Errors:
        ValueError: not twelve numbers, or no covariance of twelve.
    """

    mean: tuple[float, ...]
    """x, y of C2/3, x, y of C3/4, ...: twelve numbers."""
    covariance: tuple[tuple[float, ...], ...]
    """Twelve by twelve."""
    images: int
    """Annotated images that it rests on."""

    def __post_init__(self) -> None:
        """Refuse what has no density."""
        sizes = {len(self.mean), len(self.covariance), *map(len, self.covariance)}
        if sizes != {2 * _NUM} or not _is_covariance(np.asarray(self.covariance)):
            raise ValueError("expected the mean and covariance of twelve coordinates")


def _is_covariance(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all() and np.allclose(matrix, matrix.T) and np.linalg.eigvalsh(matrix).min() > 0)


def fit_levels(
    targets: Sequence[Target], levels: Sequence[Sequence[str]], regions: Sequence[Region]
) -> LevelPrior | None:
    """Take mean and covariance of the centres over the images on which all six levels are annotated once.

    The covariance gains `_JITTER` squared on its diagonal: detected boxes lie less exactly than annotated ones.

    Args:
        targets: of the training images, as are the others.
        levels: of each annotated disc, "" if unknown (`disc_levels`).
        regions: that the detector looks at.

    Returns:
        None where fewer than two images have all levels.
    """
    rows = [
        centres(target.boxes.numpy(), region)[[names.index(level) for level in LEVELS]].ravel()
        for target, names, region in zip(targets, map(list, levels), regions, strict=True)
        if sorted(names) == sorted(LEVELS)
    ]
    if len(rows) < _LEAST_IMAGES:
        return None
    covariance = np.cov(np.stack(rows), rowvar=False) + _JITTER**2 * np.eye(2 * _NUM)
    return LevelPrior(
        mean=tuple(np.mean(rows, axis=0).tolist()),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
        images=len(rows),
    )


def centres(boxes: Float[np.ndarray, "N 4"], region: Region) -> Float[np.ndarray, "N 2"]:
    """Give the boxes' centres in widths and heights of the region."""
    middle = (boxes[:, :2].astype(float) + boxes[:, 2:]) / 2
    return (middle - (region.x1, region.y1)) / (region.width, region.height)


def places(detections: Detections) -> Int[Tensor, " P"]:
    """Give the index of the best-scoring box at each place, by falling score.

    Boxes of whatever class with IoU > .3 are at one place; neighbouring discs never overlap so much.
    """
    return nms(detections.boxes, detections.scores, _SAME_PLACE)


def name_detections(
    detections: Detections, region: Region, prior: LevelPrior | None, *, confidence: Knots, margin: float = MARGIN
) -> tuple[str, ...]:
    """Name the level of every detection of an image, "" where it is none or in doubt.

    The best-scoring box of each place takes part in the chain; the others are named as it is.

    Args:
        detections: of both classes.
        region: that the detector looked at.
        prior: None names nothing.
        confidence: best score at a place to the probability of a disc there.
        margin: as `name_levels`.
    """
    if prior is None or len(detections.boxes) == 0:
        return ("",) * len(detections.boxes)
    kept = places(detections)
    at = centres(detections.boxes[kept].numpy(), region)
    is_disc = confidence(detections.scores[kept].double().numpy())
    names = name_levels(at, is_disc, prior, margin=margin)
    place = box_iou(detections.boxes, detections.boxes[kept]).argmax(dim=1)
    return tuple(names[index] for index in place.tolist())


def name_levels(
    centre: Float[np.ndarray, "N 2"], confidence: Float[np.ndarray, " N"], prior: LevelPrior, *, margin: float = MARGIN
) -> tuple[str, ...]:
    """Name boxes, one of each place, by the most likely chain.

    Args:
        centre: x, y in widths and heights of the region.
        confidence: that the box is a disc, 0..1.
        prior: where discs lie.
        margin: least log-likelihood ratio to the best chain in which this box has another level.

    Returns:
        a level of each box, "" where the best chain leaves it out or a rival is within `margin`.
    """
    order = np.argsort(centre[:, 1], kind="stable")
    through, outside = _best_through(centre[order], confidence[order], prior)
    names = [""] * len(order)
    for row, box in enumerate(order.tolist()):
        ranked = np.sort(through[row])
        if ranked[-1] > outside[row] and ranked[-1] - ranked[-2] > margin:
            names[box] = LEVELS[int(through[row].argmax())]
    return tuple(names)


@dataclass(frozen=True)
class _Steps:
    """The prior as densities: of a first centre (6, ...), and of a centre given the one named before it (6, 6, ...)."""

    mean: Float[np.ndarray, "6 2"]
    first: Float[np.ndarray, "6 2 2"]
    """Whitens centre - mean; so do the others below."""
    slope: Float[np.ndarray, "6 6 2 2"]
    """Of the later centre on the earlier one."""
    later: Float[np.ndarray, "6 6 2 2"]


@lru_cache(maxsize=8)
def _steps(prior: LevelPrior) -> _Steps:
    covariance = np.asarray(prior.covariance).reshape(_NUM, 2, _NUM, 2).transpose(0, 2, 1, 3)
    own = covariance[np.arange(_NUM), np.arange(_NUM)]
    slope = covariance.transpose(1, 0, 2, 3) @ np.linalg.inv(own)[:, None]
    rest = own[None] - slope @ covariance
    rest[np.tril_indices(_NUM)] = np.eye(2)  # never asked for
    return _Steps(
        mean=np.asarray(prior.mean).reshape(_NUM, 2),
        first=np.linalg.inv(np.linalg.cholesky(own)),
        slope=slope,
        later=np.linalg.inv(np.linalg.cholesky(rest)),
    )


def _log_density(whitened: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Give the log density of Student's t in two dimensions, whose constant is that of the normal one."""
    distance = (whitened**2).sum(axis=-1)
    scale = np.log(np.linalg.det(whitening)) - np.log(2 * np.pi)
    return np.asarray(scale - (_FREEDOM + 2) / 2 * np.log1p(distance / _FREEDOM))


def _first(centre: np.ndarray, steps: _Steps) -> np.ndarray:
    """Give the log density of each box's centre as each level: (N, 6)."""
    away = centre[:, None] - steps.mean
    return _log_density(np.einsum("jab,njb->nja", steps.first, away), steps.first)


def _next(centre: np.ndarray, steps: _Steps) -> np.ndarray:
    """Give the log density of box n as level j after box m as level i: (N, 6, N, 6), -inf out of order."""
    away = centre[:, None] - steps.mean
    expected = np.einsum("ijab,mib->mija", steps.slope, away)
    left = np.einsum("ijab,mnijb->mnija", steps.later, away[None, :, None] - expected[:, None])
    density = _log_density(left, steps.later).transpose(0, 2, 1, 3)
    boxes, levels = np.arange(len(centre)), np.arange(_NUM)
    skipped = levels[None] - levels[:, None] - 1
    in_order = (boxes[:, None] < boxes)[:, None, :, None] & (skipped >= 0)[None, :, None]
    return np.where(in_order, density + skipped[None, :, None] * np.log(_MISSED), -np.inf)


def _best_through(centre: np.ndarray, confidence: np.ndarray, prior: LevelPrior) -> tuple[np.ndarray, np.ndarray]:
    """Give the log-likelihood of the best chain through each (box, level), and of the best one without each box.

    Args:
        centre: (N, 2), from the top.
        confidence: (N,).
        prior: where discs lie.

    Returns:
        (N, 6) and (N,).
    """
    num_boxes, steps = len(centre), _steps(prior)
    odds = np.log(confidence.clip(*_CONFIDENCE)) - np.log1p(-confidence.clip(*_CONFIDENCE))
    skipped = np.arange(_NUM) * np.log(_MISSED)
    step = _next(centre, steps) + odds[:, None]
    start = _first(centre, steps) + skipped + odds[:, None]
    end = np.broadcast_to(skipped[::-1], start.shape)
    before, after = start.copy(), end.copy()  # best beginning down to (box, level), and best end that follows it
    for box in range(1, num_boxes):
        before[box] = np.maximum(before[box], (before[:box, :, None] + step[:box, :, box]).max(axis=(0, 1)))
    for box in range(num_boxes - 2, -1, -1):
        after[box] = np.maximum(after[box], (step[box, :, box + 1 :] + after[box + 1 :]).max(axis=(1, 2)))
    leap = (before[:, :, None, None] + step + after).max(axis=(1, 3))  # best chain with box m, then n, nothing between
    above, below = (before + end).max(axis=1), (start + after).max(axis=1)  # best chain that ends, begins with the box
    outside = np.full(num_boxes, _NUM * np.log(_MISSED))
    for box in range(num_boxes):
        others = (above[:box], below[box + 1 :], leap[:box, box + 1 :])
        outside[box] = max(outside[box], *(part.max(initial=-np.inf) for part in others))
    return before + after, outside
