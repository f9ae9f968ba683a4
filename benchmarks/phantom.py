"""How fast the phantom is, and how like the paper's images. Research use only; phantom scores are not clinical.

python -m benchmarks.phantom speed --patients 24 --out out/speed.json         images/s with 1 and 2 workers, memory
python -m benchmarks.phantom acceptance --images 200 --out out/accepted.json  statistics of default beside their ranges
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from meddet.files import write_json
from meddet.phantom.acceptance import enrolled_slices, geometry_findings, picture_findings, picture_statistics
from meddet.phantom.presets import PRESETS, Mode, Preset
from meddet.phantom.render import render
from meddet.phantom.writer import write_dataset

NOTICE = "Research use only; phantom scores say nothing about clinical performance."
_GEOMETRY_SLICES = 2000
_MODES: tuple[Mode | None, ...] = (None, "default", "diverse", "stress", "easy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a measurement, print its table and write its JSON; 1 if an accepted range is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    speed = commands.add_parser("speed", help="images per second and memory")
    speed.add_argument("--patients", type=int, default=24, help="N; memory is compared with 2 N (default: 24)")
    speed.set_defaults(command=_speed)
    accept = commands.add_parser("acceptance", help="statistics of mode default beside their ranges")
    accept.add_argument("--images", type=int, default=200, help="images to render (default: 200)")
    accept.set_defaults(command=_acceptance)
    for command in (speed, accept):
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    options = parser.parse_args(arguments)
    content, good = options.command(options)
    write_json(options.out, {"notice": NOTICE, **content})
    print(NOTICE)
    return 0 if good else 1


def _of(mode: Mode | None, patients: int) -> Preset:
    """Give the preset full, with that many enrolled patients and nobody excluded."""
    preset = PRESETS["full"] if mode is None else PRESETS["full"].only(mode)
    return replace(
        preset, scanned=patients, excluded_quality=0, excluded_incomplete=0, excluded_operated=0, patients_with_three=0
    )


def _written(mode: Mode | None, patients: int, workers: int) -> dict[str, Any]:
    """Write that many patients in a process of its own, and give its time and its workers' largest memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, mode, patients, workers).result()


def _measure(mode: Mode | None, patients: int, workers: int) -> dict[str, Any]:
    preset = _of(mode, patients)
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(preset, Path(folder) / "data", workers=workers)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    source, before = (own, 0.0) if workers == 1 else (after, used.ru_utime + used.ru_stime)
    images = 2 * patients
    return {
        "mode": mode or "mix",
        "workers": workers,
        "images": images,
        "images_per_s": round(images / seconds, 2),
        "cpu_s_per_image": round((source.ru_utime + source.ru_stime - before) / images, 3),
        "peak_rss_mb": round(source.ru_maxrss / 1024),
    }


def _runs(patients: int) -> Iterator[dict[str, Any]]:
    for mode in _MODES:
        yield _written(mode, patients, 1)
    yield _written(None, patients, 2)
    yield _written(None, 2 * patients, 2)


def _speed(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    print(f"{'mode':<10}{'workers':>8}{'images':>8}{'images/s':>10}{'CPU s/image':>13}{'peak MB':>9}")
    rows = []
    for row in _runs(options.patients):
        rows.append(row)
        print(f"{row['mode']:<10}{row['workers']:>8}{row['images']:>8}{row['images_per_s']:>10}"
              f"{row['cpu_s_per_image']:>13}{row['peak_rss_mb']:>9}")  # fmt: skip
    return {"runs": rows}, True


def _acceptance(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    preset = PRESETS["full"].only("default")
    slices = enrolled_slices(preset, options.images)
    statistics = [
        picture_statistics(item, render(preset, item)) for item in tqdm(slices, total=options.images, unit="image")
    ]
    findings = picture_findings(statistics) + geometry_findings(enrolled_slices(preset, _GEOMETRY_SLICES))
    print(f"{'statistic':<28}{'value':>10}{'low':>10}{'high':>10}")
    for finding in findings:
        mark = "" if finding.inside else "  outside"
        print(f"{finding.name:<28}{finding.value:>10.3f}{finding.low:>10g}{finding.high:>10g}{mark}")
    rows = [
        {"name": f.name, "value": round(f.value, 4), "low": f.low, "high": f.high, "inside": f.inside} for f in findings
    ]
    return {"images": options.images, "findings": rows}, all(finding.inside for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
