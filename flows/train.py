"""`python -m flows.train`: the whole graph, stage by stage, then MLflow, the registry and a table of results."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from flows import _dvc, _summary
from flows._dvc import StageFailed, StageRun
from flows._environment import prefect_home, set_environment, tracking_uri
from flows._lock import Busy, exclusive
from flows._processes import Interrupted, ended_by_signals
from flows._server import start_server
from meddet.config import load_params

FREE_BYTES = 3 * 1024**3


def main(arguments: list[str] | None = None) -> int:
    """Run the flow on the project in the working directory.

    Returns:
        0; 1 after one line where something failed; 130 or 143 after a signal.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.train", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=1, help="stages at once (default: 1)")
    options = parser.parse_args(arguments)
    project = Path.cwd()
    set_environment(project)
    try:
        with ended_by_signals(), exclusive(prefect_home(project) / "train.lock"):
            wait_for_server = start_server(project)
            graph = preflight(project)
            wait_for_server()
            from flows._flow import train

            runs = train(project, graph, concurrency=max(1, options.concurrency))
    except (Busy, ConnectionError, StageFailed, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except Interrupted as signal:
        print(f"\n{signal}; finished stages are kept, the next run goes on from there", file=sys.stderr, flush=True)
        return signal.code
    print(report(project, runs), flush=True)
    return 0


def preflight(project: Path) -> list[_dvc.Stage]:
    """Check what would make a long run fail late: parameters, data, disk; return the graph.

    Errors:
        ValueError: one line with what to do.
    """
    load_params(project / "params.yaml")
    _dvc.guard_data(project)
    free = shutil.disk_usage(project).free
    if free < FREE_BYTES:
        raise ValueError(f"{project}: expected {FREE_BYTES / 1e9:.1f} GB of free disk, got {free / 1e9:.1f} GB")
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
    mlflow = f"MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {python} -m mlflow ui --workers 1"
    prefect = (
        f"PREFECT_HOME={shlex.quote(str(prefect_home(project)))} DO_NOT_TRACK=true {python} -m prefect server start"
    )
    parts.append(
        f"pages:\n  {mlflow} --backend-store-uri {shlex.quote(tracking_uri(project))}    then http://127.0.0.1:5000\n"
        f"  {prefect}    then http://127.0.0.1:4200"
    )
    return "\n\n".join(["", *parts, _summary.NOTICE])


if __name__ == "__main__":
    sys.exit(main())
