"""The catalogue of interchangeable pieces, one registry a family. Needs torch and nothing else of this project."""

from __future__ import annotations

from blocks.basic import ACTIVATIONS, NORMS
from blocks.connectivity import CONNECTIVITIES, Stage
from blocks.conv import CONVS
from blocks.heads import HEADS
from blocks.registry import Registry
from blocks.resampling import DOWNS, UPS

FAMILIES: dict[str, Registry] = {
    registry.family: registry for registry in (CONVS, CONNECTIVITIES, DOWNS, UPS, HEADS, NORMS, ACTIVATIONS)
}

__all__ = ["ACTIVATIONS", "CONNECTIVITIES", "CONVS", "DOWNS", "FAMILIES", "HEADS", "NORMS", "UPS", "Registry", "Stage"]
