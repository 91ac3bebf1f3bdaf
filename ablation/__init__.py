"""Compose VAE variants from interchangeable pieces, cost them, time them, and say what each piece costs and buys.

`from ablation import ModelSpec, preset, build, static_cost, compare_latency, optimise, load, study`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablation.design.compose import build as build
    from ablation.design.spec import ModelSpec as ModelSpec
    from ablation.design.spec import preset as preset
    from ablation.export.folder import load as load
    from ablation.faster.optimise import optimise as optimise
    from ablation.measure.costs.static import static_cost as static_cost
    from ablation.measure.latency.compare import compare_latency as compare_latency
    from studies.grid.api import study as study

__version__ = "0.2.0.dev0"  # of this code, installed or not; pyproject.toml reads it here
_WHERE = {
    "ModelSpec": "ablation.design.spec",
    "preset": "ablation.design.spec",
    "build": "ablation.design.compose",
    "static_cost": "ablation.measure.costs.static",
    "compare_latency": "ablation.measure.latency.compare",
    "optimise": "ablation.faster.optimise",
    "load": "ablation.export.folder",
    "study": "studies.grid.api",
}
__all__ = ["ModelSpec", "build", "compare_latency", "load", "optimise", "preset", "static_cost", "study"]


def __getattr__(name: str) -> Any:
    # resolved on first use, so that reports, which need no torch, do not wait for it
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'ablation' has no attribute {name!r}")
