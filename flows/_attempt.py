"""A training from begin to end, as MLflow shall see it where it ended badly."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.exceptions import TerminationSignal

from flows._dvc import StageFailed
from flows._processes import Interrupted
from flows._spool import begin


@contextmanager
def recorded(project: Path, reason: str) -> Iterator[None]:
    """Record the body as an attempt at training, for that reason; what it raises goes on."""
    attempt = begin(project, reason)
    try:
        yield
    except (TerminationSignal, Interrupted) as signal:
        attempt.finish("KILLED", message=str(signal))
        raise
    except Exception as error:
        attempt.finish("FAILED", error.stage if isinstance(error, StageFailed) else "", str(error))
        raise
    attempt.finish("FINISHED")
