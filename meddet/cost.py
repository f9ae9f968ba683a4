"""What a network costs: parameters, multiplications, and the operations that mmcv 1.x would count (methods.md 0)."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from meddet.models.detector import build_detector

CONTENDERS = {"student": "mobilenet_v2", "resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"}


@dataclass(frozen=True)
class Cost:
    """Parameters; multiply-accumulates of convolutions and linear layers; operations as counted by mmcv 1.x (1e9)."""

    parameters: int
    gmac: float
    gflops_mmcv: float


def cost(model: nn.Module, size: tuple[int, int] = (512, 512)) -> Cost:
    """Count one forward pass on a (1, 3, height, width) image, by shapes alone: nothing is computed.

    mmcv 1.x counts a multiply-accumulate of a convolution as one operation, an added bias as one per output, a norm as
    two and a ReLU as one per element, a pooling as one per element that it reads; sums, upsampling and functional calls
    (nmODE, too) as none.
    """
    counts = {"mac": 0, "other": 0}

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            counts["mac"] += output.numel() * module.weight[0].numel()
            counts["other"] += output.numel() if module.bias is not None else 0
        elif isinstance(module, nn.Linear):
            counts["mac"] += output.numel() * module.in_features
            counts["other"] += output.numel() if module.bias is not None else 0
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            counts["other"] += 2 * output.numel()
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            counts["other"] += output.numel()
        elif isinstance(module, nn.MaxPool2d):
            counts["other"] += inputs[0].numel()

    shadow = copy.deepcopy(model).to("meta").eval()
    for module in shadow.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, 3, *size, device="meta"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counts["mac"] / 1e9, (counts["mac"] + counts["other"]) / 1e9)


def cost_table(*, channels: int, num_classes: int, size: tuple[int, int]) -> list[dict[str, str | int | float]]:
    """List name, parameters, GMAC and mmcv-style GFLOPs of the student and the teachers at `size` (height, width)."""
    rows: list[dict[str, str | int | float]] = []
    for name, backbone in CONTENDERS.items():
        with torch.device("meta"):
            model = build_detector(
                backbone=backbone, channels=channels, num_classes=num_classes, ode="nmode2", solver="fast", ode_steps=4
            )
        counted = cost(model, size)
        rows.append(
            {
                "name": name,
                "parameters": counted.parameters,
                "gmac": round(counted.gmac, 3),
                "gflops_mmcv": round(counted.gflops_mmcv, 3),
            }
        )
    return rows
