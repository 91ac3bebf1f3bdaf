"""The catalogue of interchangeable pieces, one registry a family. Needs torch and nothing else of this project.

Importing the package itself needs no torch, so that `blocks.errors` serves specs and reports: a family loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.architectures import ARCHITECTURES as ARCHITECTURES
    from blocks.architectures import Architecture as Architecture
    from blocks.basic import ACTIVATIONS as ACTIVATIONS
    from blocks.basic import NORMS as NORMS
    from blocks.connectivity import CONNECTIVITIES as CONNECTIVITIES
    from blocks.connectivity import Stage as Stage
    from blocks.conv import CONVS as CONVS
    from blocks.heads import HEADS as HEADS
    from blocks.registry import Registry as Registry
    from blocks.resampling import DOWNS as DOWNS
    from blocks.resampling import UPS as UPS

    FAMILIES: dict[str, Registry[Any]]

# the families, in the order in which they are listed
_FAMILIES = {
    "CONVS": "blocks.conv",
    "CONNECTIVITIES": "blocks.connectivity",
    "DOWNS": "blocks.resampling",
    "UPS": "blocks.resampling",
    "HEADS": "blocks.heads",
    "NORMS": "blocks.basic",
    "ACTIVATIONS": "blocks.basic",
    "ARCHITECTURES": "blocks.architectures",
}
_WHERE = {**_FAMILIES, "Architecture": "blocks.architectures", "Registry": "blocks.registry", "Stage": "blocks.connectivity"}

__all__ = [
    "ACTIVATIONS", "ARCHITECTURES", "CONNECTIVITIES", "CONVS", "DOWNS", "FAMILIES", "HEADS", "NORMS", "UPS",
    "Architecture", "Registry", "Stage",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "FAMILIES":
        registries = [getattr(import_module(where), family) for family, where in _FAMILIES.items()]
        return globals().setdefault(name, {registry.family: registry for registry in registries})
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'blocks' has no attribute {name!r}")
