"""What a stored study needs of a machine that joins it: each in one line, before any work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna

import ablation
from ablation.design.protocol import FACTORS
from ablation.design.spec import FAMILY_FIELDS, resolve
from ablation.machine.device import checked_device
from blocks import FAMILIES
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig
from studies.engine.opened import VERSION
from studies.engine.own.file import check_sources
from studies.engine.reporting import FACTS


def begun_config(study: optuna.Study) -> StudyConfig:
    """The study's settings; InputError where it has none, or where another version of this package began it."""
    stored = study.user_attrs.get("config")
    if stored is None:
        raise must_be("--study", "a study that `grid` or `search` began", study.study_name)
    check_version(study)
    return StudyConfig.from_dict(stored)


def check_version(study: optuna.Study) -> None:
    """InputError for another major or minor version than that which planned the study last; of older studies none is known."""
    planned, own = study.user_attrs.get(VERSION), ablation.__version__
    if planned and planned.split(".")[:2] != own.split(".")[:2]:
        rule = f"{'.'.join(planned.split('.')[:2])}, by which the study is planned"
        raise must_be("The version of this package", rule, own, "Other versions may give other numbers. Install that one here.")


def check_machine(study: optuna.Study, config: StudyConfig) -> None:
    """InputError where the study's device, its pieces, or networks and training of a user's own are not here as it began."""
    try:
        checked_device(config.device)
    except InputError:
        remedy = "Join it from a machine that has one."
        raise must_be("The machine", f"one with the study's device, {config.device}", "one without", remedy) from None
    if config.own:
        check_sources(config)
        return
    lacking = sorted({f"{name} {piece!r}" for name, piece in named_pieces(config) if piece not in _names(name)})
    if lacking:
        began = study.user_attrs.get(FACTS, {}).get("command", "")
        remedy = "Import the module that registers them with --plugin." + (f" The study began by: {began}" if began else "")
        raise must_be("Pieces of the study", "registered here", f"no {', '.join(lacking)}", remedy)


def named_pieces(config: StudyConfig) -> Iterator[tuple[str, str]]:
    """(field of a spec, piece) for all that base, levels and reference of a study name."""
    levels = [fields for of in config.space["factors"].values() for fields in of.values()]
    specs: list[dict[str, Any]] = [dict(config.space["base"]), dict(config.search.get("reference") or {}), *levels]
    for spec in specs:
        for name, value in resolve({k: v for k, v in spec.items() if k != "preset"}, FACTORS).items():
            if name in FAMILY_FIELDS:
                yield from ((name, piece) for piece in (value if isinstance(value, tuple) else (value,)))


def _names(field: str) -> tuple[str, ...]:
    return tuple(FAMILIES[FAMILY_FIELDS[field]].names())
