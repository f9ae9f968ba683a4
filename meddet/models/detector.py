"""The detector: backbone, neck and head in a row; how it is built, written and read."""

import inspect
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from meddet.classes import CLASSES
from meddet.files import read_json, write_atomic, write_json
from meddet.models.backbones import BACKBONES, Backbone
from meddet.models.fpn import FPN
from meddet.models.gfl_head import GFLHead
from meddet.models.nmode import NmODE
from meddet.structures import Predictions

WEIGHTS = "model.safetensors"
SETTINGS = "model.json"


class Detector(nn.Module):
    """Backbone, neck, head. The same output in training and in evaluation."""

    def __init__(self, backbone: Backbone, neck: FPN, head: GFLHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C _ _"]]:
        """Compute P3..P7, which the head reads and distillation compares."""
        return self.neck(self.backbone(images))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Predictions:
        """Predict at every point of P3..P7."""
        return self.head(self.features(images))


def build_detector(
    *, backbone: str, channels: int, num_classes: int, ode: str, solver: str, ode_steps: int
) -> Detector:
    """Build a detector with fresh weights.

    Args:
        backbone: a name in BACKBONES.
        channels: of neck and head, a multiple of 32.
        num_classes: foreground classes.
        ode: equation after both towers (nmode2, nmode), or none.
        solver: of NmODE.
        ode_steps: of an integrating solver.

    Errors:
        ValueError: with the name that is not known, or the number out of range.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"expected a backbone of {sorted(BACKBONES)}, got {backbone!r}")
    activation = None if ode == "none" else lambda: NmODE(ode, solver, ode_steps)
    body = BACKBONES[backbone]()
    return Detector(body, FPN(body.channels, channels), GFLHead(num_classes, channels, activation=activation))


def save_detector(folder: Path, detector: Detector, *, arguments: dict[str, Any], input_size: tuple[int, int]) -> None:
    """Write model.safetensors and model.json, each whole or not at all.

    Args:
        folder: is made if absent.
        detector: was built by `build_detector(**arguments)`.
        arguments: of `build_detector`.
        input_size: height and width in pixels that the detector was trained for.
    """
    assert arguments["num_classes"] == len(CLASSES)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.state_dict().items()}
    write_atomic(folder / WEIGHTS, safetensors.torch.save(state))
    write_json(folder / SETTINGS, {"arguments": arguments, "classes": CLASSES, "input_size": input_size})


def load_detector(folder: Path) -> tuple[Detector, tuple[int, int]]:
    """Read what `save_detector` wrote. Returns the detector in eval mode and the input size (height, width).

    Errors:
        ValueError: names the file that is missing, damaged or doesn't fit, and what was expected.
    """
    arguments, input_size = _read_settings(folder / SETTINGS)
    weights = folder / WEIGHTS
    try:
        state = safetensors.torch.load(weights.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{weights}: expected a safetensors file, found none") from None
    except SafetensorError as error:
        raise ValueError(f"{weights}: expected a safetensors file, got {error}") from None
    try:
        with torch.device("meta"):  # the weights are read, so none are drawn
            detector = build_detector(**arguments)
    except ValueError as error:
        raise ValueError(f"{folder / SETTINGS}: arguments: {error}") from None
    try:
        _check_types(state, detector.state_dict())
        detector.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{weights}: expected the weights that {SETTINGS} describes, got {reason}") from None
    return detector.eval(), input_size


def _check_types(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if name in expected and tensor.dtype != expected[name].dtype:
            raise ValueError(f"{name} in {tensor.dtype}, not {expected[name].dtype}")


def _read_settings(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    settings = read_json(path)
    expected = {"arguments", "classes", "input_size"}
    if not isinstance(settings, dict) or set(settings) != expected:
        raise ValueError(f"{path}: expected the keys {sorted(expected)}, got {settings!r:.100}")
    if settings["classes"] != list(CLASSES):
        raise ValueError(f"{path}: classes: expected {list(CLASSES)}, got {settings['classes']!r}")
    types = {name: parameter.annotation for name, parameter in inspect.signature(build_detector).parameters.items()}
    arguments = settings["arguments"]
    if not isinstance(arguments, dict) or set(arguments) != set(types):
        raise ValueError(f"{path}: arguments: expected {sorted(types)}, got {arguments!r:.200}")
    for name, value in arguments.items():
        if type(value) is not types[name]:
            raise ValueError(f"{path}: arguments: {name}: expected {types[name].__name__}, got {value!r}")
    size = settings["input_size"]
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(f"{path}: input_size: expected [height, width] in pixels, got {size!r}")
    return arguments, (size[0], size[1])
