"""The processes that train one model together, and what they tell each other.

They are started by torchrun and joined by `fabric`. Every function here is a collective: all processes call it, in the
same order. Alone, each gives back what it got, so that the loops read the same for one process and for many.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

T = TypeVar("T")


def fabric(precision: Any) -> Fabric:
    """Return the device and arithmetic of this process, and join the others if torchrun has started it.

    NCCL joins GPUs, gloo CPUs. BatchNorm's statistics are those of the whole batch (`meddet.models.global_norm`), so
    that DDP has no buffers to send round.
    """
    if not distributed.is_torchelastic_launched():
        return Fabric(accelerator="auto", devices=1, precision=precision)
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    strategy = DDPStrategy(forward_sync_buffers=False, gradient_as_bucket_view=True)
    joined = Fabric(
        accelerator="auto", devices=here, num_nodes=everywhere // here, strategy=strategy, precision=precision
    )
    joined.launch()
    return joined


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return this one's number; 0 writes what there is to write."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def total(values: Tensor) -> Tensor:
    """Return the sum over processes, without gradient."""
    if count() == 1:
        return values
    summed = values.detach().clone()
    distributed.all_reduce(summed)
    return summed


def gathered(values: Tensor) -> Tensor:
    """Return everyone's values, stacked, without gradient."""
    if count() == 1:
        return values.detach()[None]
    parts = [torch.empty_like(values) for _ in range(count())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.stack(parts)


def averaged(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over processes of every named scalar."""
    if count() == 1 or not terms:
        return dict(terms)
    means = total(torch.stack([term.detach().float() for term in terms.values()])) / count()
    return dict(zip(terms, means.unbind(), strict=True))


def averaged_numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the mean over processes of every named number."""
    if count() == 1:
        return dict(numbers)
    terms = {name: torch.tensor(number, device=_device()) for name, number in numbers.items()}
    return {name: mean.item() for name, mean in averaged(terms).items()}


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes: for parameters outside of what DDP wraps."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if count() == 1 or not gradients:
        return
    flat = total(torch.cat([gradient.flatten() for gradient in gradients])) / count()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_of(asked: bool) -> bool:
    """Whether it holds for at least one of the processes."""
    if count() == 1:
        return asked
    return bool(total(torch.tensor(float(asked), device=_device())) > 0)


def from_first(value: T) -> T:
    """Return what the first process has; it may be anything that can be pickled."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """Return what each process has, in their order."""
    if count() == 1:
        return [value]
    boxes: list[Any] = [None] * count()
    distributed.all_gather_object(boxes, value)
    return boxes


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
