"""`paper`: from data to verdict: both models trained by the paper's protocol, its figures and tables again, and each claim judged.

A study runs in steps, each stored as soon as it is done; the same command goes on from there. The page comes from what is stored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tqdm import tqdm

from ablation.data import Dataset, load_dataset, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.data.celeba import locate
from ablation.data.masks import masks_beside
from ablation.data.sources import check_root
from ablation.data.splits import MIN_IMAGES
from ablation.design.spec import ModelSpec, preset
from ablation.machine.cores import num_cores
from ablation.machine.device import pick_device
from ablation.machine.hardware import describe_hardware, machine_name, provenance
from ablation.machine.text import first_line
from ablation.measure.latency.statistics import LEAST_ROUNDS
from ablation.record.trial import COMPLETE
from ablation.train.speed import compare_training
from ablation.train.trainable import check_trainable
from blocks.errors import must_be
from studies.engine import side_by_side
from studies.engine.config import StudyFolder, prepare_folder
from studies.engine.dashboard import dashboard_command
from studies.engine.folder import check_folder, take_folder
from studies.engine.runner import INTERRUPTED
from studies.explain.command import explain_pair, named_pair
from studies.paper.evidence.analysis import Analyst
from studies.paper.evidence.collect import UNREADABLE, as_explanation, read_json, stamp, stored_records, write_json
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL
from studies.paper.folder import GROUPS, HYPOTHESES, MODELS, PIECES, PaperFolder
from studies.paper.groups import Group, Place, groups_of, run_group
from studies.paper.plan import Asked, Pace, PaperPlan, first_plan, fit, parse_budget, read_plan
from studies.paper.report import report_paper
from studies.work.progress import duration
from studies.work.stopping import StopRequest
from studies.work.threads import quick_threads

SPEED_S = {False: 30.0, True: 10.0}  # for timing training steps; quick

Say = Callable[[str], None]


def run_paper(options: argparse.Namespace) -> int:
    """Check everything, fit the plan to the budget, then train, analyse, explain, judge and write the page."""
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    asked = _asked(options)
    if options.explained is not None:
        _read_explained(options.explained, asked.device)
    out = options.out or _default_folder(asked)
    check_folder(out, "paper")
    folder = PaperFolder(prepare_folder(out))
    plan = read_plan(folder.plan, asked) or _make_plan(asked, folder, options, say)
    dataset = _as_begun(_open(asked, plan.image_size, plan.images, options), folder)
    groups, limits = groups_of(plan, has_masks=dataset.masks is not None)
    for group in groups:
        check_trainable(group.specs, group.protocol, len(dataset))
    take_folder(out, "paper")
    write_json(folder.plan, asdict(plan))  # only now: a command that found no data must not decide the next one's plan
    _write_facts(folder, plan, dataset, groups, limits, options.line)
    _announce(plan, dataset, groups, folder, say)
    _lend(folder, options.explained, plan.device)
    torch.set_num_threads(num_cores())
    _time_training(plan, folder)
    place = Place(
        folder=folder,
        dataset=dataset,
        data=_data(asked, plan),
        console=console,
        data_root=options.data_root,
        cache_dir=options.cache_dir,
        retry_failed=options.retry_failed,
        command=options.line,
    )
    analyst = Analyst(plan=plan, folder=folder, dataset=dataset, cache_dir=options.cache_dir)
    code = 0
    for group in groups:
        code = max(code, run_group(group, plan, place))
        if code == INTERRUPTED:
            say(f"Stopped. What is done is kept; the same command goes on from here:\n  {options.line}")
            return code
        code = max(code, _analyse(group, analyst))
    _explain(plan, folder, options.line, say)  # last: its profiler slows a GPU's launches from then on
    torch.set_num_threads(num_cores())
    _judge_pieces(analyst, folder, say)
    report_paper(folder, console, page=folder.page)
    return code


def _asked(options: argparse.Namespace) -> Asked:
    """The flags, validated."""
    for flag in ("images", "epochs", "seeds", "batch_size", "image_size"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise must_be(f"--{flag.replace('_', '-')}", "a whole number of at least 1", value)
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


def _data(asked: Asked, plan: PaperPlan) -> dict[str, Any]:
    return {
        "name": asked.data,
        "limit": plan.images,
        "seed": asked.data_seed if asked.data == "faces" else 0,
        "image_size": plan.image_size,
    }


def _open(asked: Asked, size: int, images: int | None, options: argparse.Namespace) -> Dataset:
    seed = asked.data_seed if asked.data == "faces" else 0
    root, cache = options.data_root, options.cache_dir
    return load_dataset(asked.data, root=root, image_size=size, limit=images, seed=seed, cache_dir=cache, progress=True)


def _as_begun(dataset: Dataset, folder: PaperFolder) -> Dataset:
    """The data set, if it is the one that the study in the folder began with; with a note where only names and sizes tell so."""
    facts = read_json(folder.facts)
    began = facts.get("provenance", {}).get("data", {}).get("fingerprint")
    known = facts.get("data_fingerprint", began)
    if known is not None and known not in (dataset.fingerprint, *dataset.former):
        remedy = "Restore the data, or name another folder with --out."
        raise must_be("the data", f"those that the study began with, fingerprint {known}", dataset.fingerprint, remedy)
    return dataset.with_note(FORMER_NOTE) if began in dataset.former else dataset


def _make_plan(asked: Asked, folder: PaperFolder, options: argparse.Namespace, say: Say) -> PaperPlan:
    """Measure this machine where that decides something, and fit the plan."""
    begin, listing = time.monotonic(), None
    if asked.data == "celeba":
        listing = locate(Path(options.data_root).expanduser(), limit=None)[0]
    listed = None if listing is None else len(listing.names)
    if listed is not None and listed < MIN_IMAGES:
        raise must_be(
            "--data-root", f"a folder with at least {MIN_IMAGES} images, for the split", f"{listed} in {options.data_root}"
        )
    plan = first_plan(asked, listed)
    # a size that the networks can't have, or can't be trained at, is told before anything is timed
    check_trainable(dict(zip((ORIGINAL, MODIFIED), plan.pair, strict=True)), plan.protocol)
    num_images = plan.images or listed
    assert num_images is not None, "rendered faces have a number, files were counted"
    workers, rates = _workers(plan, options.workers, say)
    plan = replace(plan, workers=workers, side_by_side=rates)
    if plan.budget_s is not None:
        say("Timing one training step of every network, to fit the budget ...")
        has_masks = listing is None or masks_beside(listing) is not None
        pace = replace(_pace(plan, rates, has_masks), lent=options.explained is not None)
        plan = fit(plan, pace, num_images, time.monotonic() - begin)
    return plan


def _workers(plan: PaperPlan, wanted: int | None, say: Say) -> tuple[int, dict[str, float] | None]:
    """Trials at a time: as the flag says, else what trains fastest here, measured; a quick study runs one."""
    if wanted is not None:
        if wanted < 1:
            raise must_be("--workers", "a whole number of at least 1", wanted)
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


def _write_facts(
    folder: PaperFolder, plan: PaperPlan, dataset: Dataset, groups: list[Group], limits: list[str], command: str
) -> None:
    """Scale, machine, data and command of the study, for its page."""
    split = split_indices(len(dataset), seed=plan.protocol.split_seed)
    hardware = describe_hardware(plan.device)
    scale = {
        "image_size": plan.image_size,
        "data": dataset.name,
        "num_images": len(dataset),
        "num_train": len(split.train),
        "num_validation": len(split.validation),
        "num_test": len(split.test),
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "seeds": dict(plan.seeds),
        "device": plan.device,
        "hardware": machine_name(hardware) or plan.device,
        "width": "the paper's" if plan.full_width else "a quarter",
        "quick": plan.quick,
        "workers": plan.workers,
        "side_by_side": plan.side_by_side,
    }
    facts = {
        **provenance(plan.device, time.time()),
        "command": command,
        "data": dataset.describe(),
        "protocol": plan.protocol.to_dict(),
    }
    kinds = {group.name: group.kind for group in groups}
    values = {"scale": scale, "groups": kinds, "limits": [*limits, *dataset.notes], "provenance": facts}
    first = read_json(folder.facts)
    if first:  # trials of an earlier sitting stay that sitting's; where it was gone on with is told beside it
        again = [*first.get("sittings", ()), {name: facts[name] for name in ("started", "commit", "hardware")}]
        values |= {"provenance": first["provenance"], "sittings": again}
    known = {"data_fingerprint": dataset.fingerprint, "attribute_names": list(dataset.attribute_names)}
    write_json(folder.facts, {**values, **known})


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


def _read_explained(folder: Path, device: str) -> dict[str, Any]:
    """An explanation of the paper's pair that was made before; InputError for anything else."""
    values = read_json(folder / "explanation.json")
    rule, remedy = (
        f"a folder of `explain original modified --device {device}`",
        "Leave it out: the study then explains them itself.",
    )
    keys = {name: preset(name).network_key for name in (ORIGINAL, MODIFIED)}
    try:
        explanation = as_explanation(values)
        known = {name: ModelSpec.from_dict(spec).network_key for name, spec in explanation.specs.items()} == keys
    except UNREADABLE as error:
        told = f"It cannot be read ({type(error).__name__}: {error}). " if values else ""
        raise must_be("--explained", rule, str(folder), told + remedy) from None
    if not known or explanation.device != device:
        raise must_be("--explained", rule, str(folder), remedy)
    return values


def _lend(folder: PaperFolder, explained: Path | None, device: str) -> None:
    """An explanation that was made before becomes the study's."""
    if explained is not None:
        write_json(folder.explain / "explanation.json", {**_read_explained(explained, device), "lent": True})


def _explain(plan: PaperPlan, folder: PaperFolder, command: str, say: Say) -> None:
    """Counts, latency and its mechanisms of the paper's own two models at 144 px, whatever is trained."""
    stored = read_json(folder.explain / "explanation.json")
    with suppress(*UNREADABLE):  # one that was lent by another version is made anew
        if stored.get("lent") and as_explanation(stored):
            return
    pair, factorial = named_pair(
        (ORIGINAL, MODIFIED),
        (preset("original"), preset("modified")),
        plan.device,
        budget_s=plan.explain_s,
        quick=plan.explain_quick,
    )
    say("Explaining the costs and the latency of the paper's two models at 144 px ...")
    explain_pair(pair, factorial, prepare_folder(folder.explain), command, say)


def _time_training(plan: PaperPlan, folder: PaperFolder) -> None:
    """Interleaved training steps of the two models, once; again where an earlier version timed one sitting alone."""
    if read_json(folder.speed).get("sittings"):
        return
    names = dict(zip((ORIGINAL, MODIFIED), plan.pair, strict=True))
    timed = compare_training(names, plan.protocol, device=plan.device, budget_s=SPEED_S[plan.quick], rounds=(LEAST_ROUNDS, 200))
    values = {f"{name}_ms": speed.step_ms for name, speed in timed.items()}
    ratio = {key: value for key, value in asdict(timed[MODIFIED]).items() if key != "step_ms"}
    threads = torch.get_num_threads() if plan.device == "cpu" else None
    facts = {"batch_size": plan.batch_size, "image_size": plan.image_size, "device": plan.device, "threads": threads}
    write_json(folder.speed, {**values, **ratio, **facts, "provenance": provenance(plan.device, time.time())})


def _analyse(group: Group, analyst: Analyst) -> int:
    """Every complete trial of a group: 0, or 1 where one can't be analysed, which is told while the rest goes on."""
    records = [r for r in stored_records(analyst.folder).get(group.name, []) if r.state == COMPLETE]
    code = 0
    bar = tqdm(records, desc=f"analysing {group.name}", unit="trial", disable=not records)
    for record in bar:
        try:
            with quick_threads():
                analyst.trial(group, record)
        except Exception as error:  # a failure is a recorded state, whichever library raised it
            line = first_line(error).replace(f"{analyst.folder.path}/", "")
            code = 1
            bar.write(f"{record.label}, seed {record.seed}: not analysed: {line}", file=sys.stderr)
            path = analyst.folder.analysis(group.name, record.network_key, record.seed)
            # without a version, so that the next run tries again
            write_json(path, {"not_computed": {"analysis": line}, "stamp": stamp(record)})
    if analyst.plan.device == "cuda":
        torch.cuda.empty_cache()  # the workers of the next group need it
    return code


def _judge_pieces(analyst: Analyst, folder: PaperFolder, say: Say) -> None:
    """References on the same images, and the loss given to the pieces."""
    say("References: mean face and PCA ...")
    analyst.references()
    found = stored_records(folder)
    analyst.attribution([*found.get(MODELS, []), *found.get(PIECES, [])])
