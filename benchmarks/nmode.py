"""What nmODE^2 costs: the student's head with it and without it, in turn, in each engine. Research use only.

python -m benchmarks.nmode --threads 1 --out out/nmode.json        or: make nmode-share (after make run)
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet.bundle import load_bundled_detector
from meddet.export import open_onnx, write_onnx
from meddet.export_nmode import for_export, with_nmode
from meddet.files import write_json
from meddet.latency import interleaved
from meddet.models.detector import Detector
from meddet.models.gfl_head import GFLHead
from meddet.openvino_run import open_openvino


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a bundle's student; print and write the shares in per cent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/bundle"))
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default: 1)")
    parser.add_argument("--rounds", type=int, default=100, help="measured calls of each (default: 100)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    try:
        detector, config = load_bundled_detector(options.bundle)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shares = nmode_share(detector, size=config.input_size, threads=options.threads, rounds=options.rounds)
    write_json(options.out, {"share_of_head_percent": shares, "threads": options.threads, "rounds": options.rounds})
    for engine, value in shares.items():
        print(f"{engine:12} {value:5.1f} % of the head")
    return 0


class HeadAlone(nn.Module):
    """A head that reads all its levels from one map: the coarser ones are every second, fourth, ... of its cells."""

    def __init__(self, head: GFLHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, finest: Float[Tensor, "1 C H W"]) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R 4 N"]]:
        """Give class logits and distributions."""
        levels = [finest[..., :: 2**step, :: 2**step].contiguous() for step in range(len(self.head.strides))]
        predictions = self.head(levels)
        return predictions.logits[0], predictions.distributions[0]


def nmode_share(
    detector: Detector, *, size: tuple[int, int], threads: int, rounds: int, warmup: int = 3
) -> dict[str, float]:
    """Measure the share of the head's time that its NmODE blocks take, in per cent of the median, by engine.

    Args:
        detector: with fresh or trained weights.
        size: height and width of the detector's input.
        threads: of every engine.
        rounds: calls that count.
        warmup: calls that don't.
    """
    torch.set_num_threads(threads)
    stride, channels = detector.head.strides[0], detector.head.cls.in_channels
    finest = torch.randn(1, channels, size[0] // stride, size[1] // stride, generator=torch.Generator().manual_seed(0))
    runs: dict[str, Callable[[], object]] = {}
    bare = with_nmode(detector.head, lambda _: nn.Identity())
    for name, head, exported in (("with", detector.head, for_export(detector).head), ("without", bare, bare)):
        in_torch = copy.deepcopy(HeadAlone(head)).eval().to(memory_format=torch.channels_last)
        runs[f"torch/{name}"] = partial(in_torch, finest.contiguous(memory_format=torch.channels_last))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "head.onnx"
            write_onnx(HeadAlone(exported).eval(), finest, outputs=("logits", "distributions"), path=path)
            runs[f"onnxruntime/{name}"] = partial(open_onnx(path, threads=threads), finest)
            runs[f"openvino/{name}"] = partial(open_openvino(path, threads=threads), finest)
    with torch.inference_mode():
        timings = interleaved(runs, warmup=warmup, rounds=range(rounds))
    engines = [name.removesuffix("/with") for name in runs if name.endswith("/with")]
    return {each: share(timings[f"{each}/with"].p50_ms, timings[f"{each}/without"].p50_ms) for each in engines}


def share(whole_ms: float, rest_ms: float) -> float:
    """Give in per cent what the whole has and the rest lacks; below 0 where the machine's unrest is greater."""
    return 100 * (1 - rest_ms / whole_ms)


if __name__ == "__main__":
    sys.exit(main())
