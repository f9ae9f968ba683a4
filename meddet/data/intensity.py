"""Statistics of a canonical image's grey values, computed from integers so that no processor's arithmetic shows."""

import numpy as np
from jaxtyping import Float

_WHITE = 65535
_PER_GREY = 257
"""Stored values of one grey value of 0..255."""
_PERCENTILES = {"p50": 500, "p75": 750, "p90": 900, "p95": 950, "p99": 990, "p99_9": 999}
"""By name, in thousandths."""
_EDGES = (0, 12, 40, 80, 160, 256)
_SHARES = ("below_12", "12_to_40", "40_to_80", "80_to_160", "above_160")
_DECIMALS = 6
_GREY_DECIMALS = 3

INTENSITIES = ("mean", "std", "min", "max", "saturated_fraction", "mean_grey", *_PERCENTILES, *_SHARES)


def intensity_statistics(pixels: Float[np.ndarray, "h w"]) -> dict[str, float]:
    """Describe pixels in [0, 1].

    `mean`, `std`, `min`, `max` and `saturated_fraction` are in [0, 1]; `mean_grey` and the percentiles (nearest rank)
    in grey values 0..255; the rest are shares of the pixels by grey value, the lower edge included.
    """
    stored = np.rint(pixels.astype(np.float64) * _WHITE).astype(np.int64).ravel()
    total, squares, size = int(stored.sum()), int((stored * stored).sum()), stored.size
    below = np.cumsum(np.bincount(stored, minlength=_WHITE + 1))
    ranks = [-(-thousandths * size // 1000) for thousandths in _PERCENTILES.values()]
    edges = [int(below[edge * _PER_GREY - 1]) if 0 < edge < 256 else (0 if edge == 0 else size) for edge in _EDGES]
    return {
        "mean": round(total / size / _WHITE, _DECIMALS),
        "std": round((size * squares - total * total) ** 0.5 / size / _WHITE, _DECIMALS),
        "min": round(int(stored.min()) / _WHITE, _DECIMALS),
        "max": round(int(stored.max()) / _WHITE, _DECIMALS),
        "saturated_fraction": round(int((stored == _WHITE).sum()) / size, _DECIMALS),
        "mean_grey": round(total / size / _PER_GREY, _GREY_DECIMALS),
        **{
            name: round(int(np.searchsorted(below, rank)) / _PER_GREY, _GREY_DECIMALS)
            for name, rank in zip(_PERCENTILES, ranks, strict=True)
        },
        **{
            name: round((high - low) / size, _DECIMALS)
            for name, low, high in zip(_SHARES, edges, edges[1:], strict=False)
        },
    }
