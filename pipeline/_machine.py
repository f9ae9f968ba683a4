"""A training stage on several devices: it starts itself again under torchrun, once for each, and speaks for all.

The command of a stage stays the same: what `machine` in params.yaml says decides. Nothing of it reaches the result
but rounding, so that no stage in dvc.yaml depends on it.
"""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from meddet.config import Machine, Params, load_params
from meddet.files import write_atomic
from pipeline import _stage
from pipeline._stage import TERMINATED, Failure

CRASHED = 1

# From torchrun: where a process leaves word of how it failed. Its presence says that torchrun has started us.
_WORD = "TORCHELASTIC_ERROR_FILE"
# Seconds: for a step and a checkpoint after SIGTERM; and in which the others notice that one of them is gone.
_GRACE, _NOTICE = 30, 5


def run(main: Callable[[Params], None]) -> NoReturn:
    """Run a training stage on ./params.yaml and exit, as `_stage.run` does, on as many processes as it names.

    The processes die with the stage: SIGTERM lets all of them finish their step and the first write a checkpoint;
    if it is killed, the kernel sends them that SIGTERM. One that fails ends the others, and the stage ends with its
    line and its code.
    """
    if _WORD in os.environ:
        _run_as_one_of_many(main)
    _stage.run(partial(_spread, main))


def _spread(main: Callable[[Params], None], params: Params) -> None:
    if params.machine.devices * params.machine.num_nodes == 1:
        main(params)
    else:
        launch(params.machine, sys.orig_argv[1:])


def launch(machine: Machine, arguments: list[str]) -> None:
    """Run Python with the same arguments once per device of this node, and wait for all.

    Errors:
        Failure: one of them failed, or all were asked to stop.
        ValueError: fewer GPUs than devices, or several nodes and no address where they meet.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    _set_environment(machine)
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory(prefix="meddet-") as folder:
        try:
            elastic_launch(_configure(machine, folder), sys.executable)(*arguments)
        except ChildFailedError as error:
            raise _cause(Path(folder), error.failures) from None
        except SignalException:
            raise _cause(Path(folder), {}) from None


def _set_environment(machine: Machine) -> None:
    """Share the cores, and on one node stay off its network."""
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < machine.devices:
        found = torch.cuda.device_count()
        raise ValueError(f"params.yaml: machine.devices: expected at most the {found} GPUs here, got {machine.devices}")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // machine.devices, 1)))
    if machine.num_nodes == 1 and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _configure(machine: Machine, folder: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig

    meeting: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    if machine.num_nodes > 1:
        meeting = _meeting_of_nodes(os.environ)
    heard = [number for number in _stage.ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    return LaunchConfig(
        min_nodes=machine.num_nodes,
        max_nodes=machine.num_nodes,
        nproc_per_node=machine.devices,
        run_id="meddet",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=dict.fromkeys(range(1, machine.devices), Std.ALL)),
        signals_to_handle=",".join(number.name for number in heard),
        shutdown_timeout=_GRACE,
        **meeting,
    )


def _meeting_of_nodes(environment: Mapping[str, str]) -> dict[str, Any]:
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    if missing := [name for name in names if name not in environment]:
        raise ValueError(
            f"machine.num_nodes: expected {', '.join(names)} in the environment, as torchrun has them, found no "
            f"{', '.join(missing)}"
        )
    address, port, rank = (environment[name] for name in names)
    return {"rdzv_backend": "static", "rdzv_endpoint": f"{address}:{port}", "rdzv_configs": {"rank": int(rank)}}


def _run_as_one_of_many(main: Callable[[Params], None]) -> NoReturn:
    """Run the stage as one of torchrun's processes; say nothing on failure, but leave word of it.

    Outside of the training loop a signal just ends it: Python can't clean up inside of a library that waits for peers.
    """
    _stage.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        params = load_params(Path("params.yaml"))
        # All meet before anything can fail: one that waits for another notices then that it is gone.
        from meddet.processes import fabric

        fabric("32-true")
        main(params)
        code = 0
    except Exception as error:
        code, line = _stage.explain(error) or (CRASHED, "")
        word = {"message": line, "code": code, "traceback": traceback.format_exc(), "timestamp": time.time()}
        write_atomic(Path(os.environ[_WORD]), json.dumps(word).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    # Without Python's own end, in which libraries wait for peers that may be gone.
    os._exit(code)


def _cause(folder: Path, failures: Mapping[int, Any]) -> Failure:
    """Return what went wrong first: whoever loses a peer fails, too, and leaves word later."""
    words = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("error.json")]
    first = min(words, key=lambda word: word["timestamp"], default=None)
    killed = {rank: failure for rank, failure in failures.items() if failure.exitcode < 0}
    for rank, failure in killed.items():
        ended_by = signal.Signals(-failure.exitcode)
        consequence = first and not first["message"] and first["timestamp"] > failure.timestamp - _NOTICE
        if ended_by != signal.SIGTERM and (first is None or consequence):
            line = f"process {rank} was ended by {ended_by.name}; run again to go on from the last checkpoint"
            return Failure(128 + ended_by, line)
    if first is None:
        return Failure(TERMINATED, "stopped before the first step")
    if not first["message"]:
        print(first["traceback"], file=sys.stderr)
    return Failure(first["code"], first["message"] or first["traceback"].strip().splitlines()[-1])
