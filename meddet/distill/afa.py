"""AFA: bring features to the student's channels and size (eq. 6, arXiv:2409.00204)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class AFA(nn.Module):
    """Adaptive Feature Alignment of one level: a 1x1 convolution and an adaptive max pool.

    The convolution starts as the identity (as far as the channels reach), so that aligning begins by changing nothing.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        assert self.mix.bias is not None
        nn.init.dirac_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(
        self, level: Float[Tensor, "B C_in H_in W_in"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "B C_out H_out W_out"]:
        """Mix the channels and pool to `size` (height, width), at most the map's own; None keeps the size."""
        mixed: Tensor = self.mix(level)
        if size is None or mixed.shape[-2:] == size:
            return mixed
        assert mixed.shape[-2] >= size[0] and mixed.shape[-1] >= size[1], "max pooling cannot enlarge a map"
        return F.adaptive_max_pool2d(mixed, size)
