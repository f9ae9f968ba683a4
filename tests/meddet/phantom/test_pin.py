"""The preset quick is what data.dvc pins, also on a processor without vector extensions."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from meddet.data.digest import dvc_md5

ROOT = Path(__file__).parents[3]
PLAIN_PROCESSOR = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Haswell"}


def test_quick_is_the_pinned_data_without_vector_extensions(tmp_path: Path) -> None:
    (pin,) = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    done = subprocess.run(
        [sys.executable, "-m", "meddet.cli", "phantom", "--preset", "quick", "--out", str(tmp_path / "data")],
        env={**os.environ, **PLAIN_PROCESSOR},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert dvc_md5(tmp_path / "data") == pin["md5"]
