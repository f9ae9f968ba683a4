"""`python -m flows.train`: the whole graph, stage by stage, then MLflow, the registry and a table of results."""

import argparse
import shlex
import sys
from pathlib import Path

from flows import _data, _dvc, _dvc_locks, _preflight, _summary
from flows._dvc import StageFailed, StageRun
from flows._environment import prefect_home, set_environment
from flows._lock import Busy, exclusive
from flows._processes import Interrupted, ended_by_signals
from flows._screen import Screen
from flows._server import start_server


def main(arguments: list[str] | None = None) -> int:
    """Run the flow on the project in the working directory.

    Returns:
        0; 1 after one line where something failed; 130 or 143 after a signal.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.train", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=1, help="stages at once (default: 1)")
    parser.add_argument("--pools", default="", metavar="A,B", help="worker pools for the stages that may go there")
    parser.add_argument("--unlock", action="store_true", help="only clear what dead processes hold of DVC's locks")
    options = parser.parse_args(arguments)
    project = Path.cwd()
    set_environment(project)
    pools = [name for name in options.pools.split(",") if name]
    try:
        if options.unlock:
            print("\n".join(_dvc_locks.unlock(project)) or "DVC's locks: nobody holds one", flush=True)
            return 0
        with ended_by_signals(), exclusive(prefect_home(project) / "train.lock"):
            wait_for_server = start_server(project)
            graph = preflight(project)
            wait_for_server()
            from flows._attempt import recorded
            from flows._flow import train

            with recorded(project, "train"):
                runs = train(project, graph, concurrency=max(1, options.concurrency), pools=pools)
    except (Busy, ConnectionError, StageFailed, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except Interrupted as signal:
        print(f"\n{signal}; finished stages are kept, the next run goes on from there", file=sys.stderr, flush=True)
        return signal.code
    print(report(project, runs), flush=True)
    return 0


def preflight(project: Path) -> list[_dvc.Stage]:
    """Check what would make a long run fail late; return the graph.

    Errors:
        ValueError: a line for each complaint, with what to do.
    """
    _preflight.check(project, say=print, needs_clean_git=False)
    _data.bring(project, revision=None, accept=False, write=Screen(in_place=False).write)
    _preflight.check_cache(project, _data.status(project), say=print)
    return _dvc.stages(project)


def report(project: Path, runs: list[StageRun]) -> str:
    """Write the last words: results, times, pictures, and the commands that open the pages."""
    results = _summary.read_results(project)
    parts = [_summary.as_text(results.cells()), _summary.LEGEND, *results.remarks] if results.models else []
    parts.append(_summary.as_text(_summary.stage_cells(runs)))
    if pictures := _summary.pictures(project):
        parts.append("pictures:\n" + "\n".join(f"  {path}" for path in pictures))
    if pages := _summary.pages(project):
        parts.append("made to be read:\n" + "\n".join(f"  {path}" for path in pages))
    python = shlex.quote(str(Path(sys.executable)))
    parts.append(
        f"next:\n  {python} -m flows.promote    decides whether the new model may replace the champion\n"
        f"pages:\n  {python} -m flows.serve    then http://127.0.0.1:4200 (Prefect) and http://127.0.0.1:5000 (MLflow)"
    )
    return "\n\n".join(["", *parts, _summary.NOTICE])


if __name__ == "__main__":
    sys.exit(main())
