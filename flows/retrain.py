"""`python -m flows.retrain`, or the flow `retrain` of a schedule: fetch, train, mirror, gate, push, commit on a branch."""

import argparse
import sys
from pathlib import Path

from flows._environment import prefect_home, set_environment

if __name__ == "__main__":
    set_environment(Path.cwd())  # Prefect reads its settings, and starts its analytics, when it is imported

from prefect import flow  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.exceptions import TerminationSignal  # noqa: E402
from prefect.states import Cancelled, Completed, Failed  # noqa: E402

from flows import _dvc, _flow  # noqa: E402
from flows._dvc import StageFailed  # noqa: E402
from flows._lock import Busy, exclusive  # noqa: E402
from flows._processes import Interrupted, ended_by_signals  # noqa: E402
from flows._server import start_server  # noqa: E402
from flows.train import preflight  # noqa: E402


@flow(name="retrain", persist_result=False)
def retrain(
    reason: str = "manual",
    data_revision: str | None = None,
    accept_data: bool = False,
    promote: bool = True,
    push: bool = True,
    concurrency: int = 1,
) -> State[None]:
    """Retrain the project in the working directory; one line says what came of it.

    Args:
        reason: why, for the records: manual, schedule, drift, new data.
        data_revision: git revision to take data.dvc from.
        accept_data: pin what lies in data/ now.
        promote: let the gate decide about the new model.
        push: `dvc push` where a remote is configured.
        concurrency: stages at once.

    Returns:
        Completed, Failed, or Cancelled where another training runs.
    """
    project = Path.cwd()
    set_environment(project)
    try:
        with _flow.terminable(), exclusive(prefect_home(project) / "train.lock"):
            _flow.close_ghosts()
            graph = preflight(project)
            runs = _flow.run_graph(graph, project=project, concurrency=concurrency)
            _flow.say("\n== MLflow")
            _flow.mirror(project)
            _flow.publish(project, runs)
            return Completed(message=f"retrained ({reason})")
    except Busy as busy:
        return Cancelled(message=str(busy))
    except (StageFailed, ValueError) as error:
        return Failed(message=str(error))


def main(arguments: list[str] | None = None) -> int:
    """Run the flow by hand.

    Returns:
        0; 1 after one line where something failed; 130 or 143 after a signal.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=__doc__)
    parser.add_argument("--reason", default="manual", help="for the records (default: manual)")
    options = parser.parse_args(arguments)
    project = Path.cwd()
    try:
        with ended_by_signals():
            start_server(project)()
            state = retrain(options.reason, return_state=True)
    except ConnectionError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except (TerminationSignal, Interrupted) as signal:
        print(f"\n{signal}; finished stages are kept, the next run goes on from there", file=sys.stderr, flush=True)
        return signal.code if isinstance(signal, Interrupted) else 143
    print(state.message, file=sys.stdout if state.is_completed() else sys.stderr, flush=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
