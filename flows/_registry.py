"""The registry of models: one version for each bundle, found by its hash, loaded back before it gets an alias."""

import base64
import hashlib
import importlib.metadata
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array
from PIL import Image

MODEL = "meddet"
ALIAS = "challenger"
BUNDLE_TAG = "bundle.sha256"
_LOAD_BACK_S = 300
_TOLERANCE = 1e-4
_REQUIRED = (
    "jaxtyping",
    "mlflow",
    "nibabel",
    "numpy",
    "onnxruntime",
    "onnxscript",
    "onnx",
    "pandas",
    "pillow",
    "pydantic",
    "pydicom",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
)


def register(
    client: MlflowClient, bundle: Path, *, run_id: str, code: Path, images: Sequence[Path], tags: Mapping[str, str]
) -> ModelVersion:
    """Register the bundle as a version of `meddet`, and give it the alias once it predicts what the bundle predicts.

    The version is loaded back in a fresh process that finds only what was logged. A bundle that is registered already
    gets no second version.

    Args:
        client: of the registry.
        bundle: folder of the bundle.
        run_id: the run that made it.
        code: folder of the library that the model brings along.
        images: files to compare on; they are not stored.
        tags: of the version.

    Errors:
        ValueError: the version doesn't load or predicts something else; the alias stays where it was.
    """
    expected = _predictions(bundle, images)
    manifest = (bundle / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    made = {BUNDLE_TAG: digest, "code.sha256": str(json.loads(manifest).get("code_sha256"))}
    version = _registered(client, digest)
    if version is None or not _agrees(version, images, expected):
        version = _new_version(bundle, run_id=run_id, code=code, tags={**tags, **made})
        if not _agrees(version, images, expected):
            client.set_model_version_tag(MODEL, version.version, "load_back", "failed")
            raise ValueError(
                f"models:/{MODEL}/{version.version}: loaded back, it doesn't predict what {bundle} predicts"
            )
        client.set_model_version_tag(MODEL, version.version, "load_back", "equal")
    client.set_registered_model_alias(MODEL, ALIAS, version.version)
    return version


def _registered(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{MODEL}' and tags.`{BUNDLE_TAG}` = '{digest}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _new_version(bundle: Path, *, run_id: str, code: Path, tags: Mapping[str, str]) -> ModelVersion:
    inputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "image")]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "row"),
        ColSpec(DataType.string, "slice"),
        ColSpec(Array(Array(DataType.double)), "boxes"),
        ColSpec(Array(DataType.double), "scores"),
        ColSpec(Array(DataType.string), "labels"),
    ]
    with mlflow.start_run(run_id=run_id) as run:
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            python_model=str(Path(__file__).with_name("_served_model.py")),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(code)],
            signature=ModelSignature(Schema(inputs), Schema(outputs)),
            input_example=pd.DataFrame({"image": [_base64(_blank())]}),
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _REQUIRED],
        )
    MlflowClient().set_terminated(run.info.run_id, end_time=run.info.start_time)
    return mlflow.register_model(logged.model_uri, MODEL, tags=dict(tags))


def _blank() -> bytes:
    """The stored example: a grey ramp, for a real one would carry somebody's data into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).save(buffer, format="PNG")
    return buffer.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _predictions(bundle: Path, images: Sequence[Path]) -> list[dict[str, Any]]:
    """What the bundle itself finds in the files."""
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


def _agrees(version: ModelVersion, images: Sequence[Path], expected: list[dict[str, Any]]) -> bool:
    """Whether the version, in a fresh process away from the project, predicts what is expected."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        table = {"columns": ["image"], "data": [[_base64(path.read_bytes())] for path in images]}
        asked.write_text(json.dumps({"dataframe_split": table}), encoding="utf-8")
        command = [sys.executable, "-m", "mlflow", "models", "predict", "--env-manager", "local", "-t", "json"]
        command += ["-m", f"models:/{MODEL}/{version.version}", "-i", str(asked), "-o", str(answered)]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_LOAD_BACK_S, check=False)
        if done.returncode or not answered.is_file():
            return False
        predictions = json.loads(answered.read_text(encoding="utf-8"))["predictions"]
    return len(predictions) == len(expected) and all(
        np.shape(one[key]) == np.shape(other[key]) and np.allclose(one[key], other[key], rtol=0, atol=_TOLERANCE)
        for one, other in zip(predictions, expected, strict=True)
        for key in ("boxes", "scores")
    )
