"""The losses of GFL: quality focal, distribution focal and generalised IoU (arXiv:2006.04388)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from meddet import processes
from meddet.assign import assign_batch
from meddet.boxes import decode, encode, integral
from meddet.structures import Predictions, Target

QFL_WEIGHT, DFL_WEIGHT, GIOU_WEIGHT = 1.0, 0.25, 2.0


def quality_focal_loss(
    logits: Float[Tensor, "*shape"], qualities: Float[Tensor, "*shape"], *, beta: float = 2.0
) -> Float[Tensor, "*shape"]:
    """Score classification and localisation quality together; eq. (2), arXiv:2006.04388.

    BCE(logit, q) * |q - sigmoid(logit)|^beta, elementwise; the gradient flows through both factors.

    Args:
        logits: class scores before the sigmoid.
        qualities: IoU in [0, 1] at the class of a positive point, 0 everywhere else.
        beta: how strongly easy elements are played down.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, qualities, reduction="none")
    return entropy * (qualities - logits.sigmoid()).abs().pow(beta)


def distribution_focal_loss(
    distributions: Float[Tensor, "*sides N"], distances: Float[Tensor, "*sides"]
) -> Float[Tensor, "*sides"]:
    """Pull a side's distribution to the two bins around its distance; eq. (6), arXiv:2006.04388.

    Args:
        distributions: logits over the bins 0..N-1.
        distances: in strides, in [0, N - 1).
    """
    logs = distributions.log_softmax(dim=-1)
    lower = distances.floor()
    bins = torch.stack((lower, lower + 1), dim=-1).long()
    shares = torch.stack((lower + 1 - distances, distances - lower), dim=-1)
    return -(shares * logs.gather(-1, bins)).sum(dim=-1)


def gfl_losses(
    predictions: Predictions, targets: Sequence[Target], *, octave_scale: int = 8
) -> dict[str, Float[Tensor, ""]]:
    """Compare a batch of predictions with its annotations.

    Everything is float32, also under autocast. An image or a batch without boxes gives finite losses and gradients.
    Where processes share a batch, each divides its part by its share of the whole batch's normalisers: the mean of
    their losses, and of their gradients, is the whole batch's.

    Args:
        predictions: of B images.
        targets: of the same images, boxes in input pixels.
        octave_scale: side of the square anchors of the assignment, in strides.

    Returns:
        `qfl`, `dfl` and `giou`, weighted 1 : 0.25 : 2. The first is divided by the number of positives (at least 1 per
        image), the others by the sum of the positives' class scores over all levels (at least 1).
    """
    with torch.autocast(predictions.logits.device.type, enabled=False):
        return _losses(predictions, targets, octave_scale)


def unassigned_share(predictions: Predictions, targets: Sequence[Target], *, octave_scale: int = 8) -> float:
    """Give the share of annotated boxes that no anchor point is responsible for: the model can't learn those.

    0 where there are no boxes.
    """
    boxes = sum(len(target.boxes) for target in targets)
    assigned = assign_batch(predictions.points, predictions.strides, targets, octave_scale=octave_scale)
    covered = int((assigned.unique() >= 0).sum())
    return 1 - covered / boxes if boxes else 0.0


def _losses(predictions: Predictions, targets: Sequence[Target], octave_scale: int) -> dict[str, Tensor]:
    logits, points, strides = predictions.logits.float(), predictions.points, predictions.strides
    assigned = assign_batch(points, strides, targets, octave_scale=octave_scale)
    positive = assigned >= 0
    image, point = positive.nonzero(as_tuple=True)
    box = assigned[image, point]
    labels = torch.cat([target.labels for target in targets])[box]

    # From here to the losses lengths are in strides.
    step = strides[point, None]
    truth = torch.cat([target.boxes for target in targets])[box] / step
    centres = points[point] / step
    distributions = predictions.distributions[image, point].float()
    boxes = decode(centres, integral(distributions))
    weights = logits.detach()[image, point].sigmoid().amax(dim=-1)

    qualities = torch.zeros_like(logits)
    qualities[image, point, labels] = _paired_iou(boxes.detach(), truth)
    sums = torch.stack((positive.sum(dim=1).clamp(min=1).sum().float(), weights.sum()))
    num_positive, weight_sum = processes.total(sums).clamp(min=1) / processes.count()

    distances = encode(centres, truth).clamp(min=0, max=distributions.shape[-1] - 1.1)
    dfl = distribution_focal_loss(distributions, distances).mean(dim=-1)
    giou = generalized_box_iou_loss(boxes, truth, reduction="none")
    return {
        "qfl": QFL_WEIGHT * quality_focal_loss(logits, qualities).sum() / num_positive,
        "dfl": DFL_WEIGHT * (weights * dfl).sum() / weight_sum,
        "giou": GIOU_WEIGHT * (weights * giou).sum() / weight_sum,
    }


def _paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Give the IoU (P,) of the boxes (P, 4) at the same place of two lists."""
    overlap = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    intersection = overlap.clamp(min=0).prod(dim=1)
    areas = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    return intersection / (areas - intersection).clamp(min=1e-6)
