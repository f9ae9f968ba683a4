"""Lay one fingerprint over a part of another, and say how well they agree then."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from meddet.data.fingerprint import SIDE, detail, relief

_GRID = 24
_FINE_GRID = 48
_SIGMA = 1.5
_SMOOTH = 1.0
_FIRST_ITERATIONS = 2
_MORE_ITERATIONS = 5
_PROMISING = 0.7
_LARGEST_STEP = 0.05
_DAMPING = 0.001
_OUTSIDE = 0.03
_SMALLEST = 0.7


def register(
    whole: Float[np.ndarray, "n 96 96"], part: Float[np.ndarray, "n 96 96"], windows: Float[np.ndarray, "n 4"]
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
    """Move the windows (top, bottom, left, right as fractions of `whole`) until what they show looks like `part`.

    Gauss-Newton on the correlation of the reliefs (Lucas-Kanade with two edges an axis). After the first steps only
    the promising ones go on. Gives the windows and the correlations, -1 to 1, on a finer grid.
    """
    smooth, goal = _smoothed(whole), _smoothed(part)
    target = relief(_sample(goal, _full(len(part)), _GRID), sigma=_SIGMA)
    best, score = _climb(smooth, windows, target, iterations=_FIRST_ITERATIONS)
    on = np.flatnonzero(score > _PROMISING)
    best[on], _ = _climb(smooth[on], best[on], target[on], iterations=_MORE_ITERATIONS)
    sigma = _FINE_GRID / _GRID * _SIGMA
    shown = relief(_sample(smooth[on], best[on], _FINE_GRID), sigma=sigma)
    fine = relief(_sample(goal[on], _full(len(on)), _FINE_GRID), sigma=sigma)
    score[on] = np.einsum("nij,nij->n", shown, fine)
    return best, score


def _climb(
    images: Float[np.ndarray, "n 96 96"],
    windows: Float[np.ndarray, "n 4"],
    target: Float[np.ndarray, "n d d"],
    *,
    iterations: int,
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
    best, score = windows.copy(), np.full(len(windows), -1.0)
    for _ in range(iterations + 1):
        shown = _sample(images, windows, _GRID)
        now = np.einsum("nij,nij->n", relief(shown, sigma=_SIGMA), target)
        better = now > score
        best[better], score[better] = windows[better], now[better]
        windows = _clip(windows + _step(shown, windows, target))
    return best, score


def _smoothed(images: Float[np.ndarray, "n 96 96"]) -> Float[np.ndarray, "n 96 96"]:
    return scipy.ndimage.gaussian_filter(images, (0, _SMOOTH, _SMOOTH), mode="nearest")


def _full(count: int) -> Float[np.ndarray, "n 4"]:
    return np.tile(np.array([0.0, 1.0, 0.0, 1.0]), (count, 1))


def _centres(grid: int) -> Float[np.ndarray, " grid"]:
    return (np.arange(grid) + 0.5) / grid


def _sample(
    images: Float[np.ndarray, "n 96 96"], windows: Float[np.ndarray, "n 4"], grid: int
) -> Float[np.ndarray, "n grid grid"]:
    """Interpolate linearly at the centres of grid x grid cells of each window."""
    down = _weights(windows[:, 0], windows[:, 1], grid)
    across = _weights(windows[:, 2], windows[:, 3], grid)
    return down @ images @ across.transpose(0, 2, 1)


def _weights(start: Float[np.ndarray, " n"], end: Float[np.ndarray, " n"], grid: int) -> Float[np.ndarray, "n grid 96"]:
    place = (start[:, None] + (end - start)[:, None] * _centres(grid)) * SIDE - 0.5
    place = np.clip(place, 0, SIDE - 1)[..., None]
    return np.clip(1 - np.abs(place - np.arange(SIDE)), 0, None).astype(np.float32)


def _step(
    shown: Float[np.ndarray, "n d d"], windows: Float[np.ndarray, "n 4"], target: Float[np.ndarray, "n d d"]
) -> Float[np.ndarray, "n 4"]:
    """Solve the linearised least squares for the four edges of every window at once."""
    along = _centres(_GRID).astype(np.float32)
    span = np.stack([windows[:, 1] - windows[:, 0], windows[:, 3] - windows[:, 2]], axis=1).astype(np.float32)
    rows = np.gradient(shown, axis=1) * _GRID / span[:, 0, None, None]
    columns = np.gradient(shown, axis=2) * _GRID / span[:, 1, None, None]
    slopes = np.stack(
        [rows * (1 - along)[:, None], rows * along[:, None], columns * (1 - along), columns * along], axis=1
    )
    relieved = detail(shown, sigma=_SIGMA)
    length = np.sqrt((relieved * relieved).sum(axis=(1, 2)) + 1e-6)[:, None, None]
    own = relieved / length
    through = detail(slopes, sigma=_SIGMA) / length[:, None]
    through -= np.einsum("nkij,nij->nk", through, own)[..., None, None] * own[:, None]
    jacobian = through.reshape(len(shown), 4, _GRID * _GRID)
    normal = jacobian @ jacobian.transpose(0, 2, 1)
    damping = _DAMPING * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-6
    gradient = np.einsum("nkp,np->nk", jacobian, (target - own).reshape(len(shown), _GRID * _GRID))
    step = np.linalg.solve(normal + damping * np.eye(4), gradient[..., None])[..., 0]
    return np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)


def _clip(windows: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Keep windows almost inside the image, and from becoming too small."""
    start = np.clip(windows[:, ::2], -_OUTSIDE, 1 + _OUTSIDE - _SMALLEST)
    end = np.clip(windows[:, 1::2], start + _SMALLEST, 1 + _OUTSIDE)
    return np.stack([start[:, 0], end[:, 0], start[:, 1], end[:, 1]], axis=1)
