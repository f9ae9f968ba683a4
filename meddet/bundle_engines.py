"""The engines that run a bundle's networks, torch, ONNX Runtime and OpenVINO, and whether they compute the same."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from meddet import export, openvino_run
from meddet.bundle_config import Config, Tolerance
from meddet.data.transforms import prepare
from meddet.models.detector import Detector, build_detector
from meddet.models.locator import Locator, Points, whole_view
from meddet.structures import Region

Engine = Literal["torch", "onnx", "openvino"]


def require_same(
    folder: Path,
    config: Config,
    *,
    images: Sequence[Float[Tensor, "1 h w"]],
    regions: Sequence[Region],
    tolerance: Tolerance,
) -> export.Parity:
    """Compare the engines on what was written, the detector in input pixels, the locator in its input's pixels.

    Errors:
        ValueError: names the ONNX file, its largest difference from torch, and the tolerance.
    """
    (detect, locate), (onnx_detect, onnx_locate) = torch_engine(folder, config), onnx_engine(folder, config)
    views = [prepare(image, region, config.input_size) for image, region in zip(images, regions, strict=True)]
    parity = export.check_parity(detect, onnx_detect, views)
    limits = {"box_tolerance_px": tolerance.box_px, "score_tolerance": tolerance.score}
    export.require_parity(parity, name="detector.onnx", **limits)
    with torch.inference_mode():
        wholes = [whole_view(image, config.locator.size)[0][None] for image in images]
        shift = float(torch.stack([(locate(whole) - onnx_locate(whole)).abs().max() for whole in wholes]).max())
    located = export.Parity(len(wholes), shift * config.locator.size, 0.0)
    export.require_parity(located, name="locator.onnx", **limits)
    return parity


def torch_engine(folder: Path, config: Config) -> tuple[export.BoxesAndScores, Points]:
    """Open detector.safetensors and locator.safetensors."""
    with torch.device("meta"):
        locator = Locator(config.locator.width)
    _load_weights(locator, folder / "locator.safetensors")
    return export.DecodedDetector(read_detector(folder, config)).eval(), export.PointLocator(locator).eval()


def read_detector(folder: Path, config: Config) -> Detector:
    """Read the detector of a folder, in eval mode."""
    with torch.device("meta"):
        detector = build_detector(**config.arguments)
    _load_weights(detector, folder / "detector.safetensors")
    return detector.eval()


def onnx_engine(folder: Path, config: Config) -> tuple[export.BoxesAndScores, Points]:  # noqa: ARG001
    """Open detector.onnx and locator.onnx."""
    return _of_onnx_files(folder, export.open_onnx)


def openvino_engine(folder: Path, config: Config) -> tuple[export.BoxesAndScores, Points]:  # noqa: ARG001
    """Open the same detector.onnx and locator.onnx in OpenVINO.

    Errors:
        ValueError: as `openvino_run.open_openvino`, which says what to install.
    """
    return _of_onnx_files(folder, openvino_run.open_openvino)


def _of_onnx_files(
    folder: Path, open_file: Callable[[Path], Callable[[Tensor], list[Tensor]]]
) -> tuple[export.BoxesAndScores, Points]:
    detect, locate = open_file(folder / "detector.onnx"), open_file(folder / "locator.onnx")

    def boxes_and_scores(image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = detect(image)
        return boxes, scores

    return boxes_and_scores, lambda image: locate(image)[0]


ENGINES: dict[str, Callable[[Path, Config], tuple[export.BoxesAndScores, Points]]] = {
    "torch": torch_engine,
    "onnx": onnx_engine,
    "openvino": openvino_engine,
}


def weights(model: nn.Module) -> bytes:
    """Give the content of a safetensors file."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state)


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(safetensors.torch.load(path.read_bytes()), assign=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected the weights that config.json describes, got {reason}") from None
