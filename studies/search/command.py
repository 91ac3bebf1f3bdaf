"""`search`: what to build instead: networks that beat a reference, proposed, confirmed with fresh seeds, explained.

It runs in stages, each an ordinary study that stores what it does; the same command goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from rich.console import Console

from ablation.data import Dataset, split_indices
from ablation.search.limits import limit_text
from ablation.search.samplers import ABOUT
from studies.engine.dashboard import dashboard_command
from studies.engine.folder import take_grid_folder
from studies.engine.opened import StudyRun, open_run
from studies.engine.runner import INTERRUPTED, own_training
from studies.grid.command import note_facts
from studies.options import SearchOptions
from studies.search.census import Census, take_census
from studies.search.folder import NETWORK, SEARCH
from studies.search.models import can_be_fitted, without_model
from studies.search.page.write import report_search
from studies.search.prepare import prepare
from studies.search.setting import MOST_TRIALS, Setting
from studies.search.stages import STAGES, Stages
from studies.work.progress import duration, print_line


def run_search(options: SearchOptions) -> int:
    """Check everything, then search, choose learning rates, confirm, explain and write the page.

    Exit code 0 when that is done, 1 where no network could be trained or confirmed, 130 after Ctrl-C.
    """
    console = Console(stderr=True)
    say = partial(print_line, console)
    setting = prepare(options)
    say("Counting the space ...")
    census = take_census(setting)
    if not can_be_fitted(census):
        setting = without_model(setting)
    run = open_run(setting.config, setting.options, setting.dataset, console)
    take_grid_folder(setting.options.out, run.study, setting.options.storage, SEARCH)
    note_facts(run, setting.reference.network_key)
    stages = Stages(setting=setting, search=run, census=census, say=say)
    stages.note_begin(options)
    stages.take_over()
    _announce(setting, census, run, say)
    code = 0
    for stage in STAGES:
        code = max(code, stage(stages))
        stages.keep_facts()
        if code == INTERRUPTED:
            say(f"Stopped. What is done is kept; the same command goes on from here:\n  {options.line}")
            return code
        if stages.ended:
            break
    stages.note_end()
    stages.keep_facts()
    result = report_search(setting.folder, console, storage=setting.options.storage)
    folder = setting.folder.path
    for phrase, command in result.next_commands.items():
        # a page names no path of this machine, a command has to
        whole = re.sub(rf"(?<= ){re.escape(folder.name)}(?=[/:])", str(folder), command) if folder.is_absolute() else command
        say(f"To {phrase}: {whole}")
    return code


def _announce(setting: Setting, census: Census, run: StudyRun, say: Callable[[str], None]) -> None:
    """What the search will do, one line for each thing."""
    for name, text in _lines(setting, census, run):
        say(f"{name:<9} {text}")


def _lines(setting: Setting, census: Census, run: StudyRun) -> list[tuple[str, str]]:
    config = setting.config
    rates = f", learning rate of {' '.join(f'{rate:g}' for rate in setting.rates)}" if setting.rates else ""
    batches = " and ".join(map(str, config.latency_batches))
    confirm = f"up to {setting.confirm} networks and the reference, {setting.confirm_seeds} fresh seeds{rates}"
    return [
        ("Search", f"{census.num_combinations:,} combinations of {', '.join(setting.space.factors)}"),
        ("Networks", _networks(census)),
        *(("Limit", text) for text in _limits(setting, census)),
        ("Reference", setting.reference_name),
        ("Sampler", f"{_sampler(setting)}; {setting.options.workers} at a time"),
        *(_training(setting, setting.dataset) if setting.dataset else own_training(run)),
        ("Latency", f"batch {batches} on {config.device}, each network beside the reference"),
        ("Confirm", confirm if setting.confirm else "nothing"),
        ("Folder", str(setting.options.out)),
        ("Dashboard", dashboard_command(setting.options.where, run.options.artifacts or run.folder.artifacts)),
        ("", "Ctrl-C stops; the same command goes on from there"),
    ]  # fmt: skip


def _training(setting: Setting, data: Dataset) -> list[tuple[str, str]]:
    config, protocol = setting.config, setting.protocol
    split, own = split_indices(len(data), seed=protocol.split_seed), config.search.get("reference_rate")
    sizes = f"{len(split.train)} to train, {len(split.validation)} to validate, {len(split.test)} to test"
    rate = f"{protocol.learning_rate:g}" + (f", the reference {own:g}" if own else "")
    return [
        ("Data", f"{data.name}, {len(data)} images at {data.image_size} px: {sizes}"),
        *(("", f"note: {note}") for note in data.notes),
        ("Training", f"{config.device}, at most {protocol.epochs} epochs, batch {protocol.batch_size}, Adam {rate}"),
    ]


def _networks(census: Census) -> str:
    drawn = f"of {census.sample:,} combinations that were drawn, " if census.sample else ""
    return f"{drawn}{census.num_valid:,} different networks, {census.num_inside:,} of them inside all limits on costs"


def _limits(setting: Setting, census: Census) -> list[str]:
    limits = setting.config.search.get("limits", {})
    return [
        f"{limit_text(key, value)}: " + (f"excludes {census.num_excluded[key]:,}" if key in census.num_excluded else "by timing")
        for key, value in limits.items()
    ]


def _sampler(setting: Setting) -> str:
    named = setting.space.factors.keys() == {NETWORK}
    name = setting.config.search["sampler"]
    return "none, all networks that were named" if named else f"{name} ({ABOUT[name]}), {_budget(setting)}"


def _budget(setting: Setting) -> str:
    trials = setting.config.search["num_trials"]
    time = "" if setting.budget_s is None else duration(setting.budget_s)
    return time if trials == MOST_TRIALS else " or ".join(part for part in (f"{trials} trainings", time) if part)
