"""Which levels of a space's factors make a given network: the way back from a spec to a proposal."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ablation.design.callable_spec import CallableSpec
from ablation.design.network import AnySpec
from ablation.design.protocol import FACTORS
from ablation.design.space import Space
from ablation.design.spec import resolve
from ablation.design.variant import Variant
from blocks.errors import InputError

MOST = 2000  # assignments that are tried; more fit only where many factors do nothing in the network


def levels_of(space: Space, variant: Variant) -> dict[str, str] | None:
    """Factor -> level such that `space.variant` makes this variant; None where the space does not have it.

    Factors set different fields, so each factor's levels are held against the spec by themselves. Where none agrees the factor may
    do nothing in this network, and all its levels are tried.
    """
    have = {**_values(variant.spec), **variant.protocol(space.protocol).to_dict()}
    candidates = [_agreeing(space, factor, have) for factor in space.factors]
    for levels in itertools.islice(itertools.product(*candidates), MOST):
        factors = dict(zip(space.factors, levels, strict=True))
        try:
            if space.variant(factors).key == variant.key:
                return factors
        except InputError:
            continue
    return None


def _agreeing(space: Space, factor: str, have: Mapping[str, Any]) -> list[str]:
    """The levels whose fields are those of the spec, with the base's fields where only other levels of the factor set them."""
    own = isinstance(space.base, CallableSpec)
    levels = {level: fields if own else resolve(fields, FACTORS) for level, fields in space.factors[factor].items()}
    base = {**_values(space.base), **space.protocol.to_dict()}
    names = {name for fields in levels.values() for name in fields}
    agreeing = [
        level for level, fields in levels.items() if all(_plain(fields.get(n, base.get(n))) == _plain(have.get(n)) for n in names)
    ]
    return agreeing or list(levels)


def _values(spec: AnySpec) -> dict[str, Any]:
    """What levels set, by name: fields of a spec, or arguments of a callable."""
    return {**spec.defaults, **spec.arguments} if isinstance(spec, CallableSpec) else dict(vars(spec))


def _plain(value: Any) -> Any:
    """A value as a spec keeps it: equal values for each stage as one."""
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        return value[0]
    return tuple(value) if isinstance(value, list) else value
