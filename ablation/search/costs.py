"""Static costs of whole spaces: what many networks have in common is counted once, and added.

An architecture that states its layout (`blocks.architectures.base.Architecture.layout`) makes its parts of recipes, functions with
plain values: the stem, each stage's wiring, each stage's resampling. A module made by a recipe knows nothing but these values, and
its forward pass nothing but its input. So the recipe and the form of the input (shape, strides, dtype) decide its costs and the
form of its output; the costs of a network are the sum over its modules, which run one after the other, and the drawing of z.
Only pairs of recipe and form that were not met before are built and counted. Activations that cost the same, on a map and on a
vector, are counted as one.

That is exact where a module keeps to its recipe. The pieces in `blocks/` do, which a test holds. A piece from elsewhere may share
weights with another or remember what it saw: whenever a network with such pieces has a module that was not counted before, the sum
is compared with the full count of this network, and from the first difference on every network with one of these pieces is counted
in full. So are networks of an architecture without a layout or with a mask decoder, and those with modules that can't be counted
one by one (lazy layers, constructors that need values): once for each network key. A callable's network is counted in full too.

All counts are those of `ablation.measure.costs.static.static_cost`, equal in every number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ablation.design.compose import VAE, build, build_without_weights, deployed, sampled
from ablation.design.network import AnySpec, of_pieces
from ablation.design.space import Space
from ablation.design.spec import FAMILY_FIELDS, ModelSpec
from ablation.machine.text import first_line
from ablation.measure.costs.form import Form
from ablation.measure.costs.forward import Cost, DependsOnValuesError, count_forward
from ablation.measure.costs.operation import Operation
from ablation.measure.costs.operations import OTHER
from ablation.measure.costs.static import StaticCost, static_cost, summed
from blocks import ACTIVATIONS, ARCHITECTURES, FAMILIES, Architecture
from blocks.architectures.base import Plan, Recipe, recipes
from blocks.errors import InputError

METRICS = tuple(field.name for field in fields(Cost))
Piece = tuple[str, str]  # family and name
Key = tuple[Recipe, tuple[Form, ...]]


@dataclass(frozen=True)
class Module:
    """What is remembered of a module that ran on inputs of certain forms."""

    cost: Cost
    training_params: int  # before it was folded for deployment
    by_class: Mapping[str, Cost]
    operations: tuple[Operation, ...] = field(compare=False)  # the names of activations differ where their costs don't
    outputs: tuple[Form, ...]


Walk = list[tuple[str, Module]]  # part and module, in the order in which they run


class Sampling(nn.Module):
    """What a VAE does outside of its five parts: mean and log-variance -> z."""

    def forward(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """N x latent_dim, twice -> N x latent_dim."""
        return sampled(mean, log_var)


SAMPLING = Recipe.of(Sampling)
_numbers = attrgetter(*METRICS)


class SpaceCosts:
    """Costs of networks at one batch size; remembers what it counted.

    >>> from ablation import preset
    >>> costs, spec = SpaceCosts(), preset("small")
    >>> costs.of(spec) == static_cost(spec)
    True
    >>> before = costs.num_modules
    >>> costs.of(spec.replace(head="pooled")).macs, costs.num_modules - before
    (5330944, 1)
    """

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self._modules: dict[Key, Module] = {}
        self._networks: dict[str, StaticCost] = {}
        self._operations: dict[str, tuple[Operation, ...]] = {}
        self._not_sums: set[Piece] = set()
        self._activations: dict[str, str] = {}

    @property
    def num_modules(self) -> int:
        """Modules that were counted one by one."""
        return len(self._modules)

    @property
    def num_networks(self) -> int:
        """Networks that were counted in full."""
        return len(self._networks)

    def of(self, spec: AnySpec) -> StaticCost:
        """Costs of one network, as `static_cost` gives them, and raising what it raises."""
        walk = self._walk(spec)
        return self._in_full(spec) if walk is None else self._sum(of_pieces(spec), walk)

    def total(self, spec: AnySpec) -> Cost:
        """Costs of the whole network alone, in a fraction of the time of `of`."""
        walk = self._walk(spec)
        if walk is None:
            return Cost(*(getattr(self._in_full(spec), name) for name in METRICS))
        return Cost(*map(sum, zip(*(_numbers(module.cost) for _, module in walk), strict=True)))

    def operations(self, spec: AnySpec) -> tuple[Operation, ...]:
        """All operations of one forward pass, in the order of execution; raising what `static_cost` raises."""
        walk = self._walk(spec, own_activation=True)
        if walk is None:
            return self._all_operations(spec)
        return tuple(operation for _, module in walk for operation in module.operations)

    def _all_operations(self, spec: AnySpec) -> tuple[Operation, ...]:
        key = spec.network_key
        if key not in self._operations:
            forms = [_input(spec, self.batch_size)]
            try:
                counted = count_forward(deployed(build_without_weights(spec)), forms)
            except DependsOnValuesError:
                counted = count_forward(deployed(build(spec, seed=0)), forms, execute=True)
            self._operations[key] = counted.operations
        return self._operations[key]

    def _walk(self, spec: AnySpec, *, own_activation: bool = False) -> Walk | None:
        """The modules of a network; None where their costs are not known to add up."""
        if not isinstance(spec, ModelSpec):
            return None
        foreign, architecture = _foreign(spec), ARCHITECTURES.get(spec.architecture)
        if foreign & self._not_sums or architecture.mask_decoder is not Architecture.mask_decoder:
            return None
        new: dict[Key, Module] = {}
        alike = spec.activation if foreign or own_activation else self._as_costly(spec.activation)
        try:
            if (layout := architecture(spec if alike == spec.activation else spec.replace(activation=alike)).layout()) is None:
                return None
            walk = self._follow(zip(VAE.parts, layout, strict=True), _input(spec, self.batch_size), new)
        except Exception:  # whatever a piece raises: counted in full, the network raises it again or can do without
            return None
        if new and foreign and self._in_full(spec) != self._sum(spec, walk):
            self._not_sums |= foreign
            return None
        self._modules |= new
        return walk

    def _as_costly(self, activation: str) -> str:
        """The first activation of the catalogue that costs what this one does."""
        if activation not in self._activations:
            cost = _probed(activation)
            names = (
                name
                for name in ACTIVATIONS.names()
                if name == activation or (_is_ours("activation", name) and _probed(name) == cost)
            )
            self._activations[activation] = next(names)
        return self._activations[activation]

    def _follow(self, parts: Iterable[tuple[str, Plan]], form: Form, new: dict[Key, Module]) -> Walk:
        walk: Walk = []
        forms: tuple[Form, ...] = (form,)
        for part, plan in parts:
            steps = [(part, recipe) for recipe in recipes(plan)]
            for name, recipe in [*steps, (OTHER, SAMPLING)] if part == "head" else steps:
                key = (recipe, forms)
                module = self._modules.get(key) or new.get(key)
                if module is None:
                    module = new[key] = _count(recipe, forms)
                walk.append((name, module))
                forms = module.outputs
        return walk

    def _sum(self, spec: ModelSpec, walk: Walk) -> StaticCost:
        by_part = {name: Cost() for name in (*VAE.parts, OTHER)}
        by_class: dict[str, Cost] = {}
        for part, module in walk:
            by_part[part] += module.cost
            for name, cost in module.by_class.items():
                by_class[name] = by_class.get(name, Cost()) + cost
        training_params, shape = sum(module.training_params for _, module in walk), _input(spec, self.batch_size).shape[1:]
        return summed(by_part, by_class, batch_size=self.batch_size, input_shape=shape, training_params=training_params)

    def _in_full(self, spec: AnySpec) -> StaticCost:
        key = spec.network_key
        if key not in self._networks:
            self._networks[key] = static_cost(spec, self.batch_size)
        return self._networks[key]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Costs of assignments of a space's factors, each in its place."""

    keys: tuple[str, ...]  # of variants; empty where none exists
    reasons: tuple[str, ...]  # why it cannot exist or be counted; empty where it can
    costs: Mapping[str, NDArray[np.float64]]  # one of METRICS -> a number for each assignment, NaN where there is none

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Whether there are costs, for each assignment."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def space_costs(space: Space, assignments: Iterable[Mapping[str, str]], counts: SpaceCosts | None = None) -> Table:
    """Costs of the variants that assignments of the factors make; `counts` remembers what it counted from call to call.

    >>> from ablation import preset
    >>> levels = {"3": {"encoder_widths": [8, 16, 32]}, "5": {"encoder_widths": [8, 16, 32, 64, 64]}}
    >>> table = space_costs(Space(name="s", base=preset("small"), factors={"stages": levels}), [{"stages": "3"}, {"stages": "5"}])
    >>> table.valid.tolist(), table.costs["params"].tolist()
    ([True, False], [160579.0, nan])
    """
    counts = counts or SpaceCosts()
    rows = [_row(space, factors, counts) for factors in assignments]
    numbers = np.array([row for _, _, row in rows], dtype=float).reshape(len(rows), len(METRICS))
    return Table(
        keys=tuple(key for key, _, _ in rows),
        reasons=tuple(reason for _, reason, _ in rows),
        costs={name: numbers[:, column] for column, name in enumerate(METRICS)},
    )


def _row(space: Space, factors: Mapping[str, str], counts: SpaceCosts) -> tuple[str, str, tuple[float, ...]]:
    """Key of the variant, why it has no costs, and costs."""
    key, none = "", (float("nan"),) * len(METRICS)
    try:
        variant = space.variant(factors)
        key = variant.key
        return key, "", _numbers(counts.total(variant.spec))
    except InputError as error:
        return key, str(error), none
    except Exception as error:  # whatever a user's own piece raises
        return key, f"{type(error).__name__}: {first_line(error, '')}", none


@cache
def shared_costs(batch_size: int = 1) -> SpaceCosts:
    """The costs that this process remembers at a batch size: what one of its tasks counted, no other counts again."""
    return SpaceCosts(batch_size)


def _count(recipe: Recipe, forms: tuple[Form, ...]) -> Module:
    with torch.device("meta"), _NoInitialisation():
        made = nn.ModuleList([recipe.module()])
        (module,) = deployed(made)  # in a list, since what folds is replaced in its parent
    counted = count_forward(module, forms)
    return Module(
        counted.by_part[OTHER], sum(p.numel() for p in made.parameters()), counted.by_class, counted.operations, counted.outputs
    )


class _NoInitialisation(TorchFunctionMode):
    """Without values there is nothing to initialise, which takes half of the time of making a module."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def _input(spec: AnySpec, batch_size: int) -> Form:
    return Form.contiguous((batch_size, *spec.input_shape))


def _foreign(spec: ModelSpec) -> set[Piece]:
    """The pieces of a network that are not from the catalogue of this project."""
    chosen = {(family, name) for field, family in FAMILY_FIELDS.items() for name in spec.pieces(field)}
    return {piece for piece in chosen if not _is_ours(*piece)}


def _is_ours(family: str, name: str) -> bool:
    return str(getattr(FAMILIES[family].get(name), "__module__", "")).startswith("blocks.")


def _probed(activation: str) -> list[Module]:
    recipe = Recipe.of(ACTIVATIONS.get(activation))
    return [_count(recipe, (Form.contiguous(shape),)) for shape in ((2, 6, 4, 4), (2, 6))]
