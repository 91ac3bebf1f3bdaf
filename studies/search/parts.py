"""The studies that follow a search, in its storage: the sweep of learning rates, the confirmation, and the winner's swaps undone.

Each is a full grid of one or two factors over the reference's spec, so it resumes, and goes on with networks that come later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from ablation.attribute.factorial import factors_between
from ablation.design.network import AnySpec, spec_from_dict
from ablation.design.space import Levels, Space
from ablation.record.search import Candidate
from blocks.errors import InputError
from studies.engine.opened import StudyRun, open_run
from studies.engine.proposals import Search
from studies.engine.search.earlier import earlier_records, store_earlier
from studies.search.folder import CONFIRM, NETWORK, RATE, REFERENCE, SWEEP, WINNER, arm, difference, level_of, study_of, why_of
from studies.search.setting import Setting
from studies.store.storage import open_storage, study_names

SWEEP_LATENCY_S = 1.0  # for each network: nothing is made of it, but no trial is complete without a latency
QUICK_LATENCY_S = 6.0  # for each network of a quick search and batch size; else as long as sittings for an interval take


def swept_rates(setting: Setting) -> list[float]:
    """Rates of the sweep; none where there is only the search's own. What the search trained is taken over, not trained again."""
    return list(setting.rates) if len(setting.rates) > 1 else []


def first_fresh(setting: Setting) -> int:
    """The first seed that neither the search, which trains its reference with several, nor the sweep, nor an earlier study has."""
    return max(1, Search(**setting.config.search).reference_seeds, setting.first_unknown)


def sweep(setting: Setting, finalists: Sequence[Candidate], console: Console) -> StudyRun:
    """Reference and finalists with each learning rate, seed 0."""
    factors = {
        NETWORK: {REFERENCE: {}, **{level_of(each): difference(setting.reference, spec_of(each)) for each in finalists}},
        RATE: {f"{rate:g}": {RATE: rate} for rate in swept_rates(setting)},
    }
    num = len(factors[NETWORK])
    run = _open(setting, SWEEP, factors, console, batches=setting.config.latency_batches[:1], latency_s=SWEEP_LATENCY_S * num)
    # what the search itself and --from know is not trained again; a confirmation takes nothing over, so that its seeds are fresh
    folders = [setting.options.out, *map(Path, setting.earlier)]
    store_earlier(run.study, earlier_records(folders, run.config))
    return run


def confirm(setting: Setting, finalists: Sequence[Candidate], rates: Mapping[str, str], console: Console) -> StudyRun:
    """Reference and finalists, each with its own rate (level -> rate), with seeds that neither search nor sweep had."""
    specs = {REFERENCE: setting.reference, **{level_of(each): spec_of(each) for each in finalists}}
    levels = {arm(n, rates[n]): {**difference(setting.reference, spec), **_at(rates[n])} for n, spec in specs.items()}
    known = _levels_of(setting.options.where, study_of(setting.options.study, CONFIRM)).get(NETWORK, {})
    latency_s = QUICK_LATENCY_S * len({**known, **levels}) if setting.quick else None
    return _open(
        setting, CONFIRM, {NETWORK: levels}, console, seeds=setting.confirm_seeds, first_seed=first_fresh(setting),
        batches=setting.config.latency_batches, latency_s=latency_s,
    )  # fmt: skip


def why(setting: Setting, winner: Candidate, undone: Mapping[str, AnySpec], rate: str, console: Console) -> StudyRun:
    """The winner, and the winner with each of its differences from the reference undone (name -> spec); a study for each winner.

    Its seeds come after those by which the winner was chosen among the finalists.
    """
    base = spec_of(winner)
    levels = {WINNER: {}, **{name: difference(base, spec) for name, spec in undone.items()}}
    protocol = {**setting.config.protocol, **_at(rate)}
    seeds = {"seeds": setting.why_seeds, "first_seed": first_fresh(setting) + setting.confirm_seeds}
    return _open(
        setting, why_of(winner, rate), {NETWORK: levels}, console, base=base, protocol=protocol, **seeds,
        batches=setting.config.latency_batches, latency_s=None,
    )  # fmt: skip


def _at(rate: str) -> dict[str, float]:
    return {RATE: float(rate)} if rate else {}


def spec_of(candidate: Candidate) -> AnySpec:
    """The spec of a network of the search."""
    return spec_from_dict(candidate.spec)


def _open(
    setting: Setting,
    kind: str,
    factors: Mapping[str, Levels],
    console: Console,
    *,
    batches: tuple[int, ...],
    latency_s: float | None,
    base: AnySpec | None = None,
    **changes: Any,
) -> StudyRun:
    name = study_of(setting.options.study, kind)
    known = _levels_of(setting.options.where, name)  # of networks that went into it before: they stay
    merged = {factor: {**known.get(factor, {}), **levels} for factor, levels in factors.items()}
    space = Space(name=kind, base=base or setting.reference, factors=merged, protocol=setting.protocol)
    config = replace(setting.config, name=kind, space=space.to_dict(), search={}, latency_batches=batches, **changes)
    options = replace(
        setting.options,
        out=setting.folder.part(kind),
        storage=setting.options.where,
        study=name,
        latency_budget_s=latency_s,
    )
    return open_run(config, options, setting.dataset, console)


def _levels_of(where: str, name: str) -> dict[str, Levels]:
    """Factor -> levels of a study that is stored; none where it is not."""
    storage = open_storage(where)
    if name not in study_names(storage):
        return {}
    stored = optuna.load_study(study_name=name, storage=storage).user_attrs.get("config")
    return dict(stored["space"]["factors"]) if stored else {}


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """The differences between two networks."""

    levels: dict[str, tuple[str, str]] = field(default_factory=dict)  # factor -> level in the reference and in the winner, as text
    undone: dict[str, AnySpec] = field(default_factory=dict)  # factor -> the winner with that one set back
    reasons: dict[str, str] = field(default_factory=dict)  # factor -> why that can't be built

    def facts(self) -> dict[str, Any]:
        """As a folder keeps them, plain."""
        return {"levels": {factor: list(pair) for factor, pair in self.levels.items()}, "reasons": self.reasons}


def swaps_between(reference: AnySpec, winner: AnySpec) -> Swaps:
    """Each factor in which the winner differs from the reference, set back alone; those that change nothing are left out.

    >>> from ablation import preset
    >>> swaps = swaps_between(preset("small"), preset("small").replace(head="pooled", encoder_conv="separable"))
    >>> swaps.levels
    {'encoder convolution': ('standard', 'separable'), 'head': ('flatten', 'pooled')}
    >>> swaps.undone["head"].head, swaps.undone["head"].encoder_conv
    ('flatten', 'separable')
    """
    swaps = Swaps()
    for factor, halves in factors_between(reference, winner).items():
        swaps.levels[factor] = (_text(halves[0]), _text(halves[1]))
        own = {name: halves[0][name] if name in halves[0] else getattr(reference, name) for name in {**halves[1], **halves[0]}}
        try:
            spec = winner.replace(**own)
        except InputError as error:
            swaps.reasons[factor] = str(error)
        else:
            if spec.network_key in {winner.network_key, *(other.network_key for other in swaps.undone.values())}:
                swaps.reasons[factor] = "Undone alone it makes a network that is there already."
            elif spec.network_key == reference.network_key:
                swaps.reasons[factor] = "It is the only difference: undone it is the reference."
            else:
                swaps.undone[factor] = spec
    return swaps


def _text(fields: dict[str, Any]) -> str:
    texts = {name: "-".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in fields.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
