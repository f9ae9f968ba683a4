"""ONNX files in OpenVINO. The package is an extra; who asks for the engine without it is told which one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meddet.export import read_onnx


def open_openvino(path: Path, *, threads: int | None = None) -> Callable[[Tensor], list[Tensor]]:
    """Open an ONNX file in OpenVINO on the processor.

    Args:
        path: of a file that holds all its weights.
        threads: of one inference; None leaves the choice to OpenVINO.

    Returns:
        A function from the input to the outputs in the file's order.

    Errors:
        ValueError: OpenVINO isn't installed, or names the file that isn't ONNX or points to data outside itself.
    """
    request = compile_openvino(path, threads=threads).create_infer_request()

    def run(image: Tensor) -> list[Tensor]:
        outputs = request.infer([image.contiguous().numpy()])
        return [torch.from_numpy(output) for output in outputs.values()]

    return run


def compile_openvino(path: Path, *, threads: int | None) -> Any:
    """Compile an ONNX file as `open_openvino` runs it.

    Float32 is asked for: by itself OpenVINO takes bfloat16 where the processor has it, and boxes computed in it are
    pixels away. Threads aren't pinned to cores: neither are the other engines'.
    """
    try:
        import openvino
        import openvino.properties as properties
        import openvino.properties.hint as hint
    except ModuleNotFoundError:
        raise ValueError(
            "engine openvino: expected OpenVINO to be installed (pip install 'meddet[openvino]'), found none"
        ) from None
    settings: dict[Any, Any] = {
        hint.inference_precision: openvino.Type.f32,
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.enable_cpu_pinning: False,
    }
    if threads is not None:
        settings[properties.inference_num_threads] = threads
    content = read_onnx(path)
    core = openvino.Core()
    try:
        return core.compile_model(core.read_model(content), "CPU", settings)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected a model for OpenVINO, got {reason}") from None
