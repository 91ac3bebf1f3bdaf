"""The examples of docs/machines: their commands are read as they stand, and the loop over ssh is run against an ssh of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from studies.options import GridOptions
from studies.run import parse
from studies.stored.options import StatusOptions, WorkerOptions
from tests.commands.test_slurm import commands
from tests.storages import wait_until

README = Path(__file__).parents[2] / "README.md"
MACHINES = README.parent / "docs/machines"
SSH = '#!/bin/sh\necho "$@" >> "$FAKE/called"\nmachine=$1\nshift\ncd "$FAKE/$machine" && exec sh -c "$*"\n'
ABLATION = '#!/bin/sh\nprintf "%s\\n" "$@" "$ABLATION_STORAGE" > ../../arguments\nmv ../../arguments ../../started\n'


def test_the_commands_of_the_readme_are_read() -> None:
    section = README.read_text(encoding="utf-8").partition("## Several machines")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("python -m studies.run")]
    parsed = [parse(shlex.split(line, comments=True)[3:]) for line in lines]
    assert [type(options) for options in parsed] == [GridOptions, WorkerOptions, StatusOptions]
    (slurm,) = re.findall(r"`(grid \.\.\. --slurm .*?)`", section)
    options = parse(shlex.split(slurm.replace(" ...", "")))
    assert isinstance(options, GridOptions)
    assert options.slurm == 8 and dict(each.split("=") for each in options.slurm_args)["time"] == "120"


def test_the_loop_over_ssh_starts_a_worker_on_each_machine(tmp_path: Path) -> None:
    commands(tmp_path / "bin", ssh=SSH)
    for machine in ("one", "two"):
        (tmp_path / "bin" / machine / "suite/.venv").mkdir(parents=True)
        commands(tmp_path / "bin" / machine / "suite/.venv/bin", ablation=ABLATION.replace("../../", ""))
    variables = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAKE": str(tmp_path / "bin")}
    url = "postgresql+psycopg://me:hunter2@host/db"
    done = subprocess.run(
        ["sh", str(MACHINES / "join.sh"), "grid faces", "one", "two"], capture_output=True, text=True, check=True,
        env={**os.environ, **variables, "ABLATION_STORAGE": url, "ABLATION_HOME": "suite"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{name}: started; what it prints is in worker.log there" for name in ("one", "two")]
    for machine in ("one", "two"):
        started = tmp_path / "bin" / machine / "suite/started"
        wait_until(started.exists)
        *arguments, storage = started.read_text().splitlines()
        options = parse(arguments)
        assert isinstance(options, WorkerOptions) and (options.study, storage) == ("grid faces", url)
    assert "hunter2" not in (tmp_path / "bin/called").read_text() + done.stdout + done.stderr


def test_the_unit_of_systemd_starts_a_worker_and_passes_no_signal_twice() -> None:
    lines = (MACHINES / "ablation-worker@.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    _, *arguments = shlex.split(settings["ExecStart"].replace("%i", "grid-faces"))
    options = parse(arguments)
    assert isinstance(options, WorkerOptions) and options.study == "grid-faces" and options.storage is None
    assert (settings["KillMode"], settings["KillSignal"], settings["SuccessExitStatus"]) == ("mixed", "SIGINT", "130")
