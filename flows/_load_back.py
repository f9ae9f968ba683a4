"""Whether a registered version, loaded in a fresh process away from the project, predicts what its bundle predicts."""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_LIMIT_S = 300
_TOLERANCE = 1e-4


def predictions(bundle: Path, images: Sequence[Path]) -> list[dict[str, Any]]:
    """What the bundle itself finds in the files: boxes and scores of each slice."""
    from meddet.bundle import load_bundle
    from meddet.data.images import read_slices

    loaded = load_bundle(bundle, engine="onnx")
    config = loaded.config
    found = []
    for path in images:
        for _, image in read_slices(path, percentiles=config.percentiles, max_pixels=config.max_pixels):
            detections, _ = loaded.predict(image.pixels)
            found.append({"boxes": detections.boxes.tolist(), "scores": detections.scores.tolist()})
    return found


def load_back(address: str, images: Sequence[Path], expected: Sequence[dict[str, Any]]) -> str | None:
    """Load models:/NAME/VERSION in a fresh process and predict.

    Args:
        address: of the version; the store is the one in MLFLOW_TRACKING_URI.
        images: files to predict on.
        expected: what `predictions` gave for the bundle.

    Returns:
        None where the version predicts the same; else what it did, in one line.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        table = {"columns": ["image"], "data": [[as_base64(path.read_bytes())] for path in images]}
        asked.write_text(json.dumps({"dataframe_split": table}), encoding="utf-8")
        command = [sys.executable, "-m", "mlflow", "models", "predict", "--env-manager", "local", "-t", "json"]
        command += ["-m", address, "-i", str(asked), "-o", str(answered)]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return f"loaded back, it predicted nothing within {_LIMIT_S} s"
        if done.returncode or not answered.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return f"loaded back, it doesn't predict: {last[:200]}"
        found = json.loads(answered.read_text(encoding="utf-8"))["predictions"]
    same = len(found) == len(expected) and all(
        np.shape(one[key]) == np.shape(other[key]) and np.allclose(one[key], other[key], rtol=0, atol=_TOLERANCE)
        for one, other in zip(found, expected, strict=True)
        for key in ("boxes", "scores")
    )
    return None if same else "loaded back, it doesn't predict what its bundle predicts"


def as_base64(content: bytes) -> str:
    """Write a file's content as the served model takes it."""
    return base64.b64encode(content).decode()
