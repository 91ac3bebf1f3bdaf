"""What the paper itself reports, as numbers to stand beside ours. No torch.

Source: "Face Reconstruction with DenseNet-Enhanced Variational Autoencoders" (Singhal, Prasad, Khatod): its Table 1, and the
output of its released code; docs/paper.md, "Reported results". Losses are the replica's: (1 - SSIM) + 0.5 L1 + 1e-3 KL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One of the paper's two models."""

    params: int
    # batch size -> mean and standard deviation on a GPU that the paper does not name (its notebook's metadata: T4)
    latency_ms: Mapping[int, tuple[float, float]]
    # loss by epoch
    train: tuple[float, ...]
    validation: tuple[float, ...]


REPORTED = {
    "original": Reported(
        params=9_352_195,
        latency_ms={1: (1.77, 0.08), 32: (26.30, 5.07)},
        train=(0.7493, 0.6567, 0.6263, 0.6072, 0.5945, 0.5851, 0.5768, 0.5707, 0.5643, 0.5596),
        validation=(0.6723, 0.6355, 0.6105, 0.5960, 0.5909, 0.5771, 0.5723, 0.5629, 0.5605, 0.5572),
    ),
    "modified": Reported(
        params=6_283_267,
        latency_ms={1: (10.32, 1.13), 32: (131.22, 8.18)},
        train=(0.8303, 0.7453, 0.7258, 0.7128, 0.7053, 0.6981, 0.6928, 0.6870, 0.6824, 0.6778),
        validation=(0.7541, 0.7321, 0.7140, 0.7037, 0.6956, 0.6875, 0.6888, 0.6772, 0.6711, 0.6699),
    ),
}  # fmt: skip
