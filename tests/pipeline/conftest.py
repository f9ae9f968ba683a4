import contextlib
import csv
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from pipeline import _stage
from tests.dicom_writer import write_dicom

ROOT = Path(__file__).parents[2]
SIDE = 48


@dataclass
class Hospital:
    """A project folder with a small hand-made data set, and a way to run stages in it."""

    root: Path

    @property
    def annotations(self) -> dict[str, Any]:
        return json.loads((self.root / "data/annotations.json").read_text())

    def change(self, edit: Callable[[dict[str, Any]], object]) -> None:
        content = self.annotations
        edit(content)
        (self.root / "data/annotations.json").write_text(json.dumps(content))

    def set(self, key: str, value: object) -> None:
        """Change a parameter, named as "ingest.boxes.max_share"."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        assert last in place
        place[last] = value
        path.write_text(yaml.safe_dump(content))

    def report(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / f"reports/{name}.json").read_text())

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.root / f"artifacts/tables/{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def run(self, stage: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"pipeline.{stage}"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def call(self, stage: str) -> tuple[int, str]:
        """Run a stage in this process, where its slow imports are done once; give its exit code and what it said."""
        said = io.StringIO()
        with contextlib.chdir(self.root), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = _stage._outcome(importlib.import_module(f"pipeline.{stage}").main)
        return code, said.getvalue()

    def refuses(self, stage: str, *words: str, code: int = 2) -> None:
        """The stage ends with `code` and one line that names every word."""
        done = self.run(stage)
        assert done.returncode == code, done
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("error: ")
        assert [word for word in words if word not in line] == [], line

    def files(self, folder: str) -> dict[str, bytes]:
        paths = sorted(path for path in (self.root / folder).rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def _ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ingested")
    done = make_hospital(root).run("ingest")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def ingested(_ingested: Path, tmp_path: Path) -> Hospital:
    """The same hospital, after ingest."""
    shutil.copytree(_ingested, tmp_path, dirs_exist_ok=True)
    return Hospital(tmp_path)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A fresh hospital."""
    return make_hospital(tmp_path)


def make_hospital(tmp_path: Path) -> Hospital:
    """Eight patients: six enrolled with two images each, one operated, one incomplete and without images."""
    (tmp_path / "data/images").mkdir(parents=True)
    for name in ("params.yaml", "data.split.json"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for patient in range(1, 8):
        for view in range(2):
            name = f"P{patient}_{view}" + (".dcm" if view else ".png")
            write = partial(write_dicom, PixelSpacing=[0.5, 0.75]) if view else write_png
            write(tmp_path / "data/images" / name, pixels(seed=10 * patient + view))
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": name,
                    "width": SIDE,
                    "height": SIDE + 2,
                    "patient_id": f"P{patient}",
                }
            )
            boxes += [
                {
                    "id": len(boxes) + 1 + row,
                    "image_id": len(images),
                    "category_id": 1 + (patient + row) % 2,
                    "bbox": [20.5, 10.0 + 6 * row, 4, 2.25],
                    "area": 9,
                    "iscrowd": 0,
                    "level": ("C2/3", "C3/4")[row],
                }
                for row in range(2)
            ]
    categories = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (tmp_path / "data/annotations.json").write_text(json.dumps(content))
    with (tmp_path / "data/patients.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["patient_id", "age", "sex", "scanner", "field_strength_t", "quality_ok", "complete", "operated"])
        for patient in range(1, 9):
            flags = ("true", str(patient != 8).lower(), str(patient == 7).lower())
            rows.writerow((f"P{patient}", 40 + patient, "FM"[patient % 2], "AB"[patient % 2], 1.5, *flags))
    return Hospital(tmp_path)


def pixels(*, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, size=(SIDE + 2, SIDE)).astype(np.uint16)


def write_png(path: Path, values: np.ndarray) -> None:
    PIL.Image.fromarray(values).save(path)
