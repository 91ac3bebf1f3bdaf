"""What a search is asked for: its study, how it is run, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation.data import Dataset
from ablation.data.splits import split_sizes
from ablation.design.network import AnySpec, of_pieces
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.search.samplers import RANDOM
from ablation.train.speed import compare_training
from blocks.errors import InputError
from studies.engine.config import StudyConfig
from studies.engine.opened import RunOptions
from studies.engine.proposals import Search
from studies.options import SearchOptions
from studies.search.folder import SearchFolder

RATES = (1e-4, 3e-4, 1e-3)
TRIALS, MOST_TRIALS = 40, 10_000  # by default, and where a budget decides
MOST_NAMED = 5  # as --confirm allows
RUNGS, RUNGS_FROM = (0.25, 0.5), 4  # fractions of the epochs, and the epochs from which stopping early saves anything
# of a quick search, for what no flag sets: 48 px, and what two CPU cores do in 6 minutes
QUICK: dict[str, Any] = {
    "images": 400, "epochs": 3, "trials": 8, "budget": "90s", "confirm": 1, "confirm_seeds": 2, "rates": (1e-3,), "why_seeds": 0,
    "latency_budget": 3.0, "limit": ("params=1x", "latency=1x"),
}  # fmt: skip
WHOLE: dict[str, Any] = {"confirm": 3, "confirm_seeds": 5, "rates": RATES, "why_seeds": 3, "latency_budget": 12.0}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A search: its study, what it is run on, and what comes after it."""

    config: StudyConfig
    options: RunOptions
    dataset: Dataset | None  # none where networks and training are the user's own
    reference: AnySpec
    reference_name: str  # as it was typed
    budget_s: float | None
    confirm: int
    confirm_seeds: int
    why_seeds: int
    rates: tuple[float, ...]  # of the sweep, the search's own among them
    earlier: tuple[str, ...]
    quick: bool
    named: bool = False  # its networks were named, none is proposed
    first_unknown: int = 0  # above every seed of the earlier studies

    @property
    def folder(self) -> SearchFolder:
        """Its files."""
        return SearchFolder(self.options.out)

    @property
    def protocol(self) -> Protocol:
        """By which networks are trained, but for the learning rate in sweep and confirmation."""
        return self.config.training_protocol()

    @property
    def space(self) -> Space:
        """From which networks are proposed."""
        return Space.from_dict(self.config.space, self.protocol)


def whole(options: SearchOptions) -> SearchOptions:
    """The options with the defaults that depend on --quick."""
    defaults: dict[str, Any] = {**WHOLE, **(QUICK if options.quick else {})}
    if options.network:  # all of them are confirmed, whatever they cost
        defaults = {**defaults, "limit": (), "confirm": len(options.network)}
    return replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) in (None, ())})


def search_settings(options: SearchOptions, limits: dict[str, float], rungs: tuple[float, ...], reference: AnySpec) -> Search:
    """How networks are proposed, timed and stopped. Proposals are timed briefly: what counts is the confirmation's latency."""
    trials = len(set(options.network)) or options.trials or (TRIALS if options.budget is None else MOST_TRIALS)
    return Search(
        num_trials=trials, sampler=RANDOM if options.network else options.sampler, seed=options.seed, limits=limits, rungs=rungs,
        reference=reference.to_dict(), reference_seeds=2 if rungs else 1, timing_s=options.latency_budget or 0.0,
    )  # fmt: skip


def training_s(setting: Setting, specs: dict[str, AnySpec]) -> dict[str, float]:
    """Seconds of a whole training of each network, from a few steps; validation is about a tenth of it.

    InputError where a training of the user's own does the steps.
    """
    if setting.dataset is None:
        raise InputError("How long a training of the user's own takes is not known before it has run.")
    protocol, num_train = setting.protocol, split_sizes(len(setting.dataset))[0]
    networks = {name: of_pieces(spec) for name, spec in specs.items()}
    timed = compare_training(networks, protocol, device=setting.config.device, budget_s=2.0, rounds=(3, 5), sittings=1)
    steps = 1.1 * protocol.epochs * -(-num_train // protocol.batch_size)
    return {name: steps * speed.step_ms / 1e3 for name, speed in timed.items()}


def public_name(text: str) -> str:
    """A spec as it was typed; of a file in a folder of this machine only the last two names.

    >>> public_name("/home/me/results/winner.toml"), public_name("small,head=pooled")
    ('results/winner.toml', 'small,head=pooled')
    """
    return "/".join(Path(text).parts[-2:]) if Path(text).is_absolute() else text
