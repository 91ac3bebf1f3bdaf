"""A search of networks of a user's own, trained by a function of theirs."""

from __future__ import annotations

import torch

from ablation.design.callable_spec import CallableSpec
from ablation.machine.cores import num_threads
from ablation.machine.device import pick_device
from ablation.machine.hardware import slug
from ablation.search.limits import parse_limits
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig
from studies.engine.opened import reach
from studies.engine.own.file import OwnStudy, first_of
from studies.grid.command import check_own_flags, run_options_of
from studies.options import SearchOptions
from studies.search.folder import SEARCH
from studies.search.setting import RUNGS, Setting, search_settings, whole
from studies.work.progress import parse_budget

# flags that say nothing of a training of the user's own
NOT_OWN = ("rates", "reference_rate", "from_")


def prepare_own(options: SearchOptions, own: OwnStudy) -> Setting:
    """What flags and file come to; InputError for whatever is wrong."""
    check_own_flags(options, own, NOT_OWN)
    options = whole(options)
    budget_s = parse_budget(options.budget) if options.budget is not None else None
    reference, name = _reference(options, own)
    batches = tuple(dict.fromkeys(options.latency_batches))
    search = search_settings(options, parse_limits(options.limit, batches), RUNGS if own.train.reports else (), reference)
    config = StudyConfig(
        name=SEARCH, space=own.space.to_dict(), data={}, fingerprint="", protocol={}, own=own.settings(), search=search.to_dict(),
        device=pick_device(options.device), latency_batches=batches, latency_threads=options.latency_threads,
    )  # fmt: skip
    run_options = run_options_of(options, f"search-{slug(own.space.name)}", SEARCH)
    if options.workers == 1:
        torch.set_num_threads(num_threads())
    run_options = reach(run_options)
    return Setting(
        config=config, options=run_options, dataset=None, reference=reference, reference_name=name, budget_s=budget_s,
        confirm=options.confirm or 0, confirm_seeds=options.confirm_seeds or 0, why_seeds=options.why_seeds or 0, rates=(),
        earlier=(), quick=options.quick,
    )  # fmt: skip


def _reference(options: SearchOptions, own: OwnStudy) -> tuple[CallableSpec, str]:
    """What is to be beaten: a call of the space's callable; by default the base, or the first network where that can't be made."""
    base = own.network
    if options.reference is None:
        try:
            return base.replace(), "the base of the space"
        except InputError:
            first = first_of(own.space)
            return first, first.text
    spec = CallableSpec.read(options.reference, list(map(str, base.inputs)))
    if spec.path != base.path:
        remedy = f"For example: --reference '{base.text}'."
        raise must_be("--reference", f"a call of what makes the networks of the space, {base.path}", spec.path, remedy)
    return spec, spec.text
