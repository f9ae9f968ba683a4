"""Work shared by two processes, which end with the stage."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import torch

from pipeline._stage import OUT_OF_MEMORY, Failure, end_with_parent

T = TypeVar("T")
R = TypeVar("R")

_PROCESSES = 2


def shared(work: Callable[[T], R], items: Iterable[T], *, stage: str) -> Iterator[R]:
    """Do the work on each item, two items at a time with half of the cores each; the results keep the items' order.

    For work that is Python on one core. What torch computes is faster one after the other on all cores.

    Args:
        work: a function of a module, which the processes import.
        items: are sent to the processes.
        stage: for the error's line.

    Errors:
        Failure: a process was killed; what `work` raises is raised here.
    """
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        try:
            yield from pool.map(work, items)
        except BrokenProcessPool:
            raise Failure(OUT_OF_MEMORY, f"{stage}: one of its processes was killed; memory?") from None


def _prepare() -> None:
    end_with_parent()
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // _PROCESSES, 1))
