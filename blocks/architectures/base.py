"""What an architecture is, and the registry of all of them.

Constructor of the family: `architecture(spec)`. A spec is an `ablation.design.spec.ModelSpec`, or anything with its fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from blocks.basic import ACTIVATIONS, NORMS, Activation, Norm
from blocks.registry import Registry

Parts = tuple[nn.Module, nn.Module, nn.Module, nn.Module, nn.Module]


class Architecture(ABC):
    """A layout of five parts, which run one after the other, and perhaps of a mask decoder beside them."""

    # part of the network ("other": outside of the five) -> the fields of the spec that it is made from; the network reads no others
    made_from: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    @classmethod
    def reads(cls) -> tuple[str, ...]:
        """The fields of a spec that the network is made from, each once."""
        return tuple(dict.fromkeys(name for names in cls.made_from.values() for name in names))

    @abstractmethod
    def check(self) -> None:
        """InputError where image size and numbers of stages do not go together."""

    @abstractmethod
    def parts(self) -> Parts:
        """Encoder body, head, decoder stem, decoder body and output: images N x C x S x S -> (mean, log_var) -> images."""

    def mask_decoder(self) -> nn.Module | None:
        """Latent vectors N x latent_dim -> log-odds of a mask, N x 1 x S x S; None where the network has none."""
        return None

    @property
    def norm(self) -> Norm:
        """The chosen norm."""
        return NORMS.get(self.spec.norm)

    @property
    def activation(self) -> Activation:
        """The chosen activation."""
        return ACTIVATIONS.get(self.spec.activation)


ARCHITECTURES: Registry[type[Architecture]] = Registry(
    "architecture", "architecture(spec): an `Architecture` with `made_from`, `check()`, `parts()` and perhaps `mask_decoder()`"
)
