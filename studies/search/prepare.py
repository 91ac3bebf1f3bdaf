"""Flags and space of a search, checked before anything is timed or trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ablation.design.network import AnySpec
from ablation.design.protocol import FACTORS, Protocol
from ablation.design.space import Space, load_defaults, load_space
from ablation.design.spec import ModelSpec, resolve
from ablation.machine.cores import num_threads
from ablation.machine.device import pick_device
from ablation.search.limits import parse_limits
from ablation.train.trainable import check_trainable
from blocks.errors import must_be
from studies.engine.config import StudyConfig
from studies.engine.folder import holder
from studies.engine.opened import reach
from studies.engine.own.file import is_own, read_own
from studies.engine.worker import open_dataset
from studies.explain.networks import read_spec
from studies.grid.command import ALLOWED_DEFAULTS, SMALL_BELOW, data_of, protocol_of, run_options_of, space_file
from studies.options import SearchOptions
from studies.search.folder import NETWORK, SEARCH, difference
from studies.search.own import prepare_own
from studies.search.setting import MOST_NAMED, RUNGS, RUNGS_FROM, Setting, public_name, search_settings, training_s, whole
from studies.work.progress import duration, parse_budget


def prepare(options: SearchOptions) -> Setting:
    """What flags and space come to; InputError for whatever is wrong, before anything is written but the image cache."""
    path = _space_file(options)
    if not options.network and path.is_file() and is_own(path):
        return prepare_own(options, read_own(path, whole=False))
    options = whole(options)
    budget_s = parse_budget(options.budget) if options.budget is not None else None
    space, defaults = _networks(options) if options.network else _space(options, path)
    protocol = space.protocol
    _check_space(space)
    reference, name = (space.model_spec, public_name(str(options.reference))) if options.network else _reference(options, space)
    check_trainable({name: reference}, protocol)
    own = options.reference_rate or (0.0 if options.learning_rate else float(defaults.get("reference_rate", 0.0)))
    own = 0.0 if own == protocol.learning_rate else own
    config = _config(options, space, data_of(options, defaults, space), reference, own)
    run_options = run_options_of(options, f"search-{options.data}-{space.model_spec.image_size}", SEARCH)
    rates = _rates(options.rates, protocol, config.search.get("reference_rate", 0.0))
    _check_folders(options)
    if options.workers == 1:
        torch.set_num_threads(num_threads())
    run_options = reach(run_options)
    dataset = open_dataset(config, options.data_root, options.cache_dir, progress=True)
    check_trainable({name: reference}, protocol, len(dataset))
    setting = Setting(
        config=replace(config, fingerprint=dataset.fingerprint), options=run_options, dataset=dataset, reference=reference,
        reference_name=name, budget_s=budget_s, confirm=options.confirm or 0, confirm_seeds=options.confirm_seeds or 0,
        why_seeds=options.why_seeds or 0, rates=rates, earlier=options.from_, quick=options.quick, named=bool(options.network),
    )  # fmt: skip
    if budget_s is not None:
        _check_budget(setting, budget_s, str(options.budget))
    return setting


def _space(options: SearchOptions, path: Path) -> tuple[Space, dict[str, Any]]:
    """The space that is searched, with the protocol of flags and of the space's defaults, and these."""
    defaults = load_defaults(path, ALLOWED_DEFAULTS)
    size = {"image_size": options.image_size} if options.image_size is not None else {}
    return load_space(path, protocol=protocol_of(options, defaults), whole=False, **size), defaults


def _networks(options: SearchOptions) -> tuple[Space, dict[str, Any]]:
    """The networks that the user names as a space of their own: all of them are trained, and none is proposed."""
    if options.reference is None:
        raise must_be("--reference", "given with --network", None, "Name what the network is compared with.")
    if options.space is not None or options.limit:
        raise must_be("--space and --limit", "left out with --network", options.space or options.limit, "Nothing is searched.")
    size = {"image_size": options.image_size} if options.image_size is not None else {}
    reference = read_spec(options.reference).replace(**size)
    specs = {public_name(text): read_spec(text).replace(**size) for text in options.network}
    keys = [reference.network_key, *(spec.network_key for spec in specs.values())]
    if same := next((text for text, spec in specs.items() if keys.count(spec.network_key) > 1), None):
        raise must_be("--network", "another network than the reference, and than the others", same)
    if len(specs) > MOST_NAMED:
        raise must_be("--network", f"at most {MOST_NAMED} networks", len(specs))
    levels = {text: difference(reference, spec) for text, spec in specs.items()}
    return Space(name="networks", base=reference, factors={NETWORK: levels}, protocol=protocol_of(options, {})), {}


def _config(options: SearchOptions, space: Space, data: dict[str, Any], reference: AnySpec, rate: float) -> StudyConfig:
    """The study whose networks are proposed."""
    batches = tuple(dict.fromkeys(options.latency_batches))
    limits = parse_limits(options.limit, batches)
    return StudyConfig(
        name=SEARCH,
        space=space.to_dict(),
        data=data,
        fingerprint="",
        protocol=space.protocol.to_dict(),
        device=pick_device(options.device),
        latency_batches=batches,
        latency_threads=options.latency_threads,
        search=replace(search_settings(options, limits, _rungs(options, space.protocol), reference), reference_rate=rate).to_dict(),
    )


def _space_file(options: SearchOptions) -> Path:
    small = options.quick or (options.image_size or SMALL_BELOW) < SMALL_BELOW
    return space_file(options.space or ("replay" if small else "search"), None)


def _check_space(space: Space) -> None:
    """InputError where networks of the space would not all see the same images, or be trained differently."""
    varied = [
        (name, factor) for factor, levels in space.factors.items() for each in levels.values() for name in each if name in FACTORS
    ]
    if varied:
        name, factor = varied[0]
        remedy = "Take the factor out; --rates gives each confirmed network its own learning rate."
        raise must_be(f"Factor {factor!r}", "of fields of the network alone, since a search compares networks", name, remedy)
    for factor, levels in space.factors.items():
        for fields in levels.values():
            for name in ("image_size", "in_channels"):
                value = resolve(fields, FACTORS).get(name, getattr(space.model_spec, name))
                if value != getattr(space.model_spec, name):
                    rule = f"the same in the whole space, {getattr(space.model_spec, name)}"
                    raise must_be(f"{name}, which factor {factor!r} sets,", rule, value, "For another size use --image-size.")
    if space.model_spec.in_channels != 3:
        raise must_be("in_channels", "3, as images have", space.model_spec.in_channels)


def _reference(options: SearchOptions, space: Space) -> tuple[ModelSpec, str]:
    if options.reference is None:
        return space.model_spec, "the base of the space"
    spec = read_spec(options.reference)
    for name in ("image_size", "in_channels"):
        wanted, got = getattr(space.model_spec, name), getattr(spec, name)
        if got != wanted:
            remedy = f"For example: --reference {options.reference},{name}={wanted}."
            raise must_be("--reference", f"a network of the space's {name}, {wanted}", got, remedy)
    return spec, public_name(options.reference)


def _rungs(options: SearchOptions, protocol: Protocol) -> tuple[float, ...]:
    return RUNGS if protocol.epochs >= RUNGS_FROM and not options.network else ()


def _rates(rates: tuple[float, ...], protocol: Protocol, own: float) -> tuple[float, ...]:
    """Those asked for and the search's own, the reference's too, which cost little: their trainings are there."""
    every = {*map(float, rates), float(protocol.learning_rate), *([own] if own else [])}
    for rate in every:
        replace(protocol, learning_rate=rate)
    return tuple(sorted(every))


def _check_folders(options: SearchOptions) -> None:
    for folder in options.from_:
        if not (Path(folder) / "journal.log").is_file() and "storage" not in holder(Path(folder)):
            raise must_be("--from", "the folder of a study", folder, "It holds no journal.log, and names no storage.")


def _check_budget(setting: Setting, budget_s: float, text: str) -> None:
    """InputError where the budget is over before one network is trained, by a few steps of the reference."""
    one_s = training_s(setting, {"reference": setting.reference})["reference"]
    if one_s > budget_s:
        rule = f"at least {duration(one_s)}, which one training of the reference takes here"
        raise must_be("--budget", rule, text, "Give it more time, or train less with --images or --epochs.")
