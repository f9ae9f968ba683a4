"""The head of Generalized Focal Loss (arXiv:2006.04388), with a place for nmODE after each tower (methods.md 1.3)."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet.boxes import anchor_points
from meddet.structures import STRIDES, Predictions

CHANNEL_MULTIPLE = 32
UNIFORM_SHARE = 0.001


class Scale(nn.Module):
    """One learnable factor, 1 at the start: it sharpens or widens a level's distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Multiply."""
        return x * self.factor


def tower(channels: int, *, num_convs: int, activation: Callable[[], nn.Module] | None) -> nn.Sequential:
    """Build 3x3 convolutions with GroupNorm and ReLU, shared by all levels, and the activation after the last.

    32 groups; fewer where a group would be one channel, whose norm on a map of one cell is a constant.
    """
    num_groups = min(32, channels // 2)
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(convolution.weight, std=0.01)
        layers += [convolution, nn.GroupNorm(num_groups, channels), nn.ReLU(inplace=True)]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def predictor(channels: int, num_outputs: int, *, bias: float) -> nn.Conv2d:
    """Build the 3x3 convolution that reads a tower."""
    convolution = nn.Conv2d(channels, num_outputs, 3, padding=1)
    nn.init.normal_(convolution.weight, std=0.01)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, bias)
    return convolution


def peaked_logits(mean: float, *, num_bins: int) -> Float[Tensor, " N"]:
    """Make logits of a bell of standard deviation 1 bin, whose expectation is `mean`.

    A share of UNIFORM_SHARE is spread over all bins, so that none starts so low that training cannot raise it.

    Errors:
        ValueError: if no such distribution has this mean, in bins.
    """
    lowest = UNIFORM_SHARE * (num_bins - 1) / 2
    if not lowest < mean < num_bins - 1 - lowest:
        raise ValueError(f"expected a mean distance between {lowest} and {num_bins - 1 - lowest} bins, got {mean}")
    bins = torch.arange(num_bins, dtype=torch.float64, device="cpu")

    def probabilities(centre: float) -> Tensor:
        bell = torch.softmax(-((bins - centre) ** 2) / 2, dim=0)
        return (1 - UNIFORM_SHARE) * bell + UNIFORM_SHARE / num_bins

    low, high = -1e4, 1e4
    for _ in range(80):
        centre = (low + high) / 2
        if float(probabilities(centre) @ bins) < mean:
            low = centre
        else:
            high = centre
    return probabilities((low + high) / 2).log()


class GFLHead(nn.Module):
    """Two towers shared by all levels; class logits, and for each box side a distribution over distances.

    Args:
        num_classes: foreground classes; there is no background logit.
        channels: of every level, a multiple of 32.
        activation: makes the block after each tower (NmODE in MedDet), or None.
        num_bins: distances 0..num_bins-1 in strides.
        num_convs: convolutions of a tower.
        prior: score of every point at the start.
        strides: of the levels.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        *,
        activation: Callable[[], nn.Module] | None,
        num_bins: int = 17,
        num_convs: int = 4,
        prior: float = 0.01,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__()
        if channels % CHANNEL_MULTIPLE:
            raise ValueError(f"expected channels to be a multiple of {CHANNEL_MULTIPLE}, got {channels}")
        self.num_bins = num_bins
        self.strides = tuple(strides)
        self.cls_tower = tower(channels, num_convs=num_convs, activation=activation)
        self.reg_tower = tower(channels, num_convs=num_convs, activation=activation)
        self.cls = predictor(channels, num_classes, bias=-math.log((1 - prior) / prior))
        self.reg = predictor(channels, 4 * num_bins, bias=0.0)
        self.scales = nn.ModuleList(Scale() for _ in self.strides)

    def set_initial_size(self, width_px: float, height_px: float) -> None:
        """Make the first boxes on the finest level this wide and high, on the others in proportion to the stride.

        The biggest lever of a short training (performance.md): boxes start at the mean disc instead of 16 strides.

        Errors:
            ValueError: if a side is 0 or more than the bins reach.
        """
        halves = [side / 2 / self.strides[0] for side in (width_px, height_px)]
        bias = torch.cat([peaked_logits(half, num_bins=self.num_bins) for half in halves * 2])
        assert self.reg.bias is not None
        with torch.no_grad():
            self.reg.bias.copy_(bias)

    def forward(self, features: Sequence[Float[Tensor, "B C _ _"]]) -> Predictions:
        """Predict at every point of P3..P7. Outputs are float32 under autocast, too."""
        assert len(features) == len(self.strides)
        logits, distributions = [], []
        for level, scale in zip(features, self.scales, strict=True):
            logits.append(flatten(self.cls(self.cls_tower(level))))
            distributions.append(flatten(scale(self.reg(self.reg_tower(level)).float())))
        sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in features]
        points, strides = anchor_points(sizes, self.strides, device=features[0].device)
        return Predictions(
            logits=torch.cat(logits, dim=1).float(),
            distributions=torch.cat(distributions, dim=1).unflatten(2, (4, self.num_bins)),
            points=points,
            strides=strides,
        )


def flatten(level: Float[Tensor, "B C H W"]) -> Float[Tensor, "B R C"]:
    """List a map's points row by row."""
    return level.flatten(2).transpose(1, 2)
