import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from flows import _events, _new_data
from flows._processes import end
from flows._server import api_url, free_port, start_prefect, wait_for
from meddet.drift.features import FEATURES
from meddet.drift.reference import Rule, build_reference, write_reference
from tests.flows import serving

RULE = Rule(window=12, least=10, p_value=0.001, psi=0.25, bins=5)


@pytest.fixture(scope="module")
def model(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose reference lies between 0 and 1 in every feature."""
    from tests.flows.tiny_project import vouch

    made = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("model") / "bundle"))
    rows = [dict.fromkeys(FEATURES, patient / 30) for patient in range(30)]
    write_reference(made / "reference.json", build_reference({"train": rows, "validation": rows}, rule=RULE))
    return vouch(made)


def fill(inbox: Path, count: int, *, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    inbox.mkdir(exist_ok=True)
    for number in range(count):
        values = rng.integers(0, 200, (40, 32)).astype(np.uint8)
        PIL.Image.fromarray(values).save(inbox / f"Mrs Jones {seed} {number}.png")


def look(project: Path, model: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.drift", "inbox", "--model", str(model)]
    known = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    settings = {**known, "PREFECT_HOME": str(project / ".prefect"), **environment}
    return subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, timeout=300, check=False)


def pending(project: Path) -> list[dict[str, Any]]:
    content = json.loads((project / ".drift" / "events.json").read_text())
    return list(content["pending"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, subprocess.Popen[bytes]]]:
    """Prefect's real server: its home, its API, its process."""
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    service = start_prefect(folder, port, environment={"PREFECT_HOME": str(folder), "PREFECT_UI_ENABLED": "0"})
    try:
        wait_for(service, f"{api_url(port)}/health")
        yield folder, api_url(port), service.process
    finally:
        end(service.process)


def received(api: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Ask the server for its events; it stores what it has taken within seconds."""
    query = {"filter": {"event": {"name": list(names)}}, "limit": 50}
    return list(serving.ask(f"{api}/events/filter", query)["events"])


def test_fault_34_the_event_waits_for_prefect_and_is_sent_once(
    model: Path, tmp_path: Path, server: tuple[Path, str, subprocess.Popen[bytes]]
) -> None:
    fill(tmp_path / "inbox", 10)
    alone = look(tmp_path, model)
    assert alone.returncode == 0, alone.stderr
    assert "10 new studies of 10: DRIFT" in alone.stdout
    assert "Prefect's server doesn't answer: 1 events are kept" in alone.stdout
    (event,) = pending(tmp_path)
    assert event["event"] == "meddet.data.drift"
    assert event["resource"]["prefect.resource.id"] == "meddet.data"
    assert event["payload"]["features"]["rows"]["median"] == 40
    fill(tmp_path / "inbox", 1, seed=1)
    home, api, process = server
    as_flow = look(tmp_path, model, PREFECT_HOME=str(home), PREFECT_API_URL=api)
    assert as_flow.returncode == 0, as_flow.stderr
    assert "1 new studies of 11: DRIFT" in as_flow.stdout
    assert pending(tmp_path) == []
    events = serving.wait_until(lambda: received(api, ["meddet.data.drift"]), process)
    assert [each["payload"]["alarm"] for each in events] == [1]
    assert events[0]["id"] == event["id"]
    assert "Jones" not in json.dumps(events)


def test_without_a_model_nothing_is_counted(tmp_path: Path) -> None:
    fill(tmp_path / "inbox", 1)
    done = look(tmp_path, tmp_path / "absent")
    assert done.returncode == 1
    assert "absent: expected the folder of a bundle" in done.stderr.splitlines()[-1]
    assert not (tmp_path / ".drift").exists()


def test_an_event_that_is_not_taken_stays_and_keeps_its_id(tmp_path: Path) -> None:
    outbox = _events.Outbox(tmp_path / "events.json")
    for number in (1, 2):
        outbox.add("meddet.data.drift", {"alarm": number})
    ids = [event["id"] for event in outbox.pending]
    outbox.keep()
    taken: list[str] = []

    def post(events: Sequence[Any]) -> None:
        if taken:
            raise ConnectionError("gone")
        taken.extend(event["id"] for event in events)

    with pytest.raises(ConnectionError):
        outbox.send(post)
    again = _events.read_outbox(tmp_path / "events.json")
    assert taken == ids[:1]
    assert [event["id"] for event in again.pending] == ids[1:]
    taken.clear()
    assert again.send(post) == 1
    assert _events.read_outbox(tmp_path / "events.json").pending == []


# New data


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def pin(folder: Path, md5: str) -> None:
    (folder / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": md5, "path": "data"}]}))
    git(folder, "add", "data.dvc")
    git(folder, "commit", "-qm", md5)


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Path, Path]:
    """A repository whose last training saw the data "old", and a clone of it."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    git(first, "init", "-q", "-b", "main", ".")
    lock = {"stages": {"ingest": {"deps": [{"path": "data", "md5": "old"}, {"path": "a.py", "md5": "x"}]}}}
    (first / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(first, "add", "dvc.lock")
    pin(first, "old")
    git(tmp_path, "clone", "-q", str(first), str(second))
    return first, second


def test_data_that_the_last_training_saw_are_not_new(clones: tuple[Path, Path]) -> None:
    assert [_new_data.find_new_data(clone) for clone in clones] == [None, None]


def test_a_new_pin_upstream_is_found_without_touching_the_clone(clones: tuple[Path, Path]) -> None:
    first, second = clones
    pin(first, "new")
    revision = git(first, "rev-parse", "HEAD").strip()
    assert _new_data.find_new_data(first) == _new_data.NewData("new", revision)
    assert _new_data.find_new_data(second) == _new_data.NewData("new", revision)
    assert "old" in (second / "data.dvc").read_text()
    (second / "dvc.lock").unlink()
    assert _new_data.find_new_data(second) is None


def test_no_repository_no_new_data(tmp_path: Path) -> None:
    assert _new_data.find_new_data(tmp_path) is None
    (tmp_path / "dvc.lock").write_text("stages: {ingest: {deps: [{path: data, md5: old}]}}")
    assert _new_data.find_new_data(tmp_path) is None
