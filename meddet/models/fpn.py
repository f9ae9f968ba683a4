"""The neck: torchvision's feature pyramid and two coarser levels, as GFL uses it (methods.md 1.2)."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


class CoarseLevels(ExtraFPNBlock):
    """P6 and P7: 3x3 convolutions with stride 2 on P5's output, then on P6, without an activation between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:  # noqa: ARG002
        """Append P6 and P7 to P3..P5; `x` (C3..C5) belongs to torchvision's interface and is not read."""
        p6 = self.p6(results[-1])
        return [*results, p6, self.p7(p6)], [*names, "p6", "p7"]


class FPN(nn.Module):
    """C3..C5 to P3..P7: lateral 1x1, nearest upsampling to the exact finer size, 3x3. Bias, no norm, Xavier start."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(in_channels), channels, extra_blocks=CoarseLevels(channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, levels: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        """Compute P3..P7 at strides 8 to 128; sides are rounded up at each halving."""
        named = OrderedDict((f"p{index + 3}", level) for index, level in enumerate(levels))
        return list(self.pyramid(named).values())
