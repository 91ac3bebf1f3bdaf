"""What an architecture is, and the registry of all of them.

Constructor of the family: `architecture(spec)`. A spec is an `ablation.design.spec.ModelSpec`, or anything with its fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import nn

from blocks.basic import ACTIVATIONS, NORMS, Activation, Norm
from blocks.registry import Registry

Parts = tuple[nn.Module, nn.Module, nn.Module, nn.Module, nn.Module]


@dataclass(frozen=True)
class Recipe:
    """How one module is made: a function, and all that it is given. Equal recipes make equal modules, but for their weights.

    >>> Recipe.of(nn.Conv2d, 3, 8, kernel_size=1).module()
    Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))
    """

    make: Callable[..., nn.Module]
    values: tuple[Hashable, ...]
    named: tuple[tuple[str, Hashable], ...]

    @classmethod
    def of(cls, make: Callable[..., nn.Module], *values: Hashable, **named: Hashable) -> Recipe:
        """The recipe of `make(*values, **named)`."""
        return cls(make, values, tuple(named.items()))

    def module(self) -> nn.Module:
        """The module, made anew."""
        return self.make(*self.values, **dict(self.named))


# a recipe, or several whose modules run one after the other
Plan: TypeAlias = Recipe | tuple["Plan", ...]
Layout = tuple[Plan, Plan, Plan, Plan, Plan]


def built(plan: Plan) -> nn.Module:
    """The module of a plan; several in an nn.Sequential, as they are nested."""
    return plan.module() if isinstance(plan, Recipe) else nn.Sequential(*map(built, plan))


def recipes(plan: Plan) -> Iterator[Recipe]:
    """Every recipe of a plan, in the order in which their modules run."""
    if isinstance(plan, Recipe):
        yield plan
    else:
        for inner in plan:
            yield from recipes(inner)


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

    def layout(self) -> Layout | None:
        """The plans of the five parts, where these are made of recipes alone: `parts` builds them; else None.

        What networks of a space have in common is then counted once (`ablation.search.costs`).
        """
        return None

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
