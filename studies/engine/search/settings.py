"""How the networks of a search are proposed, as plain values that are stored with the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from ablation.design.network import AnySpec, spec_from_dict
from ablation.design.space import Space
from ablation.search.limits import COSTS, broken, check_limits, excess
from ablation.search.rungs import rung_epochs
from ablation.search.samplers import ABOUT
from blocks.errors import check_whole, choices, must_be
from studies.engine.config import StudyConfig

REFERENCE, EARLIER = "reference", "earlier"  # roles of jobs that no sampler proposed


@dataclass(frozen=True, kw_only=True)
class Search:
    """How networks are proposed. Plain JSON values, stored with the study as `StudyConfig.search`."""

    num_trials: int  # networks that are trained, beside the reference and those of earlier studies
    sampler: str = "TPESampler"  # one of ablation.search.samplers.ABOUT, or a class of optuna.samplers
    settings: Mapping[str, Any] = field(default_factory=dict)  # its arguments
    seed: int = 0
    # as `ablation.search.limits` keeps them: the largest value of a network that is trained
    limits: Mapping[str, float] = field(default_factory=dict)
    proposals_per_trial: int = 20  # at most, on average, those refused included
    reference: Mapping[str, Any] = field(default_factory=dict)  # fields of a spec; empty: the base of the space
    reference_seeds: int = 0  # with which the reference is trained before all others, 0 and up
    reference_rate: float = 0.0  # the reference's learning rate; 0: that of all. A rate that suits the space may suit no reference
    # most seconds in which a proposal is timed at each batch size; 0: as long as an interval takes
    timing_s: float = 0.0
    rungs: tuple[float, ...] = ()  # fractions of the epochs after which a training may be stopped

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", tuple(self.rungs))
        check_whole("num_trials", self.num_trials)
        check_whole("proposals_per_trial", self.proposals_per_trial)
        check_whole("reference_seeds", self.reference_seeds, 0)
        check_limits(self.limits)
        rung_epochs(1, self.rungs)
        kind = getattr(optuna.samplers, self.sampler, None)
        is_optunas = isinstance(kind, type) and issubclass(kind, BaseSampler) and kind is not BaseSampler
        if self.sampler not in ABOUT and not is_optunas:
            rule = f"{choices(ABOUT)}, or a sampler of Optuna, e.g. TPESampler"
            raise must_be("sampler", rule, self.sampler)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `StudyConfig.search`; of the settings that have defaults, those that differ from them."""
        default = Search(num_trials=self.num_trials)
        values = {name: value for name, value in asdict(self).items() if name == "num_trials" or value != getattr(default, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def constraints(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Limit -> by which part of it a network is over (positive) or under, for the limits of which there are values."""
        return excess(self.limits, values)

    def broken(self, values: Mapping[str, Any]) -> str:
        """Which limits a network breaks, as one reason; empty where it breaks none."""
        return broken(self.limits, values)


def search_of(config: StudyConfig) -> Search:
    """The settings of a study that is a search."""
    return Search(**config.search)


def reference_spec(config: StudyConfig) -> AnySpec:
    """The network beside which every proposal is timed and judged; the base of the space unless the search names another."""
    values = (config.search or {}).get("reference") or config.space["base"]
    return spec_from_dict(values)


def check_search(config: StudyConfig) -> None:
    """InputError where a search can't be: settings, a reference for other images, a limit on what is not timed."""
    search, base = search_of(config), Space.from_dict(config.space).base
    reference = reference_spec(config)
    for name in ("image_size", "in_channels") if not config.own else ():
        own, wanted = getattr(reference, name), getattr(base, name)
        if own != wanted:
            remedy = f"Give the reference {name} {wanted}, or search a space of {own}."
            raise must_be(f"{name} of the reference", f"that of the space, {wanted}", own, remedy)
    for key in search.limits:
        batch = key.partition("@")[2]
        if batch and int(batch) not in config.latency_batches:
            timed = " or ".join(map(str, config.latency_batches))
            raise must_be(f"The limit {key}", f"on a batch size that is timed, {timed}", batch, "Time it too.")
    keys = [key.removesuffix("_ratio") for key in search.limits if key.partition("@")[0].removesuffix("_ratio") in COSTS]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise must_be("The limits", f"one for {twice}", 2, "Leave out the larger one.")
