"""The groups of trials of a study of the paper: each an Optuna study of its own, all in one journal file.

A group has one protocol, so no trial is ever compared with one that was trained by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich.console import Console

from ablation.data import Dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.design.spec import ModelSpec
from studies.engine.config import StudyConfig
from studies.engine.opened import RunOptions, open_run
from studies.engine.runner import run_trials
from studies.paper.folder import HYPOTHESES, MODELS, PIECES, PaperFolder
from studies.paper.hypotheses import HYPOTHESES as LOSSES
from studies.paper.hypotheses import network_of
from studies.paper.plan import PaperPlan, arms, pieces

LATENCY_S = 1.0  # for each network: these trials need no more; the latency of the paper's pair is explained apart


@dataclass(frozen=True, kw_only=True)
class Group:
    """Networks that are trained by one protocol."""

    name: str  # of the study in the storage
    kind: str  # "models", "pieces" or "hypotheses"
    specs: Mapping[str, ModelSpec]  # arm -> spec
    protocol: Protocol
    seeds: int

    def space(self) -> Space:
        """One factor, whose levels are the arms."""
        base = next(iter(self.specs.values()))
        levels = {
            name: {field: value for field, value in spec.to_dict().items() if value != base.to_dict()[field]}
            for name, spec in self.specs.items()
        }
        return Space(name=self.name, base=base, factors={"arm": levels})


def groups_of(plan: PaperPlan, *, has_masks: bool) -> tuple[list[Group], list[str]]:
    """The groups in the order in which they are run, and what cannot be run, with the reason."""
    specs = {MODELS: arms(*plan.pair), PIECES: pieces(*plan.pair)}
    groups = [
        Group(name=name, kind=name, specs=networks, protocol=plan.protocol, seeds=plan.seeds[name])
        for name, networks in specs.items()
        if name == MODELS or plan.seeds[name]
    ]
    if not plan.seeds[HYPOTHESES]:
        return groups, []
    chosen = [name for name, changes in LOSSES.items() if has_masks or not changes.get("mask_weight")]
    left_out = f"{len(LOSSES) - len(chosen)} of {len(LOSSES)} hypotheses need face masks, which the data does not have."
    return [*groups, *(_hypothesis(plan, name) for name in chosen)], [left_out] if len(chosen) < len(LOSSES) else []


def _hypothesis(plan: PaperPlan, name: str) -> Group:
    """Toledo and Antonelo's network under one of their losses, with a mask decoder where that loss has a mask."""
    spec, protocol = network_of(name, plan.image_size, small=not plan.full_width), replace(plan.protocol, **LOSSES[name])
    return Group(name=name, kind=HYPOTHESES, specs={name: spec}, protocol=protocol, seeds=plan.seeds[HYPOTHESES])


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and on what the groups are run."""

    folder: PaperFolder
    dataset: Dataset
    data: Mapping[str, object]  # name, limit, seed, image_size
    console: Console
    data_root: str | None = None
    cache_dir: str | None = None
    retry_failed: bool = False
    command: str = ""


def run_group(group: Group, plan: PaperPlan, place: Place) -> int:
    """Train what is missing of one group: 0 done, 1 with failed trials, 130 stopped."""
    config = StudyConfig(
        name=group.name,
        space=group.space().to_dict(),
        data=dict(place.data),
        fingerprint=place.dataset.fingerprint,
        protocol=group.protocol.to_dict(),
        device=plan.device,
        seeds=group.seeds,
        latency_batches=(1,),
    )
    options = RunOptions(
        out=place.folder.group(group.name),
        storage=str(place.folder.journal),
        study=group.name,
        workers=min(plan.workers, len(group.specs) * group.seeds),
        data_root=place.data_root,
        cache_dir=place.cache_dir,
        latency_budget_s=LATENCY_S * len(group.specs),
        retry_failed=place.retry_failed,
        command=place.command,
    )
    return run_trials(open_run(config, options, place.dataset, place.console))
