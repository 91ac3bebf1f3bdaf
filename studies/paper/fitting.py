"""The plan of a study of the paper: what is asked for, fitted to this machine by measuring it where that decides something."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ablation.data.celeba import locate
from ablation.data.masks import masks_beside
from ablation.data.splits import MIN_IMAGES
from ablation.machine.cores import num_cores
from ablation.train.speed import compare_training
from ablation.train.trainable import check_trainable
from blocks.errors import must_be
from studies.engine import side_by_side
from studies.options import PaperOptions
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL
from studies.paper.groups import groups_of
from studies.paper.plan import Asked, Pace, PaperPlan, first_plan, fit
from studies.work.stopping import StopRequest

Say = Callable[[str], None]


def make_plan(asked: Asked, options: PaperOptions, say: Say) -> PaperPlan:
    """Measure this machine where that decides something, and fit the plan."""
    begin, listing = time.monotonic(), None
    if options.data_root is not None:
        listing = locate(Path(options.data_root).expanduser(), limit=None)[0]
    listed = None if listing is None else len(listing.names)
    if listed is not None and listed < MIN_IMAGES:
        raise must_be(
            "--data-root", f"a folder with at least {MIN_IMAGES} images, for the split", f"{listed} in {options.data_root}"
        )
    plan = first_plan(asked, listed)
    # a size that the networks can't have, or can't be trained at, is reported before anything is timed
    check_trainable(dict(zip((ORIGINAL, MODIFIED), plan.pair, strict=True)), plan.protocol)
    num_images = plan.images or listed
    assert num_images is not None, "rendered faces have a number, files were counted"
    lent = options.explained is not None
    if plan.budget_s is not None:
        fit(plan, Pace(step_s={}, lent=lent), num_images)  # what would not fit if training took no time is refused at once
    workers, rates = _workers(plan, options.workers, say)
    plan = replace(plan, workers=workers, side_by_side=rates)
    if plan.budget_s is not None:
        say("Timing one training step of every network, to fit the budget ...")
        has_masks = listing is None or masks_beside(listing) is not None
        pace = replace(_pace(plan, rates, has_masks), lent=lent)
        plan = fit(plan, pace, num_images, time.monotonic() - begin)
    return plan


def _workers(plan: PaperPlan, wanted: int | None, say: Say) -> tuple[int, dict[str, float] | None]:
    """Trials at a time: as the flag says, else what trains fastest here, measured; a quick study runs one."""
    if wanted is not None:
        return wanted, None
    counts = side_by_side.candidates(plan.device)
    if plan.quick or counts == (1,):
        return 1, None
    say("Timing several trials side by side ...")
    with StopRequest() as stop:
        rates = side_by_side.measure(plan.pair[1], plan.protocol, plan.device, counts, should_stop=stop)
        if stop():
            raise KeyboardInterrupt
    return (side_by_side.fastest(rates) if rates else 1), {str(count): rate for count, rate in rates.items()}


def _pace(plan: PaperPlan, rates: dict[str, float] | None, has_masks: bool) -> Pace:
    torch.set_num_threads(num_cores())
    groups, _ = groups_of(plan, has_masks=has_masks)
    step_s: dict[str, dict[str, float]] = {}
    for group in groups:
        timed = compare_training(group.specs, group.protocol, device=plan.device, budget_s=2.0, rounds=(3, 5), sittings=1)
        step_s.setdefault(group.kind, {}).update({name: speed.step_ms / 1e3 for name, speed in timed.items()})
    # on a busy machine one trial may be measured far too slow, but n at a time never do more than n times as much
    measured = rates is not None and {"1", str(plan.workers)} <= set(rates)
    gain = min(rates[str(plan.workers)] / rates["1"], plan.workers) if measured and rates else 1.0
    if plan.quick:
        return Pace(step_s=step_s, gain=gain, trial_s=2.5, analysis_s=15.0)
    # a GPU's worker starts more slowly, and latent space is measured on the CPU whatever trains
    trial_s, analysis_s = (4.0, 20.0) if plan.device == "cpu" else (6.0, 40.0)
    return Pace(step_s=step_s, gain=gain, trial_s=trial_s, analysis_s=analysis_s)
