"""What tests of several rooms make or count alike."""

from __future__ import annotations

import torch
from torch import nn

from ablation import build, preset
from ablation.design.compose import VAE
from ablation.design.spec import ModelSpec

# sides 19, 9, 4, 2, 1 and back: 1, 2, 4, 9, 19, two of them by unpadded convolutions
TINY_MASK = preset("small_toledo_mask").replace(
    image_size=19, latent_dim=4, encoder_widths=(2, 3, 4, 5), decoder_widths=(5, 4, 3, 2), mask_width=2
)


def on_meta(spec: ModelSpec) -> VAE:
    """The network of a spec without memory for its values."""
    with torch.device("meta"):
        return build(spec)


def num_params(*modules: nn.Module) -> int:
    """Number of parameters, as torch counts."""
    return sum(p.numel() for module in modules for p in module.parameters())


def keras_params(module: nn.Module) -> int:
    """Number of parameters as Keras counts: the running means and variances of batch norms as well."""
    statistics = [b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return num_params(module) + sum(tensor.numel() for tensor in statistics)
