"""How long functions take on this machine, measured so that they can be compared."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

_PAUSE_S = 0.03


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call, on one image: median, 95th percentile; and images per second over all calls."""

    p50_ms: float
    p95_ms: float
    images_per_second: float


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, warmup: int, rounds: Iterable[int]
) -> dict[str, Timing]:
    """Time functions in rounds, each once per round, so that a busy moment of the machine hits all alike.

    Before each call is a pause: torch's threads wait for more work in a loop, about 20 ms long, and would keep a core
    from an engine that runs next.

    Args:
        contenders: the functions by name.
        warmup: calls of each beforehand that don't count.
        rounds: one item per measured round, e.g. a progress bar over a range; at least one.
    """
    for function in contenders.values():
        for _ in range(warmup):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in rounds:
        for name, function in contenders.items():
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: timing(each) for name, each in seconds.items()}


def timing(seconds: list[float]) -> Timing:
    """Summarise the seconds of single calls."""
    median, late = np.percentile(seconds, [50, 95])
    return Timing(float(median) * 1000, float(late) * 1000, len(seconds) / sum(seconds))


def matmul_gflops(*, size: int = 1024, repetitions: int = 10, dtype: torch.dtype = torch.float32) -> float:
    """Measure the machine's limit: GFLOP/s of the fastest of several square matrix products."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9
