"""How long a new process takes to its first detection, and how much memory it needs.

Nothing of the asking process leaks in: neither its imports nor its memory. (On Linux the `ru_maxrss` of a new process
starts at its parent's; VmHWM of /proc/self/status starts at nothing.)
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class FirstDetection:
    """Seconds from the start of the process; the most memory resident at a time; boxes that it found."""

    seconds: float
    peak_memory_mb: float
    detections: int


def first_detection(
    engine: str, *, folder: Path, onnx: Path, view: Path, threads: int, limits: Mapping[str, float]
) -> FirstDetection:
    """Start a process that imports, loads, detects on one view and ends.

    Args:
        engine: a name in `contender.ENGINES`.
        folder: of the detector, as `contender.Artefact` has it.
        onnx: its ONNX file.
        view: the detector's input, a .npy file (3, H, W).
        threads: of the engine.
        limits: of `postprocess.select`.

    Errors:
        ValueError: with the last line that the process said, if it failed.
    """
    asked = {"engine": engine, "folder": str(folder), "onnx": str(onnx), "view": str(view)}
    command = [sys.executable, "-m", "meddet.first_detection", json.dumps(asked | {"threads": threads, **limits})]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"{folder}: {engine}: expected a first detection, got exit code {done.returncode}: {said}")
    return parse(done.stdout, start=start)


def parse(line: str, *, start: float) -> FirstDetection:
    """Read what the process said; its clock is this one's (monotonic, of the machine)."""
    said = json.loads(line)
    return FirstDetection(said["at"] - start, said["peak_memory_mb"], said["detections"])


def peak_memory_mb() -> float:
    """Give the most memory that this process has had resident, in 10^6 bytes."""
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines() if ":" in line)
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _detect(asked: dict[str, Any]) -> int:
    import numpy as np
    import torch

    from meddet.contender import Artefact, open_network
    from meddet.postprocess import select

    artefact = Artefact(Path(asked.pop("folder")), Path(asked.pop("onnx")))
    threads = asked.pop("threads")
    torch.set_num_threads(threads)
    network = open_network(asked.pop("engine"), artefact, threads=threads)
    view = torch.from_numpy(np.load(asked.pop("view"), allow_pickle=False))
    with torch.inference_mode():
        boxes, scores = network(view[None])
    return len(select(boxes, scores, input_size=(view.shape[1], view.shape[2]), **asked).scores)


def main() -> None:
    """Detect on what the one argument names, and say when it was done."""
    detections = _detect(json.loads(sys.argv[1]))
    at = time.monotonic()
    print(json.dumps({"at": at, "peak_memory_mb": peak_memory_mb(), "detections": detections}))


if __name__ == "__main__":
    main()
