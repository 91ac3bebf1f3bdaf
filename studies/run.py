"""The command line: `python -m studies.run COMMAND`, or `ablation COMMAND` where the suite is installed.

A command imports only what it needs, so that help is quick.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from io import TextIOWrapper
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import App, CycloptsError, Group, Parameter, Token
from cyclopts.exceptions import ConsumeMultipleError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from ablation.machine.plugins import load_plugins
from blocks.errors import InputError, choices, must_be
from studies import options as kinds
from studies.explain.options import CostOptions, ExplainOptions
from studies.export.options import ExportOptions
from studies.options import Options, flags_of
from studies.stored.options import ReportOptions, StatusOptions, WorkerOptions
from studies.work.line import program, public_line
from studies.work.stopping import interrupt_everywhere

BAD_INPUT, DEFECT, INTERRUPTED = 2, 70, 130


@dataclass(frozen=True)
class Command:
    """A command: its function as module:name, its options, its help, and arguments that work as an example."""

    function: str
    options: type[Options]
    help: str
    example: str
    resumes: bool = False

    def __call__(self, options: Options) -> int:
        """Import the function and run it."""
        module, _, name = self.function.partition(":")
        return int(getattr(importlib.import_module(module), name)(options))


# the first paragraph of a help is the command's line in the list of all
COMMANDS = {
    "grid": Command(
        "studies.grid.command:run_grid", kinds.GridOptions,
        "Train, cost and time every variant of a space: what each piece costs and buys.", "--space small --epochs 1", resumes=True,
    ),
    "search": Command(
        "studies.search.command:run_search", kinds.SearchOptions,
        "What to build instead: networks that beat a reference.\n\nProposed, confirmed with fresh seeds, and explained.",
        "--quick", resumes=True,
    ),
    "worker": Command(
        "studies.stored.worker:run_worker", WorkerOptions,
        "Join a study from this or another machine: train what it still lacks.\n\nIts storage says all but where the data are.",
        "--storage sqlite:///study.db --study grid-faces-48", resumes=True,
    ),
    "table1": Command(
        "studies.paper.table1:run_table1", kinds.Table1Options,
        "The paper's Table 1 on this machine, beside the paper's numbers.", "--image-size 48 --budget 10",
    ),
    "list": Command(
        "studies.stored.pieces:run_list", kinds.WithPlugins, "Pieces by family, presets and spaces, one line each.", "",
    ),
    "status": Command(
        "studies.stored.status:run_status", StatusOptions,
        "How far studies are, on which machines, and how much time is left.", "results/grid-faces-48",
    ),
    "report": Command(
        "studies.stored.report:run_report", ReportOptions,
        "Tables, plots and sentences of a study again, from what is stored.\n\nNo torch, no training.",
        "results/grid-faces-48 --to page",
    ),
    "explain": Command(
        "studies.explain.command:run_explain", ExplainOptions,
        "Which piece makes two networks differ, by how much, how sure, and what helps.\n\nAnd by which mechanism.",
        "original modified --quick", resumes=True,
    ),
    "cost": Command(
        "studies.explain.cost:run_cost", CostOptions,
        "What any networks cost, counted: parameters, multiply-accumulates, bytes.\n\nA gate for continuous integration too.",
        "original modified --by part",
    ),
    "export": Command(
        "studies.export.command:run_export", ExportOptions,
        "A network in the formats that people deploy, checked, timed, with a card.", "small --to exported",
    ),
    "paper": Command(
        "studies.paper.command:run_paper", kinds.PaperOptions,
        "The paper from data to verdict: figures, tables, and each claim judged.\n\nBoth models are trained again.",
        "--quick", resumes=True,
    ),
    "claims": Command(
        "studies.paper.claims_command:run_claims", kinds.ClaimsOptions,
        "The paper's claims and their rules; of a study, its verdicts and numbers.", "C8",
    ),
    "reference": Command(
        "studies.reference:run_reference", kinds.ReferenceOptions,
        "Every result that the repository keeps, for this machine.", "table1 --device cpu", resumes=True,
    ),
    "bench": Command(
        "studies.bench.command:run_bench", kinds.BenchOptions,
        "The suite's own speed and safety, measured side by side in one run.\n\nRatios and counts, each beside its target.",
        "static --quick",
    ),
}  # fmt: skip


def parse(arguments: Sequence[str]) -> Options:
    """The options of the command that is named; InputError in one line for bad usage, SystemExit after `--help`."""
    _refuse_empty(arguments)
    app = build_app()
    try:
        if not arguments:
            raise UnknownCommandError(unused_tokens=["nothing"])
        read, bound, _ = app.parse_args(_written_out(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        prog = " ".join([program(), *(name for name in arguments[:1] if name in COMMANDS)])
        raise InputError(f"{prog}: {_in_one_line(error)}. See {prog} --help.") from None
    if read == app.help_print:
        read(*bound.args, **bound.kwargs)
        raise SystemExit(0)
    return COMMANDS[arguments[0]].options(**bound.arguments, line=public_line(arguments))


def _in_one_line(error: CycloptsError) -> str:
    """What cyclopts refuses, in the words of all other bad input."""
    tokens = error.unused_tokens or []
    if isinstance(error, UnknownCommandError):
        return f"COMMAND must be one of {', '.join(COMMANDS)}. Got {tokens[0]!r} instead"
    if isinstance(error, UnusedCliTokensError):
        return f"unrecognized arguments: {shlex.join(tokens)}"
    if isinstance(error, MissingArgumentError | ConsumeMultipleError) and error.argument is not None:
        name = error.argument.name
        more = "" if name.startswith("-") else ", before flags that take several"
        return f"{name if name.startswith('-') else name.upper()} must be given a value{more}"
    error.verbose = False
    return " ".join(str(error).split()).removesuffix(".").removesuffix("?")


def _refuse_empty(arguments: Sequence[str]) -> None:
    """InputError for an argument without text: a variable that is not set must not silently mean the default."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        flag = argument.removesuffix("=") if argument.startswith("--") and argument.endswith("=") else None
        if argument == "" or flag:
            name = flag or (before if before.startswith("--") else "An argument")
            raise must_be(name, "given a value", "", "Leave it out, or set the variable that was to hold it.")


def _written_out(arguments: Sequence[str]) -> list[str]:
    """The arguments with flags in full: any beginning that only one flag of the command has will do."""
    command = COMMANDS.get(arguments[0])
    flags = flags_of(command.options) if command else []
    whole = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        starting = [name for name in flags if len(flag) > 2 and name.startswith(flag)]
        if len(starting) > 1 and flag not in flags:
            raise must_be(flag, f"one flag alone: it begins {' and '.join(starting)}", argument)
        whole.append(f"{starting[0]}{equals}{value}" if len(starting) == 1 and flag not in flags else argument)
    return whole


def build_app() -> App:
    """What cyclopts reads a command line by: for each command a function whose parameters are the fields of its options."""
    name, text = program(), "Architecture ablation studies of VAEs."
    more = f"{name} COMMAND --help shows the options of one, and an example."
    app = App(name=name, help=text, version_flags=(), help_format="plaintext", help_epilogue=more)
    for number, (word, command) in enumerate(COMMANDS.items()):
        example = f"Example: {name} {word} {command.example}".strip()
        app.command(_reader(command.options), name=word, help=command.help, help_epilogue=example, sort_key=number)
    return app


def _reader(options: type[Options]) -> Callable[[], None]:
    def read() -> None:
        """Never called: the bound arguments are all that is wanted."""

    hints = get_type_hints(options)
    parameters = [_parameter(options, each, hints[each.name]) for each in fields(options) if each.metadata]
    read.__signature__ = inspect.Signature(sorted(parameters, key=lambda each: each.kind))  # type: ignore[attr-defined]
    return read


def _parameter(options: type[Options], each: Field[Any], hint: Any) -> inspect.Parameter:
    """A field as the parameter of a function. None is only ever a default: `--study none` names a study."""
    if NoneType in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    default: Any = inspect.Parameter.empty if each.default is MISSING else each.default
    settings = {"negative": (), "allow_repeating": True, "show_default": _in_words(default), **each.metadata["parameter"]}
    kind: Any = inspect.Parameter.KEYWORD_ONLY
    if {hint, get_origin(hint), *get_args(hint)} & {int, float, Literal} or "consume_multiple" in settings:
        settings["converter"] = _values
    if each.metadata["positional"]:
        settings.setdefault("name", each.name)
        kind = inspect.Parameter.POSITIONAL_ONLY
        if get_origin(hint) is tuple:
            kind, hint, default = inspect.Parameter.VAR_POSITIONAL, get_args(hint)[0], inspect.Parameter.empty
    owner = next(kind for kind in options.__mro__ if each.name in vars(kind).get("__annotations__", ()))
    if title := vars(owner).get("group"):
        settings["group"] = _group(title)
    return inspect.Parameter(each.name, kind, default=default, annotation=Annotated[hint, Parameter(**settings)])


@cache
def _group(title: str) -> Group:
    """Groups stand in the order in which they are first met."""
    return Group(title, sort_key=_group.cache_info().misses)


def _in_words(default: Any) -> Any:
    """A default as help shows it; False for one that says nothing."""
    if default in (None, (), inspect.Parameter.empty) or default is False:
        return False
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _values(kind: Any, tokens: Sequence[Token]) -> Any:
    """The values of a flag; of one that is given twice the last counts."""
    several = get_origin(kind) is tuple
    values = tuple(_value(get_args(kind)[0] if several else kind, token) for token in tokens)
    begin = max(place for place, token in enumerate(tokens) if token.index == 0)
    return values[begin:] if several else values[-1]


def _value(kind: Any, token: Token) -> Any:
    """A choice, or a number as Python reads it: 1.5 is no whole number."""
    flag = str(token.keyword)
    if get_origin(kind) is Literal:
        if token.value not in get_args(kind):
            raise must_be(flag, choices(get_args(kind)), token.value)
        return token.value
    try:
        return kind(token.value)
    except ValueError:
        raise must_be(flag, "a whole number" if kind is int else "a number", token.value) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: done, but trials failed; 2: bad input; 130: stopped by Ctrl-C.

    `run`, below, has one more: 70, after a traceback, for a defect of this program.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parse(arguments)
        load_plugins(getattr(options, "plugin", ()))
        return COMMANDS[arguments[0]](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        resumes = any(COMMANDS[name].resumes for name in arguments[:1] if name in COMMANDS)
        rest = "What is done is kept; the same command goes on from there." if resumes else "The same command starts again."
        print(f"Stopped. {rest}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output, e.g. `head`, has gone; nothing more can be told to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where, remedy = error.filename or "the study's folder", "What is stored is intact; make room, or name another folder."
        print(f"error: {where} must be writable with room left. {error.strerror}. {remedy}", file=sys.stderr)
        return BAD_INPUT


def run() -> int:
    """As `main`; a defect of this program has a code of its own, so that a script can tell it from trials that failed."""
    interrupt_everywhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without a sign must not cost what is printed
    try:
        return main()
    except Exception:
        traceback.print_exc()
        return DEFECT


if __name__ == "__main__":
    sys.exit(run())
