import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meddet.data.guard import Outcome, guarded

ROOT = Path(__file__).parents[3]
LIMITS: dict[str, Any] = {"workers": 2, "seconds": 5.0, "memory_mb": 200}


def halve(number: int) -> float:
    """Do to `number` what it says: a stand-in for a reader."""
    if number % 2:
        raise ValueError(f"{number}: expected an even number,\ngot an odd one")
    return number / 2


def behave(kind: str) -> str:
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(7)
    if kind == "hang":
        while True:
            pass
    if kind == "stuck":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        signal.pause()
    if kind == "greedy":
        return str(len(bytearray(1 << 30)))
    if kind == "bug":
        raise KeyError("DOE^JANE")
    print("noise", flush=True)
    os.write(2, b"noise of a C library")
    return kind


BUG = next(
    number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "raise KeyError(" in line
)


def whoami(_: int) -> tuple[int, bool, int]:
    return os.getpid(), "torch" in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def grow(mb: int) -> int:
    return len(bytes(mb << 20))


def run(work: Callable[[Any], Any], items: list[Any], **limits: Any) -> Iterator[Outcome[Any, Any]]:
    return guarded(work, items, **{**LIMITS, **limits})


def test_outcomes_come_in_the_items_order_and_a_refusal_is_one_line() -> None:
    outcomes = list(run(halve, list(range(700))))
    assert [outcome.item for outcome in outcomes] == list(range(700))
    assert [outcome.value for outcome in outcomes[:5]] == [0.0, None, 1.0, None, 2.0]
    assert outcomes[3].error == "3: expected an even number, got an odd one"
    assert [(outcome.value is None) != (outcome.error is None) for outcome in outcomes] == [True] * 700
    assert list(run(halve, [])) == []


def test_fault_22_no_file_stops_the_batch(capfd: pytest.CaptureFixture[str]) -> None:
    kinds = ["good", "crash", "exit", "hang", "stuck", "greedy", "bug", "good"] * 2
    outcomes = list(run(behave, kinds, seconds=0.5))
    assert [outcome.value for outcome in outcomes] == ["good" if kind == "good" else None for kind in kinds]
    errors = {outcome.item: outcome.error for outcome in outcomes if outcome.error}
    assert errors == {
        "crash": "crash: expected a file that can be read, its reader ended with SIGSEGV",
        "exit": "exit: expected a file that can be read, its reader ended with code 7",
        "hang": "hang: expected a file that takes at most 0.5 s, it took longer",
        "stuck": "stuck: expected a file that takes at most 0.5 s, it took longer",
        "greedy": "greedy: expected a file that needs at most 200 MB of memory, it needs more",
        "bug": f"bug: expected a file that can be read, got KeyError in test_guard.py:{BUG}",
    }
    assert capfd.readouterr() == ("", "")


def test_memory_is_counted_on_top_of_the_libraries() -> None:
    outcomes = list(run(grow, [20, 90, 120, 20], memory_mb=100))
    assert [outcome.value is None for outcome in outcomes] == [False, False, True, False]


def test_workers_are_recycled_and_know_no_torch() -> None:
    import torch

    seen = [outcome.value for outcome in run(whoami, list(range(500)), workers=1)]
    pids, with_torch, _ = zip(*seen, strict=True)
    assert len(set(pids)) == 3
    assert not any(with_torch), torch.__version__


def test_a_caller_who_stops_early_leaves_no_worker() -> None:
    outcomes = run(whoami, list(range(100)))
    pid = next(outcomes).value[0]
    os.kill(pid, 0)
    outcomes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class Homesick:
    """Work that cannot leave the process that made it."""

    def __reduce__(self) -> Any:
        return arrive, (os.getpid(),)

    def __call__(self, item: int) -> int:
        return item


def arrive(home: int) -> Homesick:
    if os.getpid() != home:
        raise ImportError("it cannot be imported here")
    return Homesick()


def test_work_that_cannot_be_imported_there_is_the_program_s_fault() -> None:
    with pytest.raises(RuntimeError, match="expected a worker to start, it ended with 1"):
        list(run(Homesick(), [2]))


PROGRAM = textwrap.dedent(
    """
    import os, signal, sys
    from meddet.data.guard import guarded

    def work(item):
        if item:
            while True: pass
        return os.getpid()

    if __name__ == "__main__":
        for outcome in guarded(work, [0, 1, 1], workers=1, seconds=float(sys.argv[1]), memory_mb=100):
            print(outcome.value, flush=True)
    """
)


@pytest.mark.parametrize("as_module", [True, False])
def test_a_killed_program_leaves_no_worker(tmp_path: Path, as_module: bool) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, *(["-m", "program"] if as_module else ["program.py"]), "1.5"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        worker = os.pidfd_open(int(program.stdout.readline()))
        program.kill()
    ended, _, _ = select.select([worker], [], [], 10)
    os.close(worker)
    assert ended
