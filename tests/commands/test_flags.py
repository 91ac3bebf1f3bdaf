"""Every flag that a message, a docstring or a help text names is one that a command has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from studies.options import flags_of
from studies.run import COMMANDS, build_app

REPO = Path(__file__).parents[2]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
FOREIGN = {
    *("--error-unmatch", "--porcelain", "--untracked-files"),  # git
    *("--query-gpu", "--format", "--id"),  # nvidia-smi
    *("--artifact-dir", "--storage-class"),  # optuna-dashboard
    "--export",  # sbatch
}
# files whose messages belong to one command
OWNERS = {
    "grid": ["grid/command.py"],
    "paper": [f"paper/{name}.py" for name in ("command", "fitting", "plan", "steps")],
    "table1": ["paper/table1.py"],
    "explain": ["explain/command.py"],
}


def flags() -> dict[str, set[str]]:
    """Command -> its flags."""
    return {name: {"-h", "--help", *flags_of(command.options)} for name, command in COMMANDS.items()}


def named(path: Path) -> Iterator[tuple[int, str]]:
    """(line, flag) of all text in a module, docstrings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for flag in FLAG.findall(node.value):
                yield node.lineno, flag


@pytest.mark.parametrize("name", COMMANDS)
def test_the_parser_has_the_flags_of_the_options(name: str) -> None:
    read = {flag for argument in build_app()[name].assemble_argument_collection() for flag in argument.names}
    assert {flag for flag in read if flag.startswith("-")} == set(flags_of(COMMANDS[name].options))


@pytest.mark.parametrize("folder", ["ablation", "blocks", "studies"])
def test_flags_that_are_named_exist(folder: str) -> None:
    known = set().union(*flags().values()) | FOREIGN
    modules = sorted((REPO / folder).rglob("*.py"))
    assert [f"{path}:{line} {flag}" for path in modules for line, flag in named(path) if flag not in known] == []


@pytest.mark.parametrize("command", OWNERS)
def test_flags_that_a_command_names_are_its_own(command: str) -> None:
    modules = [REPO / "studies" / name for name in OWNERS[command]]
    assert [f"{path}:{line} {flag}" for path in modules for line, flag in named(path) if flag not in flags()[command]] == []


def test_flags_for_data_exist_in_every_command_that_reads_data() -> None:
    """Messages about data are shared by them."""
    shared = {flag for path in (REPO / "ablation" / "data").glob("*.py") for _, flag in named(path)}
    for command in ("grid", "paper"):
        assert shared <= flags()[command], command
