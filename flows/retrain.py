"""`python -m flows.retrain`, or the flow of a schedule: fetch, train, mirror, gate, push, commit on a branch."""

import argparse
import hashlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows._environment import prefect_home, set_environment

if __name__ == "__main__":
    set_environment(Path.cwd())  # Prefect reads its settings, and starts its analytics, when it is imported

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from flows import _data, _dvc, _flow, _git, _preflight
from flows._attempt import recorded
from flows._dvc import StageFailed
from flows._ledger import Ledger, read_ledger
from flows._lock import Busy, exclusive
from flows._processes import Interrupted, ended_by_signals
from flows._server import start_server
from flows._summary import NOTICE

PUSH_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class Order:
    """What a retraining is asked to do: the flow's parameters."""

    reason: str = "manual"
    data_revision: str | None = None
    accept_data: bool = False
    promote: bool = True
    push: bool = True
    allow_dirty: bool = False
    concurrency: int = 1
    pools: tuple[str, ...] = ()


@flow(name="retrain", persist_result=False)
def retrain(
    reason: str = "manual",
    data_revision: str | None = None,
    accept_data: bool = False,
    promote: bool = True,
    push: bool = True,
    allow_dirty: bool = False,
    concurrency: int = 1,
    pools: list[str] | None = None,
) -> State[None]:
    """Retrain the project in the working directory, as far as anything has changed.

    Args:
        reason: why, for the records: manual, schedule, drift, new data.
        data_revision: git revision to take data.dvc from; an event without one leaves it empty.
        accept_data: pin what lies in data/ now.
        promote: let the gate decide about the new model.
        push: `dvc push` where a remote is configured.
        allow_dirty: train with code and parameters that are not committed.
        concurrency: stages at once.
        pools: worker pools on which stages run.

    Returns:
        Completed or Failed with one line on what came of it; Cancelled where another training runs.
    """
    project = Path.cwd()
    set_environment(project)
    names = tuple(pools or ())
    order = Order(reason, data_revision or None, accept_data, promote, push, allow_dirty, concurrency, names)
    try:
        with _flow.terminable(), exclusive(prefect_home(project) / "train.lock"):
            _flow.close_ghosts()
            with recorded(project, order.reason):
                said = _retrain(project, order)
            return Completed(message=said)
    except Busy as busy:
        return Cancelled(message=str(busy))
    except (StageFailed, ValueError) as error:
        return Failed(message=str(error))


def _retrain(project: Path, order: Order) -> str:
    write = _flow.writer()
    _preflight.check(project, say=_flow.say, needs_clean_git=not order.allow_dirty)
    _data.bring(project, revision=order.data_revision, accept=order.accept_data, write=write)
    changes = _data.status(project)
    push = order.push and _dvc.has_remote(project)
    if not changes and read_ledger(project).is_settled(project, promote=order.promote, push=push):
        return _unchanged(project)
    if changes:
        _preflight.check_cache(project, changes, say=_flow.say)
        runs = _flow.run_graph(
            _dvc.stages(project),
            project=project,
            concurrency=max(order.concurrency, len(order.pools)),
            reproduce=_flow.on_pools(order.pools, project),
        )
        _flow.publish(project, runs)
    ledger = read_ledger(project)
    words = ["retrained" if changes else "nothing to train; went on with what was left"]
    _flow.say("\n== MLflow")
    ledger = ledger.done(project, mirrored=_flow.mirror(project))
    words += [] if ledger.mirrored else ["not mirrored yet"]
    if order.promote and ledger.mirrored and not ledger.decided:
        _flow.say("\n== promotion")
        decision = _flow.gate(project)
        ledger = ledger.done(project, decided=decision is not None)
        words.append(decision or "promotion not decided yet")
    if push and not ledger.pushed:
        ledger = ledger.done(project, pushed=_push(project))
        words += [] if ledger.pushed else ["not pushed yet"]
    ledger = _commit(project, order, ledger, words)
    waits = "; what is left is done at the next start" if any("yet" in word for word in words) else ""
    return f"{'; '.join(words)}{waits}. {NOTICE}"


def _unchanged(project: Path) -> str:
    return (
        "unchanged: data, code and parameters are those of the last retraining "
        f"({read_ledger(project).committed}); nothing to do"
    )


def _push(project: Path) -> bool:
    _flow.say("\n== dvc push")
    try:
        status, output = _dvc.run(["push"], project=project, write=_flow.writer(), timeout_s=PUSH_TIMEOUT_S)
    except TimeoutError:
        status, output = 1, f"no end after {PUSH_TIMEOUT_S:g} s"
    if status:
        _flow.say(f"warning: not pushed: {_dvc.complaint(output)}; tried again at the next start")
    return status == 0


def _commit(project: Path, order: Order, ledger: Ledger, words: list[str]) -> Ledger:
    lock = hashlib.sha256((project / "dvc.lock").read_bytes()).hexdigest()[:8]
    branch = f"retrain/{datetime.now(UTC):%Y-%m-%d}-{lock}"
    try:
        commit = _git.commit_results(project, branch=branch, message=f"Retrain ({order.reason}): {'; '.join(words)}")
    except ValueError as error:
        _flow.say(f"warning: no commit: {error}")
        words.append("not committed yet")
        return ledger
    if commit is None:
        words.append("HEAD has these results")
        return ledger.done(project, committed="HEAD")
    _flow.say(
        f"\n== results on branch {commit.branch} ({commit.revision[:12]}); yours to merge: git merge {commit.branch}"
    )
    words.append(f"results on branch {commit.branch}")
    return ledger.done(project, committed=commit.branch)


def main(arguments: list[str] | None = None) -> int:
    """Run the flow by hand.

    Returns:
        0; 1 after one line where something failed; 130 or 143 after a signal.
    """
    options = _parser().parse_args(arguments)
    project = Path.cwd()
    changes_data = options.accept_data or options.data_revision is not None
    try:
        with ended_by_signals(), exclusive(prefect_home(project) / "train.lock"):
            if not changes_data and _is_settled(project, promote=options.promote, push=options.push):
                print(_unchanged(project), flush=True)
                return 0
            start_server(project)()
            state = retrain(**vars(options), return_state=True)
    except (Busy, ConnectionError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except (TerminationSignal, Interrupted) as signal:
        ended = signal if isinstance(signal, Interrupted) else Interrupted(signal.signal)
        print(f"\n{ended}; finished stages are kept, the next run goes on from there", file=sys.stderr, flush=True)
        return ended.code
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr, flush=True)
        return 1
    print(f"\n{state.message}", flush=True)
    return 0


def _is_settled(project: Path, *, promote: bool, push: bool) -> bool:
    """The flow's own first question, before a server is started for it."""
    _preflight.check_lock_file(project)
    _data.guard_data(project)
    wants_push = push and _dvc.has_remote(project)
    return not _data.status(project) and read_ledger(project).is_settled(project, promote=promote, push=wants_push)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=__doc__, epilog=NOTICE)
    parser.add_argument("--reason", default="manual", help="for the records (default: manual)")
    parser.add_argument("--data-revision", metavar="REV", help="take data.dvc from this git revision, and its data")
    parser.add_argument("--accept-data", action="store_true", help="pin data/ as it lies there (`dvc add data`)")
    parser.add_argument("--no-promote", dest="promote", action="store_false", help="leave the gate out")
    parser.add_argument("--no-push", dest="push", action="store_false", help="leave `dvc push` out")
    parser.add_argument("--allow-dirty", action="store_true", help="train with code and parameters not committed")
    parser.add_argument("--concurrency", type=int, default=1, help="stages at once (default: 1)")
    parser.add_argument("--pools", type=_names, metavar="A,B", help="worker pools for the stages that may go there")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main())
