"""What tests of several rooms make or count alike."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablation import build, preset
from ablation.design.compose import VAE
from ablation.design.spec import ModelSpec
from ablation.train.train import TrainResult

# of an epoch's log, what differs from run to run
CLOCKS = {"seconds", "images_per_second"}
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


def csv_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by its headings."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def space_file(folder: Path, text: str) -> Path:
    """A file of a space."""
    path = folder / "space.toml"
    path.write_text(text)
    return path


def without_clocks(result: TrainResult) -> list[dict[str, Any]]:
    """The epochs of a training without what the time of day changes."""
    return [{key: value for key, value in epoch.items() if key not in CLOCKS} for epoch in result.epochs]


def stop_before(step: int) -> Callable[[], bool]:
    """should_stop that says yes when asked before that step (from 1) of its sitting."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) == step


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, with random running statistics and affine parameters, negative scales among them."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(norm.weight, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.3, 3, generator=generator)
    return module.eval()
