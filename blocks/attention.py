"""What re-weights the channels behind a stage's wiring. Constructor: `attention(channels, *, activation)`; shapes stay."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from blocks.basic import Activation
from blocks.registry import Registry

ATTENTIONS: Registry[Callable[..., nn.Module]] = Registry(
    "attention", "attention(channels, *, activation): N x C x H x W, same shape out"
)


@ATTENTIONS.register("none")
def none(channels: int, *, activation: Activation) -> nn.Module:
    """No attention (in `original` and `modified`)."""
    return nn.Identity()


@ATTENTIONS.register("squeeze_excitation")
class SqueezeExcitation(nn.Module):
    """Each channel times a number in (0, 1) computed from the means of all (Hu et al. 2018, section 3; C / 4 inside).

    2 C floor(C / 4) + C + floor(C / 4) parameters, the inner width as in MobileNetV3 (Howard et al. 2019, section 5.3).
    """

    def __init__(self, channels: int, *, activation: Activation) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.layers = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), activation()),
            *(nn.Conv2d(inner, channels, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W, same shape out."""
        out: Tensor = x * self.layers(x)
        return out
