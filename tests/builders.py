"""What tests of several rooms make or count alike."""

from __future__ import annotations

from torch import nn


def keras_params(module: nn.Module) -> int:
    """Number of parameters as Keras counts: the running means and variances of batch norms as well."""
    statistics = [b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return sum(tensor.numel() for tensor in (*module.parameters(), *statistics))
