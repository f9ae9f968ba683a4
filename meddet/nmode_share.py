"""What nmODE^2 costs: the same head with it and without it, in turn, in each engine."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet.export import open_onnx, write_onnx
from meddet.export_nmode import for_export, with_nmode
from meddet.latency import interleaved
from meddet.models.detector import Detector
from meddet.models.gfl_head import GFLHead
from meddet.openvino_run import open_openvino


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


def export_heads(detector: Detector, *, size: tuple[int, int], folder: Path) -> None:
    """Write a detector's head as ONNX, as it is shipped (with.onnx) and without NmODE blocks (without.onnx).

    Args:
        detector: in eval mode.
        size: height and width of the detector's input.
        folder: is there.
    """
    for name, head in (("with", for_export(detector).head), ("without", _bare(detector))):
        path = folder / f"{name}.onnx"
        write_onnx(HeadAlone(head).eval(), _finest(detector, size), outputs=("logits", "distributions"), path=path)


def nmode_share(
    detector: Detector, *, size: tuple[int, int], folder: Path, threads: int, warmup: int, rounds: int
) -> dict[str, float]:
    """Measure the share of the head's time that its NmODE blocks take, in per cent of the median, by engine.

    Args:
        detector: the one that `export_heads` was given.
        size: the same.
        folder: where it wrote.
        threads: of every engine.
        warmup: calls that don't count.
        rounds: calls that do.
    """
    torch.set_num_threads(threads)
    finest = _finest(detector, size)
    runs: dict[str, Callable[[], object]] = {}
    for name, head in (("with", detector.head), ("without", _bare(detector))):
        in_torch = copy.deepcopy(HeadAlone(head)).eval().to(memory_format=torch.channels_last)
        runs[f"torch/{name}"] = partial(in_torch, finest.contiguous(memory_format=torch.channels_last))
        path = folder / f"{name}.onnx"
        runs[f"onnxruntime/{name}"] = partial(open_onnx(path, threads=threads), finest)
        runs[f"openvino/{name}"] = partial(open_openvino(path, threads=threads), finest)
    with torch.inference_mode():
        timings = interleaved(runs, warmup=warmup, rounds=range(rounds))
    engines = [name.removesuffix("/with") for name in runs if name.endswith("/with")]
    return {each: share(timings[f"{each}/with"].p50_ms, timings[f"{each}/without"].p50_ms) for each in engines}


def _bare(detector: Detector) -> GFLHead:
    return with_nmode(detector.head, lambda _: nn.Identity())


def _finest(detector: Detector, size: tuple[int, int]) -> Float[Tensor, "1 C H W"]:
    stride, channels = detector.head.strides[0], detector.head.cls.in_channels
    return torch.randn(1, channels, size[0] // stride, size[1] // stride, generator=torch.Generator().manual_seed(0))


def share(whole_ms: float, rest_ms: float) -> float:
    """Give in per cent what the whole has and the rest lacks; below 0 where the machine's unrest is greater."""
    return 100 * (1 - rest_ms / whole_ms)
