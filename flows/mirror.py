"""`python -m flows.mirror`: bring the finished graph and whatever MLflow missed into it, and register the students.

A command of its own, so that nothing here can hold up or fail a training. First everything is written whole into
`.mirror/`, and each entry leaves it when MLflow has all of it: run this again when MLflow is back.
"""

import argparse
import logging
import sqlite3
import sys
from pathlib import Path

from flows import _graph_entry, _spool
from flows._environment import set_environment
from flows._lock import Busy, exclusive

_LINE_LENGTH = 300


def main(arguments: list[str] | None = None) -> int:
    """Mirror the project in the working directory; say in one line what could not be done.

    Returns:
        0 when MLflow has everything, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.mirror", description=__doc__)
    parser.add_argument(
        "--spooled", action="store_true", help="only what waits in .mirror/, not the graph as it stands here"
    )
    options = parser.parse_args(arguments)
    project = Path.cwd()
    set_environment(project)
    try:
        with exclusive(project / _spool.FOLDER / "mirror.lock"):
            spooled = options.spooled or _keep_graph(project)
            return 0 if _replay(project) and spooled else 1
    except Busy as busy:
        return _warn(f"another mirror is at work: {busy}")
    except OSError as error:
        return _warn(_line(str(error)))


def _keep_graph(project: Path) -> bool:
    """Write the graph into the spool; whether that could be done."""
    from dvc.exceptions import DvcException

    from flows import _dvc

    try:
        _graph_entry.write_graph(project, [stage.name for stage in _dvc.stages(project)])
    except (ValueError, OSError, DvcException, sqlite3.Error) as error:
        _warn(_line(str(error)))
        return False
    return True


def _replay(project: Path) -> bool:
    """Send the entries, the oldest first; whether MLflow has them all.

    Where MLflow fails, the rest waits for the next time. An entry that it will never have is marked and passed over.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    from flows import _mlflow

    # What it logs with a traceback comes to us as an exception, too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    _spool.bury(project)
    artifacts = project / "mlartifacts"
    try:
        client = MlflowClient()
        _mlflow.end_ghosts(client, artifacts=artifacts)
        waiting = [entry for entry in _spool.read_entries(project) if entry.failure is None]
        for entry in waiting:
            try:
                for line in _mlflow.send(client, entry, artifacts=artifacts):
                    print(line, flush=True)
            except (_mlflow.Refused, ValueError) as error:
                _spool.mark_failed(entry.folder, _line(str(error)))
            else:
                _spool.delete(entry.folder)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        _warn(f"{_line(str(error))}; kept in {project / _spool.FOLDER} for the next time")
        return False
    failed = [entry for entry in _spool.read_entries(project) if entry.failure is not None]
    for entry in failed:
        _warn(f"{entry.failure}; kept in {entry.folder}")
    now = {entry.key for entry in waiting}
    return not any(entry.key in now for entry in failed)


def _warn(text: str) -> int:
    print(f"warning: not mirrored into MLflow: {text}", file=sys.stderr, flush=True)
    return 1


def _line(text: str) -> str:
    return " ".join(text.split())[:_LINE_LENGTH]


if __name__ == "__main__":
    sys.exit(main())
