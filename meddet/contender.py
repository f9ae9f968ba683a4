"""One detector in every engine, opened from its files: what the stage benchmark compares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from meddet.bundle import MANIFEST, load_bundled_detector
from meddet.export import BoxesAndScores, DecodedDetector, open_onnx
from meddet.models.detector import WEIGHTS, Detector, load_detector
from meddet.openvino_run import open_openvino

BFLOAT16 = "torch-bf16"
TORCH = ("torch", BFLOAT16)
USERS_ENGINE = "onnxruntime"


@dataclass(frozen=True)
class Artefact:
    """A detector's files."""

    folder: Path
    """Of a bundle, or of what a training stage wrote."""
    onnx: Path


def read_artefact(artefact: Artefact) -> Detector:
    """Read the weights for torch, in eval mode."""
    if (artefact.folder / MANIFEST).exists():
        return load_bundled_detector(artefact.folder)[0]
    return load_detector(artefact.folder)[0]


def weights_of(artefact: Artefact) -> Path:
    """Name the file of the detector's weights."""
    return artefact.folder / ("detector.safetensors" if (artefact.folder / MANIFEST).exists() else WEIGHTS)


def open_network(engine: str, artefact: Artefact, *, threads: int) -> BoxesAndScores:
    """Open a detector in one of ENGINES; torch's threads are the whole process's (`torch.set_num_threads`)."""
    return ENGINES[engine](artefact, threads)


def engines_here(capabilities: Mapping[str, object]) -> tuple[str, ...]:
    """Name the engines that are worth measuring: bfloat16 where the processor has instructions for it.

    Args:
        capabilities: `torch.cpu.get_capabilities()`, which has names such as avx512_bf16 and amx_bf16.
    """
    able = any(name.endswith("bf16") and present for name, present in capabilities.items())
    return tuple(engine for engine in ENGINES if able or engine != BFLOAT16)


def _in_torch(artefact: Artefact, threads: int) -> BoxesAndScores:  # noqa: ARG001
    return _channels_last(DecodedDetector(read_artefact(artefact)).eval(), torch.float32)


def _in_bfloat16(artefact: Artefact, threads: int) -> BoxesAndScores:  # noqa: ARG001
    """Compute in bfloat16 throughout but decode in float32; autocast converts the weights anew in every call."""
    return _channels_last(DecodedDetector(read_artefact(artefact)).eval(), torch.bfloat16)


def _channels_last(module: nn.Module, dtype: torch.dtype) -> BoxesAndScores:
    module.to(dtype).to(memory_format=torch.channels_last)

    def run(image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = module(image.to(dtype=dtype, memory_format=torch.channels_last))
        return boxes, scores

    return run


def _in_onnx_runtime(artefact: Artefact, threads: int) -> BoxesAndScores:
    return _pair(open_onnx(artefact.onnx, threads=threads))


def _in_openvino(artefact: Artefact, threads: int) -> BoxesAndScores:
    return _pair(open_openvino(artefact.onnx, threads=threads))


def _pair(network: Callable[[Tensor], list[Tensor]]) -> BoxesAndScores:
    def run(image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = network(image)
        return boxes, scores

    return run


ENGINES: dict[str, Callable[[Artefact, int], BoxesAndScores]] = {
    "torch": _in_torch,
    BFLOAT16: _in_bfloat16,
    "onnxruntime": _in_onnx_runtime,
    "openvino": _in_openvino,
}
"""The first one is what the others are held against."""
