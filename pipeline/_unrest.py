"""How busy others keep the processor while something is measured."""

import os
import time
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Usage:
    """Seconds: on the clock, of all cores at work (the hypervisor's stolen time counts), of this process's threads."""

    clock: float
    everyone: float
    own: float


def usage() -> Usage:
    """Read the counters."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # Linux counts them in user time, too.
    own = os.times()
    return Usage(time.monotonic(), sum(times) - idle - guests, own.user + own.system)


def cores_of_others(before: Usage, after: Usage) -> float:
    """Give how many cores worked for someone else from then to then, on average."""
    others = (after.everyone - before.everyone) - (after.own - before.own)
    return max(others, 0.0) / (after.clock - before.clock)
