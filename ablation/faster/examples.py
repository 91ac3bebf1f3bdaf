"""Images to try a network on: rendered faces of its size."""

from __future__ import annotations

import torch
from torch import Tensor

from ablation.data.faces.rendered import MIN_SIZE, render_faces


def example_faces(num: int, channels: int, size: int, seed: int = 0) -> Tensor:
    """Rendered faces N x 3 x S x S in [0, 1], S = size in pixels; random images where there are not three channels.

    >>> example_faces(2, 3, 16).shape, example_faces(2, 1, 16).shape
    (torch.Size([2, 3, 16, 16]), torch.Size([2, 1, 16, 16]))
    """
    if channels != 3 or size < MIN_SIZE:
        return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(render_faces(num, size, seed=seed).images).float() / 255
