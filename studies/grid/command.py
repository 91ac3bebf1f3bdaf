"""The grid: what does each piece cost, and what does it buy? Every network of a space, with every seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ablation.data import Dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space, load_defaults, load_space
from ablation.design.variant import Variant
from ablation.machine.cores import num_threads
from ablation.machine.device import pick_device
from ablation.machine.hardware import provenance, slug
from ablation.machine.text import printable
from ablation.train.trainable import check_trainable
from blocks.errors import must_be
from studies.engine.config import StudyConfig
from studies.engine.folder import GRID, check_grid_folder, take_grid_folder
from studies.engine.machines.slurm import Tasks, submit
from studies.engine.opened import RunOptions, StudyRun, open_run, reach
from studies.engine.own.file import OwnStudy, is_own, read_own
from studies.engine.reporting import FACTS
from studies.engine.runner import run_study
from studies.engine.trial import describe_data
from studies.engine.worker import open_dataset
from studies.options import SECONDS, Data, GridOptions, SearchOptions, Training, flag_of

SPACES = Path(__file__).parents[1] / "engine" / "spaces"
OWN_SPACES = ("small", "paper", "loss", "search", "replay")  # those that come with the suite
SMALL_BELOW = 96  # pixels under which the default space is `small`
NUM_FACES = 1000
DEFAULTS_OF_OWN = ("seeds", "latency_budget")  # of a study of one's own; for `grid`
ALLOWED_DEFAULTS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "patience",
    "images",
    "seeds",
    "reference_rate",
)  # the last is for a search


def space_file(name: str | None, image_size: int | None) -> Path:
    """The TOML file of a named space, or the file that the user names."""
    if name is None:
        name = "small" if (image_size or 0) < SMALL_BELOW else "paper"
    return SPACES / f"{name}.toml" if name in OWN_SPACES else Path(name)


def run_grid(options: GridOptions) -> int:
    """Check everything, then cost, time and train what is missing, and report."""
    console, path = Console(stderr=True), space_file(options.space, options.image_size)
    if path.is_file() and is_own(path):
        if options.workers == 1:
            torch.set_num_threads(num_threads())
        return _run(open_own(read_own(path), options, console, load_defaults(path, DEFAULTS_OF_OWN)), options)
    config, run_options, dataset = prepare(options)
    run = open_run(config, run_options, dataset, console)
    take_grid_folder(run_options.out, run.study, run_options.storage)
    note_facts(run, run.space.reference())
    if config.device != "cpu" and options.latency_threads != 1:
        console.print(f"Note: --latency-threads does nothing on {config.device}: it is for a CPU.", highlight=False)
    return _run(run, options)


def _run(run: StudyRun, options: GridOptions) -> int:
    """Train here, or submit tasks that train; and report."""
    tasks = _tasks(options, run.options)
    return run_study(run, partial(submit, tasks) if tasks else None)


def _tasks(options: GridOptions, run: RunOptions) -> Tasks | None:
    if options.slurm is None and options.slurm_args:
        raise must_be("--slurm-args", "given with --slurm", " ".join(options.slurm_args))
    return None if options.slurm is None else Tasks.read(options.slurm, options.slurm_args, run.where)


def open_own(own: OwnStudy, options: GridOptions, console: Console, defaults: Mapping[str, Any] = {}) -> StudyRun:
    """A study of networks and a training of one's own, opened to be run; InputError for whatever is wrong."""
    budget = defaults.get("latency_budget")
    if budget is not None and (not isinstance(budget, (int, float)) or isinstance(budget, bool) or not budget > 0):
        raise must_be("[defaults]: latency_budget", SECONDS.text, budget)
    options = options if options.latency_budget is not None else replace(options, latency_budget=budget)
    config, run_options = prepare_own(own, options, defaults)
    run = open_run(config, run_options, None, console)
    take_grid_folder(run_options.out, run.study, run_options.storage)
    note_facts(run, run.space.reference())
    return run


def prepare_own(own: OwnStudy, options: GridOptions, defaults: Mapping[str, Any]) -> tuple[StudyConfig, RunOptions]:
    """What the flags and a study of one's own make; InputError for flags that are for images and their training."""
    check_own_flags(options, own)
    run_options = run_options_of(options, f"grid-{slug(own.space.name)}")
    config = StudyConfig(
        name=own.space.name,
        space=own.space.to_dict(),
        data={},
        fingerprint="",
        protocol={},
        own=own.settings(),
        device=pick_device(options.device),
        seeds=_seeds(options.seeds if options.seeds is not None else defaults.get("seeds", 1)),
        latency_batches=tuple(dict.fromkeys(options.latency_batches)),
        latency_threads=options.latency_threads,
    )
    _tasks(options, run_options)
    run_options = reach(run_options)
    return config, run_options


def check_own_flags(options: GridOptions | SearchOptions, own: OwnStudy, more: Sequence[str] = ()) -> None:
    """InputError for flags that are for images and their training, and for `more` of such fields."""
    for each in fields(options):
        ours = each.name in {*(field.name for field in fields(Data) + fields(Training)), *more}
        if ours and each.metadata and (value := getattr(options, each.name)) != each.default:
            rule = f"left out where {own.train.path} trains the networks"
            remedy = 'How it trains stands in the file, as train = "my_training:train(epochs=3)".'
            raise must_be(flag_of(each.name), rule, value, remedy)


def prepare(options: GridOptions) -> tuple[StudyConfig, RunOptions, Dataset]:
    """What the flags and the space's defaults make, validated before anything is written but the image cache."""
    device = pick_device(options.device)
    path = space_file(options.space, options.image_size)
    defaults = load_defaults(path, ALLOWED_DEFAULTS)
    protocol = protocol_of(options, defaults)
    changes: dict[str, Any] = {"image_size": options.image_size} if options.image_size is not None else {}
    space = load_space(path, protocol=protocol, **changes)
    run_options = run_options_of(options, f"grid-{options.data}-{space.model_spec.image_size}")
    variants = _check_variants(space)
    for variant in variants:
        check_trainable({variant.label: variant.model_spec}, variant.protocol(protocol))
    config = StudyConfig(
        name="grid",
        space=space.to_dict(),
        data=data_of(options, defaults, space),
        fingerprint="",
        protocol=protocol.to_dict(),
        device=device,
        seeds=_seeds(options.seeds if options.seeds is not None else defaults.get("seeds", 1)),
        latency_batches=tuple(dict.fromkeys(options.latency_batches)),
        latency_threads=options.latency_threads,
    )
    if options.workers == 1:
        torch.set_num_threads(num_threads())
    # places that cannot be written or reached are reported before images are decoded
    _tasks(options, run_options)
    run_options = reach(run_options)
    dataset = open_dataset(config, options.data_root, options.cache_dir, progress=True)
    for variant in variants:
        check_trainable({variant.label: variant.model_spec}, variant.protocol(protocol), len(dataset))
    return replace(config, fingerprint=dataset.fingerprint), run_options, dataset


def run_options_of(options: GridOptions | SearchOptions, name: str, command: str = GRID) -> RunOptions:
    """How the study is run, with its folder, name and storage; InputError where the folder holds another one."""
    out = options.out or Path("results") / (options.study or name)
    study = options.study or printable(out.resolve().name)
    folder, storage = check_grid_folder(out, study, options.storage, command)
    return RunOptions(
        out=folder,
        storage=storage,
        study=study,
        workers=options.workers,
        data_root=options.data_root,
        cache_dir=options.cache_dir,
        plugins=options.plugin,
        latency_budget_s=options.latency_budget,
        retry_failed=options.retry_failed,
        command=options.line,
        artifacts=options.artifacts,
    )


def _seeds(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise must_be("seeds", "a whole number of at least 1", value)
    return value


def _check_variants(space: Space) -> list[Variant]:
    """The variants, which must all see the same images: one size, three channels."""
    variants, side = space.enumerate()[0], space.model_spec.image_size
    for spec in (variant.model_spec for variant in variants):
        if spec.image_size != side:
            raise must_be("image_size", f"the same in all variants, {side}", spec.image_size, "Use --image-size.")
        if spec.in_channels != 3:
            raise must_be("in_channels", "3 in all variants, as images have", spec.in_channels)
    return variants


def protocol_of(options: Training, defaults: dict[str, Any]) -> Protocol:
    """The protocol of flags and, where there are none, of the space's defaults."""
    names = [f.name for f in fields(Protocol)]
    given = {name: getattr(options, name, None) for name in names}
    flags = {name: value for name, value in given.items() if value is not None and value is not False}
    return Protocol(**{**{k: v for k, v in defaults.items() if k in names}, **flags})


def data_of(options: GridOptions | SearchOptions, defaults: dict[str, Any], space: Space) -> dict[str, Any]:
    """Which images: rendered faces need a number, files are all taken unless one is given, by the flag or by the user's own space.

    The numbers of the spaces that come with the suite are for rendered faces.
    """
    faces = options.data == "faces"
    limit = options.images
    if limit is None and (faces or options.space not in (None, *OWN_SPACES)):
        limit = defaults.get("images")
    if limit is None and faces:
        limit = NUM_FACES
    return {
        "name": options.data,
        "limit": limit,
        "seed": options.data_seed if faces else 0,
        "image_size": space.model_spec.image_size,
    }


def note_facts(run: StudyRun, reference: str) -> None:
    """What the report says of machine, data and command; the last run's. `reference`: key of the variant to compare with."""
    facts = {
        "command": run.options.command,
        "data": describe_data(run.images, run.split) if run.images else {},
        "reference": reference,
        "provenance": provenance(run.config.device, time.time()),
    }
    run.study.set_user_attr(FACTS, facts)
