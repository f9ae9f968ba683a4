"""Feature extractors: what torchvision has, cut to the levels that the neck reads."""

from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import ResNet


class Backbone(nn.Module):
    """Three parts in a row, whose outputs are C3, C4 and C5 at strides 8, 16 and 32."""

    def __init__(self, stages: Sequence[nn.Module], channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Compute C3, C4, C5. Sides are rounded up at each halving."""
        outputs = []
        output = images
        for stage in self.stages:
            output = stage(output)
            outputs.append(output)
        return outputs


def resnet(architecture: Callable[..., ResNet]) -> Backbone:
    """Build a ResNet without its classifier. Residual branches start at zero, which training from scratch wants."""
    model = architecture(weights=None, zero_init_residual=True)
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, model.layer1, model.layer2)
    return Backbone([stem, model.layer3, model.layer4], (512, 1024, 2048))


def mobilenet_v2() -> Backbone:
    """Build MobileNetV2; C5 is its last 1x1 convolution (1280 channels), as the paper's parameter count proves."""
    features = models.mobilenet_v2(weights=None).features
    return Backbone([features[:7], features[7:14], features[14:]], (32, 96, 1280))


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet50": partial(resnet, models.resnet50),
    "resnet101": partial(resnet, models.resnet101),
    "resnet152": partial(resnet, models.resnet152),
}
