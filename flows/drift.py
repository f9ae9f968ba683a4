"""`python -m flows.drift FOLDER`, or the flow of a schedule: look at new studies, and announce drift and new data."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows._environment import set_environment

if __name__ == "__main__":
    set_environment(Path.cwd())  # Prefect reads its settings, and starts its analytics, when it is imported

from prefect import flow, get_client
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Completed, Failed

from flows import _flow
from flows._drift_page import drift_markdown
from flows._events import Outbox, read_outbox
from flows._new_data import find_new_data
from flows._processes import Interrupted, ended_by_signals, stream
from flows._screen import Screen
from flows._server import answers, served_address
from flows._summary import NOTICE
from meddet.files import read_json

DRIFT = "meddet.data.drift"
NEW = "meddet.data.new"
MODEL = "models:/meddet@champion"
STATE = ".drift"
OUTBOX = "events.json"
_NO_DRIFT, _SOME_UNREADABLE, _DRIFTED = 0, 3, 7
_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class Verdict:
    """What `meddet drift` wrote, and what was announced because of it."""

    report: dict[str, Any]
    announced: tuple[str, ...]

    def words(self) -> str:
        """Say it in one line, without a name of any file."""
        report = self.report
        drifted = [each["name"] for each in report["features"].values() if each["drifted"]]
        unreadable = f", {report['unreadable_files']} files unreadable" if report["unreadable_files"] else ""
        told = f"; announced: {', '.join(self.announced)}" if self.announced else ""
        verdict = f"DRIFT ({', '.join(drifted) or 'not over yet'})" if report["drift"] else "no drift"
        return f"{report['new_studies']} new studies of {report['studies']}{unreadable}: {verdict}{told}. {NOTICE}"


@flow(name="drift", persist_result=False)
def drift(folder: str = "inbox", model: str = MODEL, state: str = STATE) -> State[None]:
    """Look at the studies of a folder that weren't there before, in the project in the working directory.

    Args:
        folder: each folder or file in it is a study.
        model: a bundle's folder or an address of the registry.
        state: folder of what the monitor remembers.

    Returns:
        Completed with the verdict, drift or not; Failed where there is none.
    """
    project = Path.cwd()
    set_environment(project)
    try:
        with _flow.terminable():
            verdict = look(project, Path(folder), model=model, state=Path(state))
            outbox = read_outbox(project / state / OUTBOX)
            outbox.send(post_to_prefect)
            page = drift_markdown(project, Path(state), verdict.report, verdict.words())
            create_markdown_artifact(page, key="drift", description="New studies")
            return Completed(message=verdict.words())
    except ValueError as error:
        return Failed(message=str(error))


def look(project: Path, folder: Path, *, model: str, state: Path) -> Verdict:
    """Run `meddet drift` on the folder's studies; keep an event for each alarm that began, and for new data.

    What the command says goes to the terminal alone: it may name files.

    Errors:
        ValueError: no such folder, no such model, or a state that isn't one; nothing was counted then.
    """
    if not (project / folder).is_dir():
        raise ValueError(f"{folder}: expected the folder of new studies, found none")
    command = ["meddet.cli", "drift", "--inbox", str(folder), "--model", model, "--state", str(state)]
    try:
        status, output = stream(command, folder=project, write=Screen(in_place=False).write, timeout_s=_TIMEOUT_S)
    except TimeoutError:
        raise ValueError(f"meddet drift: no end after {_TIMEOUT_S:g} s") from None
    if status not in (_NO_DRIFT, _SOME_UNREADABLE, _DRIFTED):
        said = output.strip().splitlines() or ["it said nothing"]
        raise ValueError(f"meddet drift ended with {status}: {said[-1]}")
    report = read_json(project / state / "drift.json")
    outbox = read_outbox(project / state / OUTBOX)
    before = len(outbox.pending)
    _announce(project, report, outbox)
    outbox.keep()
    return Verdict(report, tuple(event["event"] for event in outbox.pending[before:]))


def _announce(project: Path, report: dict[str, Any], outbox: Outbox) -> None:
    """Prepare one event for each alarm that began and for each new pin of the data."""
    for alarm in report["alarms"]:
        if alarm["number"] > outbox.alarm:
            outbox.add(DRIFT, {"alarm": alarm["number"], "study": alarm["study"], "features": alarm["features"]})
            outbox.alarm = alarm["number"]
    found = find_new_data(project)
    if found is not None and found.md5 != outbox.data:
        outbox.add(NEW, {"data_md5": found.md5, "revision": found.revision})
        outbox.data = found.md5


def post_to_prefect(events: Sequence[Mapping[str, Any]]) -> None:
    """Hand events to Prefect's API, which answers when it has them, and stores them within 5 s."""
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=list(events))


def main(arguments: list[str] | None = None) -> int:
    """Run it by hand: as a flow where Prefect's server answers, else alone; what is to be announced is kept then.

    Returns:
        0, drift or not; 1 after one line where there is no verdict; 130 or 143 after a signal.
    """
    options = _parser().parse_args(arguments)
    project = Path.cwd()
    try:
        with ended_by_signals():
            if api := find_api(project):
                os.environ["PREFECT_API_URL"] = api
                state = drift(options.folder, options.model, options.state, return_state=True)
                if not state.is_completed():
                    raise ValueError(str(state.message))
                print(state.message, flush=True)
                return 0
            verdict = look(project, Path(options.folder), model=options.model, state=Path(options.state))
            waiting = len(read_outbox(project / options.state / OUTBOX).pending)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except (TerminationSignal, Interrupted) as signal:
        ended = signal if isinstance(signal, Interrupted) else Interrupted(signal.signal)
        print(f"\n{ended}; nothing was counted", file=sys.stderr, flush=True)
        return ended.code
    print(verdict.words(), flush=True)
    if waiting:
        print(
            f"note: Prefect's server doesn't answer: {waiting} events are kept and sent at the next start", flush=True
        )
    return 0


def find_api(project: Path) -> str | None:
    """Name Prefect's API where one answers: the one that is set, or the one that `make serve` offers here."""
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if address:
        return address if answers(f"{address}/health") else None
    return served_address(project)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.drift", description=__doc__, epilog=NOTICE)
    parser.add_argument("folder", metavar="FOLDER", help="each folder or file in it is a study")
    parser.add_argument("--model", default=MODEL, help=f"a bundle's folder or models:/NAME@ALIAS (default: {MODEL})")
    parser.add_argument("--state", default=STATE, metavar="DIR", help=f"what the monitor remembers (default: {STATE})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
