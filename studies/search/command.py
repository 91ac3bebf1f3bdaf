"""`search`: what to build instead: networks that beat a reference, proposed, confirmed with fresh seeds, explained.

It runs in stages, each an ordinary study that stores what it does; the same command goes on from there.
"""

from __future__ import annotations

from functools import partial

from rich.console import Console

from studies.engine.folder import take_grid_folder
from studies.engine.opened import open_run
from studies.engine.runner import INTERRUPTED
from studies.grid import note_facts
from studies.options import SearchOptions
from studies.search.announce import announce
from studies.search.census import take_census
from studies.search.folder import SEARCH
from studies.search.models import can_be_fitted, without_model
from studies.search.page import report_search
from studies.search.setting import prepare
from studies.search.stages import STAGES, Stages
from studies.work.progress import print_line


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
    announce(setting, census, run, say)
    code = 0
    for stage in STAGES:
        code = max(code, stage(stages))
        if code == INTERRUPTED:
            say(f"Stopped. What is done is kept; the same command goes on from here:\n  {options.line}")
            return code
        if stages.ended:
            break
    stages.note_drawings()
    result = report_search(setting.folder, console, storage=setting.options.storage)
    for phrase, command in result.next_commands.items():
        say(f"To {phrase}: {command}")
    return code
