"""BatchNorm whose statistics are those of the whole batch, also where processes share it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet import processes


def make_norms_global(module: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm of a module that trains on `device` see the whole batch; alone, nothing changes.

    Parameters, buffers and their names stay. On GPUs it is torch's SyncBatchNorm, which doesn't exist for CPUs.
    """
    if processes.count() == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            on_gpu = device.type == "cuda"
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child) if on_gpu else _on_cpu(child))
        else:
            make_norms_global(child, device)


class GlobalBatchNorm(nn.BatchNorm2d):
    """BatchNorm that trains on the mean and the variance over all processes' batches, which are equally large."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:  # noqa: A002 - torch's name
        """Normalise; in eval mode as BatchNorm does."""
        if not self.training:
            return super().forward(input)
        mean = _Average.apply(input.mean(dim=(0, 2, 3)))
        centred = input - mean[:, None, None]
        variance = _Average.apply(centred.square().mean(dim=(0, 2, 3)))
        self._remember(mean.detach(), variance.detach(), input.numel() // len(mean) * processes.count())
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None])

    def _remember(self, mean: Tensor, variance: Tensor, number: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (number / (number - 1)), self.momentum)


class _Average(torch.autograd.Function):
    """The mean over processes; its gradient is the mean of everyone's."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return processes.total(values) / processes.count()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return processes.total(gradient) / processes.count()


def _on_cpu(norm: nn.BatchNorm2d) -> GlobalBatchNorm:
    other = GlobalBatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    other.weight, other.bias = norm.weight, norm.bias
    other.running_mean, other.running_var = norm.running_mean, norm.running_var
    other.num_batches_tracked = norm.num_batches_tracked
    return other.train(norm.training)
