"""Run the whole graph in two clean clones of this repository, and compare every file that they made.

python -m benchmarks.twice --out out/twice.json                    preset tiny: minutes
python -m benchmarks.twice --preset quick --out out/twice.json     what `make run` trains, twice

Clones are of the commit that is checked out. Times belong to the machine: benchmark.json and .png are not compared.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.kills import environment
from meddet.checkpoint import content_sum
from meddet.files import write_json

ROOT = Path(__file__).parents[1]
NOTICE = "Research use only; phantom scores say nothing about clinical performance."
_NAMES = ("first", "second")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run twice, print and write what differs; 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("tiny", "quick"), default="tiny", help="of data and parameters")
    parser.add_argument("--threads", type=int, default=1, help="of each run (default: 1); bits depend on them")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    options = parser.parse_args(arguments)
    sums: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in _NAMES:
            start = time.monotonic()
            sums[name] = _run(Path(folder) / name, preset=options.preset, threads=options.threads)
            print(f"{name}: {len(sums[name])} files in {time.monotonic() - start:.0f} s", flush=True)
    differing = differences(*sums.values())
    for name in differing:
        print(f"differs: {name}")
    weights = {name: value for name, value in sums["first"].items() if name.endswith(".safetensors")}
    content = {"preset": options.preset, "threads": options.threads, "files": len(sums["first"])}
    write_json(options.out, {"notice": NOTICE, **content, "differing": differing, "weights": weights})
    print(f"{len(differing)} of {len(sums['first'])} files differ; {len(weights)} of all are weights. {NOTICE}")
    return 1 if differing else 0


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Name the files that one side lacks or has otherwise."""
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def _run(clone: Path, *, preset: str, threads: int) -> dict[str, str]:
    """Clone, write the data, run the graph, and return the sum of every file it made."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for stale in ("artifacts", "reports"):
        shutil.rmtree(clone / stale, ignore_errors=True)
    if preset == "tiny":
        shutil.copy(clone / "params" / "tiny.yaml", clone / "params.yaml")
    _call(clone, threads, "meddet.cli", "phantom", "--preset", preset, "--out", "data")
    if preset == "tiny":
        _call(clone, threads, "dvc", "add", "--quiet", "data")
    _call(clone, threads, "dvc", "repro")
    files = (path for top in ("artifacts", "reports") for path in (clone / top).rglob("*") if path.is_file())
    return {path.relative_to(clone).as_posix(): content_sum(path) for path in files if path.stem != "benchmark"}


def _call(clone: Path, threads: int, *words: str) -> None:
    own = {**environment(clone), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-m", *words], cwd=clone, env=own, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{clone.name}: {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
