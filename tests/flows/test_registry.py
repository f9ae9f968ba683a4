import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from flows import _mlflow, _registry
from flows._records import Lineage, Record
from meddet import bundle
from meddet.classes import CLASSES
from meddet.models.detector import build_detector
from meddet.models.locator import Locator, LocatorSettings
from meddet.structures import Region

ROOT = Path(__file__).parents[2]
LINEAGE = Lineage("0123456789abcdef", False, 1_700_000_000_000, "d41d8.dir", "aa" * 32, "bb" * 32)
ARGUMENTS = {
    "backbone": "mobilenet_v2",
    "channels": 32,
    "num_classes": 2,
    "ode": "none",
    "solver": "fast",
    "ode_steps": 4,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """One database for the file: creating it takes seconds. The address is in the environment for children, too."""
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = address
    mlflow.set_tracking_uri(address)
    yield MlflowClient()
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def runs(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    package = Record("package", "package-1", {}, {}, {}, ())
    return _mlflow.mirror(client, [package], LINEAGE, {}, artifacts=tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with random weights that finds something in noise."""
    torch.manual_seed(0)
    detector = build_detector(**ARGUMENTS).eval()
    torch.nn.init.normal_(detector.head.cls.weight, std=0.3)
    detector.head.set_initial_size(16.0, 8.0)
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    config = bundle.Config(
        arguments=ARGUMENTS,
        input_size=(96, 64),
        locator=LocatorSettings(size=32, width=4, zoom=2.2, margin=1.4, aspect=0.85),
        percentiles=(0.5, 99.9),
        max_pixels=10_000,
        score_threshold=0.05,
        nms_iou=0.6,
        max_detections=20,
        operating_point=dict.fromkeys(CLASSES, 0.2),
    )
    bundle.write_bundle(
        folder,
        detector=detector,
        locator=Locator(4).eval(),
        config=config,
        card="# MedDet\n",
        data_md5="d41d8.dir",
        code="abc",
        images=[torch.rand(1, 80, 60)],
        regions=[Region(0.0, 0.0, 60.0, 80.0)],
        tolerance=bundle.Tolerance(box_px=0.05, score=0.001),
    )
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 70), dtype=np.uint8)).save(path)
    return path


def register(client: MlflowClient, runs: dict[str, str], folder: Path, picture: Path) -> str:
    options = {"run_id": runs["package"], "code": ROOT / "meddet", "images": [picture], "tags": LINEAGE.tags()}
    return str(_registry.register(client, folder, **options).version)


def test_a_bundle_is_registered_once_compared_and_answers_requests(
    client: MlflowClient, runs: dict[str, str], made: Path, picture: Path, tmp_path: Path
) -> None:
    version = register(client, runs, made, picture)
    challenger = client.get_model_version_by_alias("meddet", "challenger")
    assert str(challenger.version) == version
    assert challenger.tags["load_back"] == "equal"
    assert challenger.tags["data.md5"] == "d41d8.dir"
    assert challenger.tags["code.sha256"] == "abc"
    assert register(client, runs, made, picture) == version
    assert len(client.search_model_versions("name = 'meddet'")) == 1

    logged = Path(mlflow.artifacts.download_artifacts(f"models:/meddet/{version}"))
    assert not [path for path in logged.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt", ".pth"}]
    answer = served("models:/meddet@challenger", picture, tmp_path)
    found, _ = bundle.load_bundle(made).predict(np.asarray(_read(made, picture)))
    assert len(found.boxes) > 0
    assert answer["predictions"][0]["labels"] == [CLASSES[label] for label in found.labels.tolist()]
    assert np.allclose(answer["predictions"][0]["boxes"], found.boxes, atol=0.01)


def test_a_version_that_predicts_something_else_gets_no_alias(
    client: MlflowClient,
    runs: dict[str, str],
    made: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Path(shutil.copytree(made, tmp_path / "bundle"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "data_md5": "other.dir"}))
    expected = [{"boxes": [[0.0, 0.0, 1.0, 1.0]], "scores": [0.5]}]
    monkeypatch.setattr(_registry, "_predictions", lambda *_: expected)
    before = client.get_model_version_by_alias("meddet", "challenger").version
    with pytest.raises(ValueError, match=r"loaded back, it doesn't predict what .* predicts"):
        register(client, runs, other, picture)
    assert client.get_model_version_by_alias("meddet", "challenger").version == before


def _read(folder: Path, picture: Path) -> np.ndarray:
    from meddet.data.images import read_image

    config = bundle.load_bundle(folder).config
    return read_image(picture, percentiles=config.percentiles, max_pixels=config.max_pixels).pixels


def served(address: str, picture: Path, folder: Path) -> dict[str, list[dict[str, list[object]]]]:
    """Serve a model on the loopback, ask once, end the server's whole group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", address, "--env-manager", "local"]
    log = (folder / "serve.log").open("wb")
    server = subprocess.Popen(
        [*command, "--port", str(port)], cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    body = {"dataframe_records": [{"image": base64.b64encode(picture.read_bytes()).decode()}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return dict(json.load(response))
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, (folder / "serve.log").read_text()
                select_nothing(0.2)
        raise AssertionError((folder / "serve.log").read_text())
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()


def select_nothing(seconds: float) -> None:
    """Wait for a server that tells nobody when it is ready."""
    time.sleep(seconds)
