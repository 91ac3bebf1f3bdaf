"""LPIPS where the package `lpips` and its network's weights are on this machine already; nothing is ever downloaded.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". The package holds the weights of its
own linear layers; those of AlexNet or VGG, below them, are torchvision's, looked for in torch's hub cache.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablation.machine.text import first_line


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that LPIPS can stand on."""

    name: str  # as lpips calls it
    weights: str  # torchvision's file, named after the first digits of its SHA-256
    least_size: int  # side of the smallest images, in pixels, that leave something after its last pooling


# the first one found is used; AlexNet is the default of lpips
NETWORKS = (
    Network(name="alex", weights="alexnet-owt-7be5be79.pth", least_size=31),
    Network(name="vgg", weights="vgg16-397923af.pth", least_size=16),
)

Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Lpips:
    """The metric, or the reason why there is none."""

    metric: Metric | None = None  # two batches N x 3 x S x S in [0, 1] -> N distances, 0 for equal images
    setting: str = ""  # package, version and network
    reason: str = ""


def load_lpips(image_size: int, device: str | torch.device = "cpu") -> Lpips:
    """LPIPS on a device, if all that it needs is there. Never downloads, never raises, leaves torch's random state as it was."""
    try:
        package = importlib.import_module("lpips")
    except ImportError:
        return Lpips(reason="the package lpips is not installed; no part of it is needed for anything else")
    network = next((network for network in NETWORKS if _path(network).is_file()), None)
    if network is None:
        names = " nor ".join(network.weights for network in NETWORKS)
        return Lpips(reason=f"neither {names} is in torch's hub cache, and weights are never downloaded here")
    if image_size < network.least_size:
        return Lpips(reason=f"LPIPS on {network.name} needs images of at least {network.least_size} px, these have {image_size}")
    if not _whole(network):
        return Lpips(reason=f"{network.weights} in torch's hub cache is damaged: its SHA-256 is not the one in its name")
    try:
        module = _module(package, network).to(device).eval()
    except Exception as error:  # whatever another version of lpips or torchvision raises: the metric is optional
        return Lpips(reason=f"lpips could not be loaded: {type(error).__name__}: {first_line(error, '')}")
    return Lpips(metric=_metric(module), setting=f"lpips {_version()}, {network.name}")


def _version() -> str:
    try:
        return metadata.version("lpips")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _metric(module: Any) -> Metric:
    def distances(x: Tensor, y: Tensor) -> Tensor:
        distance: Tensor = module(x, y, normalize=True)  # [0, 1] -> [-1, 1]
        return distance.flatten()  # N x 1 x 1 x 1 -> N

    return distances


def _module(package: Any, network: Network) -> Any:
    """lpips takes the file in the cache; what it draws at random before and what it says is kept from the caller."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision and torch.load in ways that are out of date
        return package.LPIPS(net=network.name, verbose=False)


def _path(network: Network) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / network.weights


def _whole(network: Network) -> bool:
    """Whether the file has the digest that torch's hub writes into its name."""
    with open(_path(network), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith(Path(network.weights).stem.rpartition("-")[2])
