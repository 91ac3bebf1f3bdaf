"""A network of either kind: a spec of this project's pieces, or a callable's; what commands take is read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablation.design.callable_spec import CallableSpec
from ablation.design.spec import ModelSpec

AnySpec = ModelSpec | CallableSpec


def spec_from_dict(values: Mapping[str, Any]) -> AnySpec:
    """The inverse of either's `to_dict`."""
    return CallableSpec.from_dict(values) if "callable" in values else ModelSpec.from_dict(values)
