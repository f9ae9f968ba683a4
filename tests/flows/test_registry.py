import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from flows import _registry
from flows._tags import CHALLENGER, CHAMPION, DECISION_TAG, LINEAGE, PREVIOUS
from meddet import bundle
from meddet.classes import CLASSES
from meddet.data.images import read_image
from tests.flows.tiny_project import vary, write_evaluation


def test_a_version_has_its_lineage_and_what_the_promotion_reads(
    client: MlflowClient, good: str, tmp_path: Path
) -> None:
    version = _registry.find_version(client, good)
    assert set(LINEAGE) <= set(version.tags)
    assert version.tags["load_back"] == "equal"
    files = _registry.list_files(version)
    assert {path.split("/")[1] for path in files if path.startswith("artifacts/")} == {"bundle", "evaluation"}
    assert not [path for path in files if Path(path).suffix in {".pkl", ".pickle", ".pt", ".pth"}]
    fetched = _registry.fetch(version, "evaluation", tmp_path)
    assert sorted(path.name for path in fetched.iterdir()) == ["detections.json", "evaluate.json", "split.json"]
    assert list(tmp_path.rglob("bundle")) == []
    with pytest.raises(ValueError, match="expected its folder nothing"):
        _registry.fetch(version, "nothing", tmp_path)


def test_a_bundle_is_registered_once_and_answers_requests(
    client: MlflowClient, good: str, register: Callable[..., str], tiny_bundle: Path, tiny_project: Path, tmp_path: Path
) -> None:
    before = len(client.search_model_versions("name = 'meddet'"))
    evaluation = [tiny_project / "artifacts" / "evaluate" / name for name in ("detections.json", "evaluate.json")]
    assert register(tiny_bundle, [*evaluation, tiny_project / "artifacts" / "split.json"]) == good
    assert len(client.search_model_versions("name = 'meddet'")) == before
    assert _registry.aliases(client)[CHALLENGER] == good
    picture = tiny_project / "artifacts" / "images" / "1.png"
    answer = served(f"models:/meddet/{good}", picture, tmp_path)
    loaded = bundle.load_bundle(tiny_bundle)
    limits = {"percentiles": loaded.config.percentiles, "max_pixels": loaded.config.max_pixels}
    found, _ = loaded.predict(read_image(picture, **limits).pixels)
    assert len(found.boxes) > 0
    assert answer["predictions"][0]["labels"] == [CLASSES[label] for label in found.labels.tolist()]
    assert np.allclose(np.array(answer["predictions"][0]["boxes"], float), found.boxes, atol=0.01)


def test_a_version_that_predicts_something_else_is_no_challenger(
    client: MlflowClient,
    register: Callable[..., str],
    tiny_bundle: Path,
    tiny_project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = vary(tiny_bundle, tmp_path / "other")
    evaluation = write_evaluation(tiny_project, other, tmp_path / "evaluation")
    monkeypatch.setattr(_registry, "predictions", lambda *_: [{"boxes": [[0.0, 0.0, 1.0, 1.0]], "scores": [0.5]}])
    before = _registry.aliases(client)
    with pytest.raises(ValueError, match=r"loaded back, it doesn't predict what its bundle predicts"):
        register(other, evaluation)
    assert _registry.aliases(client) == before
    newest = max(int(version.version) for version in client.search_model_versions("name = 'meddet'"))
    assert _registry.find_version(client, str(newest)).tags["load_back"] == "failed"


def test_a_name_or_number_without_a_version(client: MlflowClient, good: str) -> None:  # noqa: ARG001
    for number in ("999", "x"):
        with pytest.raises(ValueError, match=f"models:/meddet/{number}: expected a registered version, found none"):
            _registry.find_version(client, number)


def test_a_move_that_was_cut_is_mended(client: MlflowClient, clone: Callable[..., str]) -> None:
    old, new = clone(), clone()
    client.set_model_version_tag("meddet", new, "promotion.against", old)
    _registry.name_champion(client, new)
    _registry.name_previous(client, old)
    assert _registry.mend_aliases(client) is None
    _registry.name_previous(client, new)
    assert f"version {new}" in str(_registry.mend_aliases(client))
    assert PREVIOUS not in _registry.aliases(client)

    client.set_model_version_tag("meddet", new, DECISION_TAG, "PROMOTE")
    _registry.name_previous(client, new)
    _registry.mend_aliases(client)
    assert {name: _registry.aliases(client)[name] for name in (CHAMPION, PREVIOUS)} == {CHAMPION: new, PREVIOUS: old}


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
