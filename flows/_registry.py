"""The registry of models: versions, the files that come with them, and the names that point to them.

One version for each bundle and its detections, found by their hashes. `challenger` is the newest that was loaded back,
`champion` the one in use, `previous` the one before. flows/promote.py alone moves the last two.
"""

import hashlib
import importlib.metadata
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array
from PIL import Image

from flows._load_back import as_base64, load_back, predictions
from flows._tags import (
    AGAINST_TAG,
    BUNDLE_TAG,
    CHALLENGER,
    CHAMPION,
    CODE_TAG,
    DECISION_TAG,
    DETECTIONS_TAG,
    EVALUATION,
    LOADED_TAG,
    MODEL,
    PREVIOUS,
    PROMOTED,
    REASON_TAG,
    REPORT,
)

_TAG_LENGTH = 1000
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
    client: MlflowClient,
    bundle: Path,
    *,
    evaluation: Sequence[Path],
    run_id: str,
    code: Path,
    images: Sequence[Path],
    tags: Mapping[str, str],
) -> ModelVersion:
    """Register the bundle as a version of `meddet`, and name it challenger once it predicts what the bundle predicts.

    The version is loaded back in a fresh process that finds only what was logged. A bundle that is registered already
    with these detections gets no second version.

    Args:
        client: of the registry.
        bundle: folder of the bundle, named bundle.
        evaluation: the files named in EVALUATION, which the promotion reads, and the page for people.
        run_id: the run that made it.
        code: folder of the library that the model brings along.
        images: files to compare on; they are not stored.
        tags: of the version: its lineage, and numbers for people.

    Errors:
        ValueError: the version doesn't load or predicts something else; the alias stays where it was.
    """
    expected = predictions(bundle, images)
    manifest = (bundle / "manifest.json").read_bytes()
    hashes = {
        BUNDLE_TAG: hashlib.sha256(manifest).hexdigest(),
        CODE_TAG: str(json.loads(manifest).get("code_sha256")),
        DETECTIONS_TAG: hashlib.sha256(_named(evaluation)["detections.json"].read_bytes()).hexdigest(),
    }
    version = _registered(client, hashes)
    if version is None or load_back(address(version), images, expected) is not None:
        version = _new_version(bundle, evaluation, run_id=run_id, code=code, tags={**tags, **hashes})
        trouble = load_back(address(version), images, expected)
        client.set_model_version_tag(MODEL, version.version, LOADED_TAG, "failed" if trouble else "equal")
        if trouble:
            raise ValueError(f"{address(version)}: {trouble} ({bundle})")
    client.set_registered_model_alias(MODEL, CHALLENGER, version.version)
    return version


def address(version: ModelVersion) -> str:
    """Name the version as MLflow and `meddet predict --model` understand it."""
    return f"models:/{MODEL}/{version.version}"


def aliases(client: MlflowClient) -> dict[str, str]:
    """List the names and the versions that they point to; none where nothing was registered."""
    try:
        return {name: str(version) for name, version in client.get_registered_model(MODEL).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def find_version(client: MlflowClient, number: str) -> ModelVersion:
    """Find a version by its number.

    Errors:
        ValueError: there is none.
    """
    try:
        return client.get_model_version(MODEL, number)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ValueError(f"models:/{MODEL}/{number}: expected a registered version, found none") from None
        raise


def list_files(version: ModelVersion, folder: str = "") -> list[str]:
    """List the version's files, or those in one of its folders, by their paths in it."""
    found = []
    for entry in mlflow.artifacts.list_artifacts(f"{address(version)}/{folder}".rstrip("/")):
        found += list_files(version, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def fetch(version: ModelVersion, name: str, folder: Path) -> Path:
    """Copy one of the version's artifacts, "bundle" or "evaluation", and nothing else.

    Errors:
        ValueError: the version has none.
    """
    try:
        return Path(mlflow.artifacts.download_artifacts(f"{address(version)}/artifacts/{name}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{address(version)}: expected its folder {name}, got an error: {reason}") from None


def log_decision(
    client: MlflowClient, version: ModelVersion, outcome: str, *, reason: str, against: str, files: Sequence[Path]
) -> None:
    """Add the files to the version's run and the outcome to the version's tags."""
    for path in files:
        client.log_artifact(version.run_id, str(path), "promotion")
    for tag, value in ((REASON_TAG, reason), (AGAINST_TAG, against), (DECISION_TAG, outcome)):
        client.set_model_version_tag(MODEL, version.version, tag, value[:_TAG_LENGTH])


def mend_aliases(client: MlflowClient) -> str | None:
    """Finish or undo a move that was cut between its two steps: `previous` never names the champion.

    It goes back to what the champion had replaced. Whether the challenger of then is promoted is decided again.

    Returns:
        what was done, if anything was.
    """
    named = aliases(client)
    champion = named.get(CHAMPION)
    if champion is None or named.get(PREVIOUS) != champion:
        return None
    name_previous(client, replaced_by(client, champion))
    return f"{PREVIOUS} named the champion, version {champion}: a move had been cut short; it is mended"


def replaced_by(client: MlflowClient, number: str) -> str | None:
    """Find the champion against which a version was promoted; None for the first and for one that was named by hand."""
    tags = find_version(client, number).tags
    against = tags.get(AGAINST_TAG, "none") if tags.get(DECISION_TAG) == PROMOTED else "none"
    return against if against.isdigit() else None


def name_champion(client: MlflowClient, number: str) -> None:
    """Let `champion` name a version."""
    client.set_registered_model_alias(MODEL, CHAMPION, number)


def name_previous(client: MlflowClient, number: str | None) -> None:
    """Let `previous` name a version, or nothing."""
    if number is not None:
        client.set_registered_model_alias(MODEL, PREVIOUS, number)
    elif PREVIOUS in aliases(client):
        client.delete_registered_model_alias(MODEL, PREVIOUS)


def _named(files: Sequence[Path]) -> dict[str, Path]:
    named = {path.name: path for path in files}
    assert set(EVALUATION) <= set(named) <= {*EVALUATION, REPORT}, sorted(named)
    return named


def _registered(client: MlflowClient, hashes: Mapping[str, str]) -> ModelVersion | None:
    wanted = " and ".join(f"tags.`{tag}` = '{hashes[tag]}'" for tag in (BUNDLE_TAG, DETECTIONS_TAG))
    found = client.search_model_versions(f"name = '{MODEL}' and {wanted}")
    return max(found, key=lambda version: int(version.version), default=None)


def _new_version(
    bundle: Path, evaluation: Sequence[Path], *, run_id: str, code: Path, tags: Mapping[str, str]
) -> ModelVersion:
    # MLflow keeps an artifact under its folder's own name, and `fetch` asks for that.
    assert bundle.name == "bundle", bundle
    inputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "image")]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "row"),
        ColSpec(DataType.string, "slice"),
        ColSpec(Array(Array(DataType.double)), "boxes"),
        ColSpec(Array(DataType.double), "scores"),
        ColSpec(Array(DataType.string), "labels"),
    ]
    with tempfile.TemporaryDirectory() as temporary, mlflow.start_run(run_id=run_id) as run:
        folder = Path(temporary, "evaluation")
        folder.mkdir()
        for name, path in _named(evaluation).items():
            shutil.copyfile(path, folder / name)
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            python_model=str(Path(__file__).with_name("_served_model.py")),
            artifacts={"bundle": str(bundle), "evaluation": str(folder)},
            code_paths=[str(code)],
            signature=ModelSignature(Schema(inputs), Schema(outputs)),
            input_example=pd.DataFrame({"image": [as_base64(_blank())]}),
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _REQUIRED],
        )
    MlflowClient().set_terminated(run.info.run_id, end_time=run.info.start_time)
    return mlflow.register_model(logged.model_uri, MODEL, tags=dict(tags))


def _blank() -> bytes:
    """The stored example: a grey ramp, for a real one would carry somebody's data into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).save(buffer, format="PNG")
    return buffer.getvalue()
