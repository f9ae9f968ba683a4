"""What surrounds a stage (clock, time zone, language, path, home) reaches none of its outputs."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Hospital, make_hospital

# Every look at the clock is 19 years before or after the one before.
JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static long looks;
static long jump(void) { return (__atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) & 1) ? 300000000L : -300000000L; }
int clock_gettime(clockid_t id, struct timespec *now) {
    int (*look)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = look(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return status;
}
"""


def run_stages(folder: Path, **surroundings: str) -> dict[str, str]:
    """Run ingest, validate, split and a training of two steps; return the sum of every file they wrote."""
    folder.mkdir()
    hospital = make_hospital(folder)
    small = {"steps": 2, "batch_size": 2, "checkpoint_steps": 1}
    for key, value in {
        **{f"baseline.{name}": value for name, value in small.items()},
        "view.height": 64,
        "view.width": 64,
        "model.channels": 32,
    }.items():
        hospital.set(key, value)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LC_", "LANG"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | surroundings
    for stage in ("ingest", "validate", "split", "baseline"):
        if stage == "baseline":
            whole_regions(hospital)
        done = subprocess.run(
            [sys.executable, "-m", f"pipeline.{stage}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    files = {**hospital.files("artifacts"), **hospital.files("reports")}
    assert "baseline/model.safetensors" in {name.removeprefix("artifacts/") for name in files}
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def whole_regions(hospital: Hospital) -> None:
    images = json.loads((hospital.root / "artifacts/coco.json").read_text())["images"]
    regions = {str(image["id"]): [0.0, 0.0, float(image["width"]), float(image["height"])] for image in images}
    (hospital.root / "artifacts/regions.json").write_text(json.dumps(regions))


@pytest.mark.slow
def test_fault_31_clock_zone_language_path_and_home_change_no_output(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build a clock that jumps")
    (tmp_path / "clock.c").write_text(JUMPING_CLOCK)
    clock = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", clock, tmp_path / "clock.c", "-ldl"], check=True)
    strange = {
        "LD_PRELOAD": str(clock),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",  # where "I" is not the capital of "i"
        "LANG": "de_DE.UTF-8",  # where 0.5 is 0,5
        "HOME": "/proc",  # which nobody may write to, not even root
    }
    look = [sys.executable, "-c", "import time; print(abs(time.time() - time.time()) > 5e8)"]
    assert subprocess.run(look, env=os.environ | strange, capture_output=True, text=True).stdout == "True\n"
    usual = run_stages(tmp_path / "usual", TZ="UTC")
    assert run_stages(tmp_path / "eine Klinik, 颈椎 1", **strange) == usual
