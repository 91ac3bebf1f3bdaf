"""Every network between two specs: the factors in which they differ, each combination of swaps, and what cannot exist.

A factor is a choice that can be swapped by itself. Encoder and decoder have factors of their own wherever the spec has fields of
their own. Two rules group fields:

- `encoder_stem` and `encoder_widths` are one factor, "encoder widths": together they are the sequence of channels that the encoder
  goes through (`modified` makes its first 32 channels in the stem, `original` in its first stage), and a stage that is wired
  densely over the raw image is nothing that anyone would choose.
- A field that does nothing in one of the two networks (growth rate under plain connectivity, depth under dense) is no factor: it
  comes with the piece that reads it. A field that does nothing in both is left alone.

Networks of one callable have the arguments that differ as factors; networks of different callables have one, WHOLE.

Some combinations of valid choices are not valid together (an image size that the other's stages cannot halve): they are left out
and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from ablation.attribute.lattice import Cell, Lattice
from ablation.design.callable_spec import LEFT_OUT, CallableSpec
from ablation.design.network import AnySpec
from ablation.design.spec import FIELDS, ModelSpec
from ablation.record.explanation import WHOLE
from blocks.errors import InputError, must_be

Fields = dict[str, Any]
Factors = dict[str, tuple[Fields, Fields]]
MAX_FACTORS = 14  # 16,384 combinations

# the factors, in the order in which an image meets them
GROUPS: dict[str, tuple[str, ...]] = {
    "architecture": ("architecture",),
    "image size": ("image_size",),
    "input channels": ("in_channels",),
    # one factor, since stem and end belong together: where the work at full resolution is left and taken up again
    "resolution": ("stem", "stem_factor", "end", "end_factor", "innermost_resampling"),
    "encoder widths": ("encoder_stem", "encoder_widths"),
    "encoder connectivity": ("encoder_connectivity",),
    "encoder convolution": ("encoder_conv",),
    "downsampling": ("down",),
    "head": ("head",),
    "head channels": ("head_channels",),
    "latent dimension": ("latent_dim",),
    "latent stem": ("latent_stem",),
    "latent stem channels": ("stem_channels",),
    "stem width": ("decoder_stem",),
    "decoder widths": ("decoder_widths",),
    "decoder connectivity": ("decoder_connectivity",),
    "decoder convolution": ("decoder_conv",),
    "upsampling": ("up",),
    "transposed": ("transposed",),
    "mask width": ("mask_width",),
    "depth": ("depth",),
    "kernel size": ("kernel_size",),
    "growth rate": ("growth_rate",),
    "dense layers": ("dense_layers",),
    "dense bottleneck": ("dense_bottleneck",),
    "normalisation": ("norm",),
    "activation": ("activation",),
    "attention": ("attention",),
}
# factors of one part of the network, for a coarser answer
COARSE: dict[str, tuple[str, ...]] = {
    "encoder": ("encoder widths", "encoder connectivity", "encoder convolution", "downsampling"),
    "decoder": ("decoder widths", "decoder connectivity", "decoder convolution", "upsampling", "transposed"),
}


def factors_between(first: AnySpec, second: AnySpec) -> Factors:
    """Factor -> (fields as in `first`, fields as in `second`), in the order of GROUPS; empty for one and the same network.

    Swapping a factor sets the fields of its second half. Fields that only one of the networks reads stand in that half alone.
    """
    if not (isinstance(first, ModelSpec) and isinstance(second, ModelSpec)):
        return _arguments_between(first, second)
    differing = [name for name in FIELDS if getattr(first, name) != getattr(second, name)]
    idle = set(first.inert) | set(second.inert)
    factors: Factors = {}
    for factor, members in GROUPS.items():
        own = [name for name in members if name in differing and name not in idle]
        if own:
            halves = tuple({name: getattr(spec, name) for name in own} for spec in (first, second))
            factors[factor] = (halves[0] | _brought(first, second, own), halves[1] | _brought(second, first, own))
    return factors


def _arguments_between(first: AnySpec, second: AnySpec) -> Factors:
    """The arguments that differ, in the order of the callable's parameters; else both networks as wholes."""
    if not (isinstance(first, CallableSpec) and isinstance(second, CallableSpec) and first.path == second.path):
        return {WHOLE: ({WHOLE: _text_of(first)}, {WHOLE: _text_of(second)})}
    halves = [{**spec.defaults, **spec.arguments} for spec in (first, second)]
    names = [name for name in {**halves[0], **halves[1]} if halves[0].get(name, LEFT_OUT) != halves[1].get(name, LEFT_OUT)]
    return {name: ({name: halves[0].get(name, LEFT_OUT)}, {name: halves[1].get(name, LEFT_OUT)}) for name in names}


def _text_of(spec: AnySpec) -> str:
    """A network in a word or a call."""
    return spec.text if isinstance(spec, CallableSpec) else f"spec {spec.network_key[:8]}"


def _brought(spec: ModelSpec, other: ModelSpec, own: Iterable[str]) -> Fields:
    # what the pieces named by `own` read in `spec`, differs, and does nothing in `other`
    read = {name for field in own for name in spec.read_by(field)}
    idle = set(other.inert)
    return {name: getattr(spec, name) for name in FIELDS if name in read & idle and getattr(spec, name) != getattr(other, name)}


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """All combinations of swaps between two specs. A cell is the set of factors that are as in the second."""

    first: AnySpec
    second: AnySpec
    factors: Factors
    cells: Mapping[Cell, AnySpec]  # those that exist; the empty cell is the first network, the full one the second
    impossible: Mapping[Cell, str]  # cell -> reason

    @classmethod
    def between(cls, first: AnySpec, second: AnySpec) -> Factorial:
        """The full factorial; InputError where the specs are one network, differ too much, or share no path of variants."""
        if first.network_key == second.network_key:
            raise InputError("The two specs must make different networks. These make the same network, nothing to explain.")
        return cls._of(first, second, factors_between(first, second))

    @classmethod
    def _of(cls, first: AnySpec, second: AnySpec, factors: Factors) -> Factorial:
        if len(factors) > MAX_FACTORS:
            rule = f"different in at most {MAX_FACTORS} factors"
            raise must_be("The two specs", rule, sorted(factors), "Take a spec between the two and explain each half.")
        # the ends themselves, with what does nothing in them as written
        ends: dict[Cell, AnySpec] = {frozenset(): first, frozenset(factors): second}
        cells: dict[Cell, AnySpec] = {}
        impossible: dict[Cell, str] = {}
        for cell in _subsets(factors):
            if cell in ends:
                cells[cell] = ends[cell]
                continue
            changes = {name: value for factor in factors if factor in cell for name, value in factors[factor][1].items()}
            try:
                cells[cell] = first.replace(**changes)
            except InputError as error:
                impossible[cell] = str(error)
        changes = {name: value for _, second_half in factors.values() for name, value in second_half.items()}
        assert WHOLE in factors or first.replace(**changes).network_key == second.network_key, (first, second)
        return cls(first=first, second=second, factors=factors, cells=cells, impossible=impossible)._with_path()

    def _with_path(self) -> Factorial:
        if not Lattice(self.names, self.cells).num_paths:
            reason = next(iter(self.impossible.values()))
            raise must_be(
                "The two specs", "joined by a path of valid variants, one swap at a time", f"{len(self.impossible)} of "
                f"{self.num_possible} combinations that cannot exist", f"The first of them: {reason}",
            )  # fmt: skip
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The factors."""
        return tuple(self.factors)

    @property
    def num_possible(self) -> int:
        """Combinations of the full factorial, whether they exist or not."""
        return 2 ** len(self.factors)

    @cached_property
    def keys(self) -> dict[Cell, str]:
        """Cell -> key of its network. Cells that differ only in something inert share one."""
        return {cell: spec.network_key for cell, spec in self.cells.items()}

    @cached_property
    def networks(self) -> dict[str, AnySpec]:
        """Every network once, by its key: the first, the second, then the rest."""
        networks = {self.first.network_key: self.first, self.second.network_key: self.second}
        for cell, key in self.keys.items():
            networks.setdefault(key, self.cells[cell])
        return networks

    @property
    def levels(self) -> dict[str, tuple[str, str]]:
        """Factor -> (level in the first, level in the second), as text."""
        return {name: (_text(halves[0]), _text(halves[1])) for name, halves in self.factors.items()}

    @property
    def named_impossible(self) -> tuple[tuple[str, str], ...]:
        """(combination, reason) of everything left out."""
        return tuple((self.describe(cell), reason) for cell, reason in self.impossible.items())

    def describe(self, cell: Cell) -> str:
        """'head + stem width': the factors swapped in a cell."""
        return " + ".join(name for name in self.names if name in cell) or "nothing swapped"

    def values(self, by_network: Mapping[str, Any]) -> dict[Cell, Any]:
        """Values by network key -> values by cell, for the cells whose network has one."""
        return {cell: by_network[key] for cell, key in self.keys.items() if key in by_network}

    def without(self, failures: Mapping[str, str]) -> Factorial:
        """Without the networks that turned out not to work here (key -> reason); InputError where no path is left."""
        gone = {cell: failures[key] for cell, key in self.keys.items() if key in failures}
        for end in (frozenset[str](), frozenset(self.names)):
            if end in gone:
                raise InputError(f"Both networks must work on this machine. {self.describe(end)}: {gone[end]}")
        kept = {cell: spec for cell, spec in self.cells.items() if cell not in gone}
        impossible = {**self.impossible, **gone}
        return replace(self, cells=kept, impossible=impossible)._with_path()

    def merged(self, groups: Mapping[str, Iterable[str]]) -> Factorial:
        """With the factors of each group swapped together, under the group's name; other factors stay as they are."""
        home = {name: group for group, members in groups.items() for name in members}
        members: dict[str, list[str]] = {}
        for name in self.names:
            members.setdefault(home.get(name, name), []).append(name)
        factors: Factors = {}
        for group, names in members.items():
            halves = [{f: v for name in names for f, v in self.factors[name][side].items()} for side in (0, 1)]
            factors[group] = (halves[0], halves[1])
        return Factorial._of(self.first, self.second, factors)

    def coarse(self) -> Factorial:
        """With one factor for the whole encoder body and one for the whole decoder body: a few networks, all of them exact."""
        present = {group: [name for name in members if name in self.factors] for group, members in COARSE.items()}
        return self.merged({group: names for group, names in present.items() if len(names) > 1})

    def covered(self, keys: Iterable[str]) -> Factorial:
        """With those factors merged that never differ among networks of these keys (a study that varies them together)."""
        known = set(keys)
        seen = [cell for cell, key in self.keys.items() if key in known]
        groups: dict[tuple[bool, ...], list[str]] = {}
        for name in self.names:
            groups.setdefault(tuple(name in cell for cell in seen), []).append(name)
        return self.merged({" and ".join(names): names for names in groups.values() if len(names) > 1})


def _subsets(names: Iterable[str]) -> Iterable[Cell]:
    every = tuple(names)
    return (frozenset(chosen) for size in range(len(every) + 1) for chosen in combinations(every, size))


def _text(fields: Fields) -> str:
    texts = {name: "-".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in fields.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
