import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from flows import _server, serve
from flows._environment import set_environment, tracking_uri
from flows._processes import end
from tests.flows import serving
from tests.flows.serving import Served

EMIT = """\
import sys
from prefect.events import emit_event
emit_event(sys.argv[1], {"prefect.resource.id": "meddet.x"}, payload={"revision": "0123abc"})
"""


def gone(descriptors: Iterable[int]) -> bool:
    """Whether the processes of these pidfds have ended, waiting a little for the last."""
    return all(select.select([descriptor], [], [], 30)[0] for descriptor in descriptors)


def addresses(processes: Iterable[int]) -> set[str]:
    """The addresses at which the processes listen, as the kernel writes them."""
    sockets = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").iterdir():
            if link.is_symlink() and (found := re.match(r"socket:\[(\d+)\]", str(link.readlink()))):
                sockets.add(found[1])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


def emit(event: str, served: Served) -> None:
    environment = {**os.environ, "PREFECT_API_URL": served.api}
    subprocess.run([sys.executable, "-c", EMIT, event], env=environment, check=True, timeout=120)


def test_fault_14_a_schedule_fires_collides_survives_a_power_cut_and_finishes(project: Path) -> None:
    serving.plan_every(4, project)
    os.mkfifo(project / "started.fifo")
    with serving.serve(project) as served:
        assert_announced(served)
        assert_refused(project, served)
        stage = int((project / "started.fifo").read_text())
        first = served.wait_for_run(lambda run: run["state_type"] == "RUNNING")
        assert first["auto_scheduled"]
        assert first["parameters"] == {"reason": "schedule"}
        second = served.wait_for_run(lambda run: run["auto_scheduled"] and run["state_type"] == "CANCELLED")
        assert second["state"]["message"] == "Deployment concurrency limit reached."
        emit("meddet.data.drift", served)
        drift = served.wait_for_run(lambda run: run["parameters"] == {"reason": "drift"})
        assert drift["created_by"]["type"] == "AUTOMATION"
        emit("meddet.data.new", served)
        served.wait_for_run(lambda run: run["parameters"] == {"reason": "new data", "data_revision": "0123abc"})

        family = served.family()
        assert stage in family
        assert addresses(family) == {"0100007F"}
        # Nobody may act on another's death: a power cut comes to all at once.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in family:
                os.kill(process, number)
        assert gone(family.values())
    (project / "started.fifo").unlink()

    with serving.serve(project) as served:
        (ghost,) = [run for run in served.runs() if run["id"] == first["id"]]
        assert ghost["state_type"] == "CRASHED"
        served.wait_for_run(lambda run: run["auto_scheduled"] and run["state_type"] == "COMPLETED")
        family = served.family()
        served.process.send_signal(signal.SIGTERM)
        assert gone(family.values()), served.said()
        assert served.process.wait() == 128 + signal.SIGTERM
        assert served.said()[-1] == "ended by SIGTERM; all stopped"


def assert_announced(served: Served) -> None:
    prefect, mlflow, *plans, last = served.said()
    assert prefect == f"Prefect  {served.api.removesuffix('/api')}"
    assert mlflow == f"MLflow   {served.mlflow}"
    drift, retrain = sorted(plans)
    assert re.fullmatch(r"retrain  next on \w+day \d{4}-\d\d-\d\d \d\d:\d\d \S+; logs in \.prefect/", retrain)
    assert drift == "drift    by hand and on events alone; logs in .prefect/"
    assert last == "Ctrl-C stops all"


def assert_refused(project: Path, served: Served) -> None:
    again = subprocess.run([sys.executable, "-m", "flows.serve"], cwd=project, capture_output=True, text=True)
    assert again.returncode == 1
    assert f"this project is served already (process {served.process.pid})" in again.stderr


def test_the_first_service_to_end_is_named_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "patient.py").write_text("import signal; signal.pause()")
    (tmp_path / "hasty.py").write_text("print('so long'); print()")
    patient = _server.start_service("patient", ["patient"], project=tmp_path)
    hasty = _server.start_service("hasty", ["hasty"], project=tmp_path)
    try:
        assert serve.first_to_end([patient, hasty]) is hasty
        assert hasty.last_words() == f"{tmp_path}/.prefect/hasty.log: so long"
        with pytest.raises(ConnectionError, match=r"hasty did not start; .*hasty\.log: so long"):
            _server.wait_for(hasty, "http://127.0.0.1:9/health")
        hasty = _server.start_service("hasty", ["hasty"], project=tmp_path)
        assert hasty.process.wait() == 0
        assert (tmp_path / ".prefect" / "hasty.log.1").read_text() == "so long\n\n"
    finally:
        end(patient.process)


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_URL", "_URI"))}
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        command = [sys.executable, "-m", "flows.serve", "--prefect-port", port]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: port {port}: Address already in use; choose another with --prefect-port\n"


def test_no_proxy_stands_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org"})
    for _ in range(2):
        set_environment(tmp_path)
    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost"
    assert urllib.request.proxy_bypass("127.0.0.1:4200")
    assert not urllib.request.proxy_bypass("example.com")


def test_an_address_that_is_set_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = "postgresql+pg8000://meddet@127.0.0.1/mlflow"
    monkeypatch.setattr(os, "environ", {})
    set_environment(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(os, "environ", {"MLFLOW_TRACKING_URI": uri, "PREFECT_API_URL": "http://127.0.0.1:1/api"})
    set_environment(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == tracking_uri(tmp_path) == uri
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"


def test_the_deployment_is_the_one_that_is_written_about() -> None:
    plan = yaml.safe_load((serving.ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    deployment, drift = plan["deployments"]
    assert (drift["entrypoint"], drift["parameters"]) == ("flows.drift.drift", {"folder": "inbox"})
    assert deployment["entrypoint"] == "flows.retrain.retrain"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert [trigger["expect"] for trigger in deployment["triggers"]] == [["meddet.data.drift"], ["meddet.data.new"]]
    assert deployment["work_pool"]["name"] == serve.POOL
