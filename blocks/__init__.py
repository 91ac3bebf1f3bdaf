"""The catalogue of interchangeable pieces, one registry a family. Needs torch and nothing else of this project.

Importing the package itself needs no torch, so that `blocks.errors` serves specs and reports: a family loads on first use.

>>> import torch
>>> from blocks import ACTIVATIONS
>>> "relu" in ACTIVATIONS.names(), ACTIVATIONS.get("relu")()(torch.tensor([-1.0, 2.0]))
(True, tensor([0., 2.]))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.architectures import ARCHITECTURES, Architecture
    from blocks.attention import ATTENTIONS
    from blocks.basic import ACTIVATIONS, NORMS
    from blocks.connectivity import CONNECTIVITIES, Stage
    from blocks.conv import CONVS
    from blocks.ends import ENDS, LATENT_STEMS, STEMS
    from blocks.heads import HEADS
    from blocks.registry import Registry
    from blocks.resampling import DOWNS, UPS

    FAMILIES: dict[str, Registry[Any]]

# the families, in the order in which they are listed
_FAMILIES = {
    "CONVS": "blocks.conv",
    "CONNECTIVITIES": "blocks.connectivity",
    "DOWNS": "blocks.resampling",
    "UPS": "blocks.resampling",
    "HEADS": "blocks.heads",
    "ATTENTIONS": "blocks.attention",
    "STEMS": "blocks.ends",
    "LATENT_STEMS": "blocks.ends",
    "ENDS": "blocks.ends",
    "NORMS": "blocks.basic",
    "ACTIVATIONS": "blocks.basic",
    "ARCHITECTURES": "blocks.architectures",
}
_WHERE = {**_FAMILIES, "Architecture": "blocks.architectures", "Registry": "blocks.registry", "Stage": "blocks.connectivity"}

__all__ = [
    "ACTIVATIONS", "ARCHITECTURES", "ATTENTIONS", "CONNECTIVITIES", "CONVS", "DOWNS", "ENDS", "FAMILIES", "HEADS", "LATENT_STEMS",
    "NORMS", "STEMS", "UPS", "Architecture", "Registry", "Stage",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "FAMILIES":
        registries = [getattr(import_module(where), family) for family, where in _FAMILIES.items()]
        return globals().setdefault(name, {registry.family: registry for registry in registries})
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'blocks' has no attribute {name!r}")
