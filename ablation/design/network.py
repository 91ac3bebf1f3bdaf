"""A network of either kind: a spec of this project's pieces, or a callable's; what commands take is read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablation.design.callable_spec import CallableSpec
from ablation.design.spec import ModelSpec
from blocks.errors import must_be

AnySpec = ModelSpec | CallableSpec


def of_pieces(spec: AnySpec) -> ModelSpec:
    """The spec itself; InputError where it is a callable's."""
    if isinstance(spec, CallableSpec):
        raise must_be("A network here", "made of this project's pieces", spec.text)
    return spec


def spec_from_dict(values: Mapping[str, Any]) -> AnySpec:
    """The inverse of either's `to_dict`."""
    return CallableSpec.from_dict(values) if "callable" in values else ModelSpec.from_dict(values)
