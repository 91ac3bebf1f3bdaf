"""`paper`: from data to verdict: both models trained by the paper's protocol, its figures and tables again, and each claim judged.

A study runs in steps, each stored as soon as it is done; the same command goes on from there. The page comes from what is stored.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from ablation.data import Dataset, load_dataset
from ablation.data.sources import check_root
from ablation.data.splits import MIN_IMAGES
from ablation.machine.cores import num_cores
from ablation.machine.device import pick_device
from ablation.train.trainable import check_trainable
from blocks.errors import must_be
from studies.engine.config import StudyFolder, prepare_folder
from studies.engine.dashboard import dashboard_command
from studies.engine.folder import check_folder, take_folder
from studies.engine.runner import INTERRUPTED
from studies.options import PaperOptions
from studies.paper import steps
from studies.paper.evidence.analysis import Analyst
from studies.paper.evidence.collect import write_json
from studies.paper.fitting import make_plan
from studies.paper.folder import GROUPS, HYPOTHESES, MODELS, PIECES, PaperFolder
from studies.paper.groups import Group, Place, groups_of, run_group
from studies.paper.plan import Asked, PaperPlan, read_plan
from studies.paper.report import report_paper
from studies.paper.steps import Say
from studies.work.progress import duration, parse_budget, print_line


def run_paper(options: PaperOptions) -> int:
    """Check everything, fit the plan to the budget, then train, analyse, explain, judge and write the page."""
    console = Console(stderr=True)
    say = partial(print_line, console)

    asked = _asked(options)
    if options.explained is not None:
        steps.read_explained(options.explained, asked.device)
    out = options.out or _default_folder(asked)
    check_folder(out, "paper")
    folder = PaperFolder(prepare_folder(out))
    plan = read_plan(folder.plan, asked) or make_plan(asked, options, say)
    data = {"name": asked.data, "limit": plan.images, "seed": _seed(asked), "image_size": plan.image_size}
    place = Place(
        folder=folder,
        dataset=steps.as_begun(_open(asked, plan, options), folder),
        data=data,
        console=console,
        data_root=options.data_root,
        cache_dir=options.cache_dir,
        retry_failed=options.retry_failed,
        command=options.line,
    )
    groups = _begin(plan, place, options, say)
    return _run(groups, plan, place, say)


def _begin(plan: PaperPlan, place: Place, options: PaperOptions, say: Say) -> list[Group]:
    """Check the groups, and only then write down plan and facts: a command that failed must not decide the next one's plan."""
    folder, dataset = place.folder, place.dataset
    groups, limits = groups_of(plan, has_masks=dataset.masks is not None)
    for group in groups:
        check_trainable(group.specs, group.protocol, len(dataset))
    take_folder(folder.path, "paper")
    write_json(folder.plan, asdict(plan))
    steps.write_facts(folder, plan, dataset, groups, limits, options.line)
    _announce(plan, dataset, groups, folder, say)
    steps.lend(folder, options.explained, plan.device)
    return groups


def _run(groups: list[Group], plan: PaperPlan, place: Place, say: Say) -> int:
    """Everything that takes long, in steps that are each kept; 0, 1 with failed trials, or 130 where it was stopped."""
    folder, code = place.folder, 0
    torch.set_num_threads(num_cores())
    steps.time_training(plan, folder)
    analyst = Analyst(plan=plan, folder=folder, dataset=place.dataset, cache_dir=place.cache_dir)
    for group in groups:
        code = max(code, run_group(group, plan, place))
        if code == INTERRUPTED:
            say(f"Stopped. What is done is kept; the same command goes on from here:\n  {place.command}")
            return code
        code = max(code, steps.analyse(group, analyst))
    steps.explain(plan, folder, place.command, say)  # last: its profiler slows a GPU's launches from then on
    torch.set_num_threads(num_cores())
    steps.judge_pieces(analyst, folder, say)
    report_paper(folder, place.console, page=folder.page)
    return code


def _asked(options: PaperOptions) -> Asked:
    """The flags, validated."""
    if options.images is not None and options.images < MIN_IMAGES:
        raise must_be("--images", f"a whole number of at least {MIN_IMAGES}, for the split", options.images)
    if options.data == "faces" and options.data_root is not None:
        raise must_be("--data-root", "left out with --data faces, which are drawn", options.data_root, "Add --data celeba.")
    if options.data == "celeba":
        rule = "the folder of CelebA with --data celeba"
        if options.data_root is None:
            raise must_be("--data-root", rule, None, "Or leave --data out: faces are rendered.")
        check_root("--data-root", rule, options.data_root)
    return Asked(
        data=options.data,
        image_size=options.image_size,
        images=options.images,
        epochs=options.epochs,
        seeds=options.seeds,
        batch_size=options.batch_size,
        budget_s=parse_budget(options.budget) if options.budget is not None else None,
        device=pick_device(options.device),
        quick=options.quick,
        data_seed=options.data_seed,
        groups=(MODELS, *(group for group in GROUPS if group in (options.groups or GROUPS) and group != MODELS)),
    )


def _default_folder(asked: Asked) -> Path:
    size = [f"{asked.image_size}"] if asked.image_size else []
    return Path("results") / "-".join(["paper", asked.data, *size, *(["quick"] if asked.quick else [])])


def _seed(asked: Asked) -> int:
    return asked.data_seed if asked.data == "faces" else 0


def _open(asked: Asked, plan: PaperPlan, options: PaperOptions) -> Dataset:
    root, cache, seed = options.data_root, options.cache_dir, _seed(asked)
    return load_dataset(
        asked.data, root=root, image_size=plan.image_size, limit=plan.images, seed=seed, cache_dir=cache, progress=True
    )


def _announce(plan: PaperPlan, dataset: Dataset, groups: list[Group], folder: PaperFolder, say: Say) -> None:
    trials = {kind: sum(len(g.specs) * g.seeds for g in groups if g.kind == kind) for kind in (MODELS, PIECES, HYPOTHESES)}
    width = "the paper's networks" if plan.full_width else "the paper's networks at a quarter of their width"
    say(f"Paper     {width}, {plan.image_size} px, at most {plan.epochs} epochs, batch {plan.batch_size}, on {plan.device}")
    say(f"Data      {dataset.name}, {len(dataset):,} images")
    for note in dataset.notes:
        say(f"          note: {note}")
    say(
        f"Trials    {trials[MODELS]} of the models and their controls, {trials[PIECES]} of the networks between them, "
        f"{trials[HYPOTHESES]} of Toledo and Antonelo's losses and masks; {plan.workers} at a time"
    )
    if plan.expected_s is not None:
        say(f"Expected  about {duration(plan.expected_s)} in all")
    for text in plan.given_up:
        say(f"          {text}")
    say(f"Folder    {folder.path}")
    say(f"Dashboard {dashboard_command(folder.journal, StudyFolder(folder.group(MODELS)).artifacts)}")
    say("          Ctrl-C stops; the same command goes on from there")
