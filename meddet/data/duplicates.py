"""The same picture twice, or the same patient under two names: found by what the images show, not by what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from meddet.data.fingerprint import SIDE, averaging, relief
from meddet.data.registration import register

_GRID = 16
_SIGMA = 1.5
_AXES = 64
_CROPS = (1.0, 0.95, 0.9, 0.85, 0.8)
_STEP = 0.05
_CHUNK = 16
_BATCH = 512
_CANDIDATES = 16
_FLIPS = ("none", "up-down", "left-right", "both")


@dataclass(frozen=True)
class Likeness:
    """Two images, by their places in the list, that show the same.

    `second` flipped as `flip` says is the window (top, bottom, left, right as fractions) of `first`; `score` is the
    correlation of their details, 1 for the same.
    """

    first: int
    second: int
    flip: str
    window: tuple[float, float, float, float]
    score: float


def find_likenesses(
    fingerprints: Float[np.ndarray, "n 96 96"], owners: Sequence[str], *, threshold: float
) -> list[Likeness]:
    """Find pairs of images of different owners that look alike, whatever flip, crop (to 80 %), scale or grey curve.

    Coarse reliefs of every crop of every image are compared with every image, flipped four ways, in one matrix
    product per chunk; the best candidates of each image are then registered. Each pair comes once, by its places.
    """
    best: dict[tuple[int, int], Likeness] = {}
    if len(fingerprints) < 2:
        return []
    whole, part, flip, windows = _candidates(fingerprints, owners)
    for start in range(0, len(whole), _BATCH):
        batch = slice(start, start + _BATCH)
        target = _flipped(fingerprints[part[batch]], flip[batch])
        found, scores = register(fingerprints[whole[batch]], target, windows[batch])
        for index in np.flatnonzero(scores >= threshold).tolist():
            first, second = int(whole[start + index]), int(part[start + index])
            likeness = Likeness(
                first=first,
                second=second,
                flip=_FLIPS[int(flip[start + index])],
                window=tuple(np.round(found[index], 3).tolist()),
                score=round(float(scores[index]), 4),
            )
            key = (min(first, second), max(first, second))
            if key not in best or likeness.score > best[key].score:
                best[key] = likeness
    return [best[key] for key in sorted(best)]


def _candidates(
    fingerprints: Float[np.ndarray, "n 96 96"], owners: Sequence[str]
) -> tuple[Int[np.ndarray, " c"], Int[np.ndarray, " c"], Int[np.ndarray, " c"], Float[np.ndarray, "c 4"]]:
    """Give for every image the likeliest wholes that it may be a part of, with the flip and the window."""
    intervals = np.array([(low, low + size) for size in _CROPS for low in np.arange(0, 1.001 - size, _STEP)])
    plain = relief(_seen(fingerprints, intervals[:1])[:, 0, 0], sigma=_SIGMA)
    axes = _principal(plain)
    targets = [_flipped(plain, np.full(len(plain), kind)).reshape(len(plain), -1) @ axes for kind in range(4)]
    score = np.full((len(plain), len(plain)), -1, dtype=np.float32)
    how = np.zeros(score.shape, dtype=np.int64)
    for start in range(0, len(plain), _CHUNK):
        crops = relief(_seen(fingerprints[start : start + _CHUNK], intervals), sigma=_SIGMA)
        shown = crops.reshape(-1, _GRID * _GRID) @ axes
        for kind, target in enumerate(targets):
            table = (target @ shown.T).reshape(len(plain), len(crops), -1)
            place = table.argmax(axis=2)
            value = np.take_along_axis(table, place[..., None], axis=2)[..., 0]
            here = score[:, start : start + len(crops)]
            better = value > here
            here[better] = value[better]
            how[:, start : start + len(crops)][better] = 4 * place[better] + kind
    names = np.unique(np.asarray(owners), return_inverse=True)[1]
    score[names[:, None] == names] = -1
    count = min(_CANDIDATES, len(plain) - 1)
    whole = np.argpartition(-score, count - 1, axis=1)[:, :count].reshape(-1)
    part = np.repeat(np.arange(len(plain)), count)
    kept = score[part, whole] > 0
    whole, part = whole[kept], part[kept]
    view, flip = np.divmod(how[part, whole], 4)
    rows, columns = np.divmod(view, len(intervals))
    return whole, part, flip, np.concatenate([intervals[rows], intervals[columns]], axis=1)


def _seen(
    images: Float[np.ndarray, "n 96 96"], intervals: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "n k k 16 16"]:
    """Average every crop, rows by one interval and columns by another, to 16 x 16."""
    crop = np.stack([averaging(SIDE, float(low), float(high), _GRID) for low, high in intervals])
    return np.einsum("kis,nst,ljt->nklij", crop, images, crop, optimize=True)


def _principal(plain: Float[np.ndarray, "n 16 16"]) -> Float[np.ndarray, "256 a"]:
    """Give the axes along which the images differ most: products keep their size in fewer of them."""
    rows = plain.reshape(len(plain), -1).astype(np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return vectors[:, ::-1][:, :_AXES].astype(np.float32)


def _flipped(images: Float[np.ndarray, "n d d"], flip: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d d"]:
    images = np.where((flip % 2 == 1)[:, None, None], images[:, ::-1], images)
    return np.where((flip // 2 == 1)[:, None, None], images[:, :, ::-1], images)
