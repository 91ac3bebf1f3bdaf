"""What is trained: a network, with what of the study's protocol is changed for it. No torch here.

Variants that differ in the protocol alone are one network: static costs and latency are measured once and shared by all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from ablation.design.network import AnySpec, of_pieces
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec

_FLOATS = tuple(field.name for field in fields(Protocol) if field.type == "float")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network and the changed fields of the protocol, with the assignments of a space's factors that make it.

    >>> from ablation import preset
    >>> variant = Variant.of(preset("small"), {"kl_weight": 0.01, "epochs": 10})
    >>> variant.changes
    {'kl_weight': 0.01}
    >>> variant.network_key == Variant(spec=preset("small")).key
    True
    """

    spec: AnySpec
    changes: Mapping[str, Any] = field(default_factory=dict)  # fields of the protocol that differ from the study's
    label: str = field(default="", compare=False)
    # every assignment of factors that makes this variant: more than one where a factor changes nothing in it
    intents: tuple[dict[str, str], ...] = field(default=(), compare=False)
    inert: tuple[str, ...] = field(default=(), compare=False)  # factors that change nothing in this variant

    @classmethod
    def of(cls, spec: AnySpec, wanted: Mapping[str, Any], study: Protocol | None = None) -> Variant:
        """The variant with these fields of the protocol, whether or not the study has them already; InputError for wrong values."""
        protocol = study or Protocol()
        replace(protocol, **wanted)
        values = {name: float(value) if name in _FLOATS else value for name, value in sorted(wanted.items())}
        return cls(spec=spec, changes={name: value for name, value in values.items() if value != getattr(protocol, name)})

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def model_spec(self) -> ModelSpec:
        """The spec, of this project's pieces; InputError where a callable makes the network."""
        return of_pieces(self.spec)

    @property
    def network_key(self) -> str:
        """16 hex digits that identify the network, whatever it is trained by."""
        return self.spec.network_key

    @cached_property
    def key(self) -> str:
        """The network's key where the protocol is the study's, else that and 8 hex digits for the changes."""
        if not self.changes:
            return self.network_key
        digest = hashlib.sha256(json.dumps(dict(self.changes), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.network_key}-{digest}"

    def protocol(self, study: Protocol) -> Protocol:
        """The protocol by which it is trained in a study."""
        return replace(study, **self.changes)


def network_of(key: str) -> str:
    """The key of the network that a variant of this key trains."""
    return key.partition("-")[0]
