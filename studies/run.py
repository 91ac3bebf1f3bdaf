"""The command line: `python -m studies.run COMMAND`. A command imports only what it needs, so that help is quick."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path

from ablation.machine.text import first_line, printable
from blocks.errors import InputError, must_be
from studies.work.stopping import interrupt_everywhere

BAD_INPUT, DEFECT, INTERRUPTED = 2, 70, 130
COMMANDS = {
    "grid": "train, cost and time every variant of a space; tables and plots of what each piece costs and buys",
    "table1": "the paper's Table 1 on this machine, beside the paper's numbers",
    "list": "pieces by family, presets and spaces, one line each",
    "status": "how far studies are: planned, complete, failed, waiting, running, stale",
    "report": "tables, plots and sentences of a study again, from what is stored (no torch, no training)",
    "explain": "which piece makes two networks differ, by how much, how sure, by which mechanism, and what helps",
    "paper": "the paper from data to verdict: both models trained again, every figure and table, and each claim judged",
    "claims": "the paper's claims and the rules that settle them; of a study, its verdicts and the numbers behind each",
    "reference": "every result that the repository keeps, for this machine: table1, explain, paper, bench, grid, coverage ...",
    "bench": "the suite's own speed and safety, as ratios and counts measured side by side in one run",
}


class Parser(argparse.ArgumentParser):
    """argparse, with bad usage told in one line like all other bad input."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise InputError instead of printing the whole usage."""
        raise InputError(f"{self.prog}: {message}. See {self.prog} --help.")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each subparser sets `run` to the function to call."""
    parser = Parser(prog="python -m studies.run", description="Architecture ablation studies of VAEs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", formatter_class=_Formatter)
        _ARGUMENTS[name](sub)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """As `parse_args`, but a command's words may stand behind its flags too: `claims FOLDER --format csv C8`."""
    parser = build_parser()
    _refuse_empty(arguments)
    options, rest = parser.parse_known_args(arguments)
    words = getattr(options, "what", getattr(options, "parts", None))
    if words is None or any(word.startswith("-") for word in rest):
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    else:
        words.extend(rest)
    return options


def _refuse_empty(arguments: Sequence[str]) -> None:
    """InputError for an argument without text: a variable that is not set must not silently mean the default."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        flag = argument.removesuffix("=") if argument.startswith("--") and argument.endswith("=") else None
        if argument == "" or flag:
            name = flag or (before if before.startswith("--") else "An argument")
            raise must_be(name, "given a value", "", "Leave it out, or set the variable that was to hold it.")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, [], "") else super()._get_help_string(action)


def _grid_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--space", default=None, help="small, paper or a TOML file; by default small under 96 px and paper from there")
    p.add_argument("--seeds", type=int, default=None, help="replicates of each network")
    p.add_argument("--workers", type=int, default=1, help="trials at a time on this machine")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: the GPU where there is one")
    p.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="import this module first: pieces of your own")
    p.add_argument("--retry-failed", action="store_true", help="give trials that failed for good new attempts")
    p.set_defaults(run=_grid)
    where = p.add_argument_group("where it is kept")
    where.add_argument("--out", type=Path, default=None, help="folder of the study; by default results/grid-DATA-SIZE")
    where.add_argument("--storage", default=None, metavar="URL", help="Optuna storage; by default a journal file in the folder")
    where.add_argument("--study", default=None, help="name of the study in that storage; by default the folder's name")
    data = p.add_argument_group("data")
    data.add_argument(
        "--data", default="faces", choices=("faces", "celeba", "folder"), help="rendered faces, CelebA, or any folder of images"
    )
    data.add_argument("--data-root", default=None, metavar="DIR", help="where CelebA or the folder of images is")
    data.add_argument("--image-size", type=int, default=None, help="pixels; by default the space's own, 48 for small")
    data.add_argument(
        "--images",
        type=int,
        default=None,
        help="how many faces to render, or the first so many files; by default as a space of your own says, else all files",
    )
    data.add_argument("--data-seed", type=int, default=0, help="seed of the rendered faces")
    data.add_argument(
        "--cache-dir", default=None, metavar="DIR", help="decoded images; by default $ABLATION_CACHE or ~/.cache/ablation"
    )
    _training_arguments(p)
    latency = p.add_argument_group("latency")
    latency.add_argument(
        "--latency-batches", type=int, nargs="+", default=[1, 32], metavar="N", help="batch sizes; the first is the objective"
    )
    latency.add_argument("--latency-threads", type=int, default=1, metavar="N", help="on a CPU; one is steadier than many")
    latency.add_argument("--latency-budget", type=float, default=None, metavar="S", help="most seconds for each batch size")


def _training_arguments(p: argparse.ArgumentParser) -> None:
    training = p.add_argument_group("training (defaults: the space's own, else the paper's protocol)")
    training.add_argument("--epochs", type=int, default=None)
    training.add_argument("--batch-size", type=int, default=None)
    training.add_argument("--learning-rate", type=float, default=None)
    training.add_argument("--patience", type=int, default=None, help="epochs without a lower validation loss before stopping")
    training.add_argument(
        "--ssim-window", default=None, choices=("uniform", "gaussian"), help="of the loss; uniform is the paper's"
    )
    training.add_argument("--precision", default=None, choices=("float32", "bfloat16", "float16"))
    formats = ("auto", "contiguous", "channels_last")
    training.add_argument("--memory-format", default=None, choices=formats, help="auto: channels_last on a CPU, where it is faster")
    training.add_argument("--compile", action="store_true", help="torch.compile the training step's network")


def _table1_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    p.add_argument("--image-size", type=int, default=144, help="pixels; 144 is the paper's")
    p.add_argument("--budget", type=float, default=60.0, metavar="S", help="most seconds for each interleaved comparison")
    p.add_argument("--out", type=Path, default=Path("results/table1"))
    p.set_defaults(run=_table1)


def _list_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="import this module first: pieces of your own")
    p.set_defaults(run=_list)


def _stored_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "out", type=Path, nargs="?", default=None, metavar="FOLDER", help="folder of a study; all under results/ by default"
    )
    p.add_argument("--storage", default=None, metavar="URL", help="Optuna storage, where it is not the folder's journal file")
    p.add_argument("--study", default=None, help="name of the study in that storage")
    p.set_defaults(run=_stored)


def _report_arguments(p: argparse.ArgumentParser) -> None:
    _stored_arguments(p)
    p.add_argument("--to", type=Path, default=None, metavar="DIR", help="write it there, without pictures that show real faces")


def _explain_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("first", help="a preset, a preset with changes (original,head=pooled), or a TOML or JSON file of a spec")
    p.add_argument("second", help="the same; what is explained is the second against the first")
    p.add_argument("--quick", action="store_true", help="a coarser answer in about a minute on two CPU cores")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    p.add_argument("--batch-size", type=int, default=1)
    p.add_argument("--threads", type=int, default=1, help="on a CPU; one is steadier than many")
    p.add_argument("--image-size", type=int, default=None, help="pixels, for both")
    p.add_argument("--budget", type=float, default=None, metavar="S", help="seconds for what is timed; 480, or 40 with --quick")
    p.add_argument(
        "--batches", type=int, nargs="+", default=[], metavar="N", help="of the sweep, each measured however long it takes"
    )
    p.add_argument("--trained", type=Path, default=None, metavar="FOLDER", help="a study whose trials give the loss to the pieces")
    p.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="import this module first: pieces of your own")
    p.add_argument("--out", type=Path, default=None, help="folder; by default results/explain-FIRST-SECOND-DEVICE")
    p.set_defaults(run=_explain)


def _paper_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--quick", action="store_true", help="a small, honest version in at most 8 minutes on two CPU cores")
    p.add_argument("--budget", default=None, metavar="TIME", help="20m, 90s or 1.5h: seeds, images and epochs are fitted to it")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: the GPU where there is one")
    p.add_argument("--workers", type=int, default=None, help="trials at a time; by default what trains fastest here, measured")
    p.add_argument(
        "--seeds", type=int, default=None, help="replicates of each network; 3 by default, the least that settles a claim"
    )
    p.add_argument(
        "--groups",
        nargs="+",
        default=None,
        choices=("models", "pieces", "hypotheses"),
        help="what is trained beside the models: the networks between them, Toledo and Antonelo's losses and masks; all by default",
    )
    p.add_argument("--epochs", type=int, default=None, help="10 by default, as in the paper; 6 with --quick")
    p.add_argument("--batch-size", type=int, default=None, help="32 by default, as in the paper")
    p.add_argument(
        "--explained", type=Path, default=None, metavar="FOLDER", help="of `explain original modified`, instead of explaining anew"
    )
    p.add_argument("--retry-failed", action="store_true", help="give trials that failed for good new attempts")
    p.add_argument("--out", type=Path, default=None, help="folder of the study; by default results/paper-DATA")
    data = p.add_argument_group("data")
    data.add_argument("--data", default="faces", choices=("faces", "celeba"), help="rendered faces, or CelebA")
    data.add_argument("--data-root", default=None, metavar="DIR", help="where CelebA is; a folder masks/ beside its images is used")
    data.add_argument(
        "--image-size",
        type=int,
        default=None,
        help="pixels; 144 on a GPU, 48 on a CPU. Below 96 the networks have a quarter of the width",
    )
    data.add_argument("--images", type=int, default=None, help="faces to render, or the first so many files; 20,000 in the paper")
    data.add_argument("--data-seed", type=int, default=0, help="seed of the rendered faces")
    data.add_argument(
        "--cache-dir", default=None, metavar="DIR", help="decoded images; by default $ABLATION_CACHE or ~/.cache/ablation"
    )
    p.set_defaults(run=_paper)


def _claims_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "what",
        nargs="*",
        metavar="FOLDER or ID",
        help="a study of `paper`, judged again, or a folder with a ledger.json, as stored; ids such as C8 show what is behind them",
    )
    p.add_argument(
        "--format",
        choices=("text", "json", "csv"),
        default="text",
        help="json or csv: the ledger, whole or of the claims named",
    )
    p.set_defaults(run=_claims)


def _reference_arguments(p: argparse.ArgumentParser) -> None:
    every = "table1, explain, paper, paper-celeba, bench, grid, coverage; all by default"
    p.add_argument("parts", nargs="*", metavar="PART", help=every)
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    p.add_argument("--data-root", default=None, metavar="DIR", help="where CelebA is")
    p.set_defaults(run=_reference)


def _bench_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("parts", nargs="*", metavar="PART", help="static, latency, training, overhead, kill, coverage; all by default")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    p.add_argument("--quick", action="store_true", help="small sizes, for a look; the targets are for the full ones")
    p.add_argument("--out", type=Path, default=Path("results/bench"))
    p.set_defaults(run=_bench)


_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "grid": _grid_arguments,
    "table1": _table1_arguments,
    "list": _list_arguments,
    "status": _stored_arguments,
    "report": _report_arguments,
    "explain": _explain_arguments,
    "paper": _paper_arguments,
    "claims": _claims_arguments,
    "reference": _reference_arguments,
    "bench": _bench_arguments,
}


def _grid(options: argparse.Namespace) -> int:
    from studies.grid import run_grid

    return run_grid(options)


def _table1(options: argparse.Namespace) -> int:
    from studies.table1 import run_table1

    return run_table1(options)


def _list(options: argparse.Namespace) -> int:
    from studies.listing import run_list

    return run_list(options)


def _stored(options: argparse.Namespace) -> int:
    from studies.stored import run_report, run_status

    return run_status(options) if options.command == "status" else run_report(options)


def _explain(options: argparse.Namespace) -> int:
    from studies.explain.command import run_explain

    return run_explain(options)


def _paper(options: argparse.Namespace) -> int:
    from studies.paper.command import run_paper

    return run_paper(options)


def _claims(options: argparse.Namespace) -> int:
    from studies.paper.claims_command import run_claims

    return run_claims(options)


def _reference(options: argparse.Namespace) -> int:
    from studies.reference import run_reference

    return run_reference(options)


def _bench(options: argparse.Namespace) -> int:
    from studies.bench.command import run_bench

    return run_bench(options)


def load_plugins(names: Sequence[str]) -> None:
    """Import modules that register pieces of the user's own; they may lie in the current folder."""
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except InputError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"--plugin must be a module that can be imported from here. Got {name!r} instead: {reason}") from error


def public_line(arguments: Sequence[str]) -> str:
    """The command as it may be stored and passed on: no credentials, and of this machine's folders only their names."""
    shown = []
    for argument in arguments:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if "://" in value:
            from studies.store.storage import public_url

            value = public_url(value)
        elif Path(value).is_absolute():
            value = Path(value).name
        shown.append(shlex.quote(printable(f"{flag}{equals}{value}")))
    return " ".join(["python -m studies.run", *shown])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: done, but trials failed; 2: bad input; 130: stopped by Ctrl-C.

    `run`, below, has one more: 70, after a traceback, for a defect of this program.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parse(arguments)
        options.line = public_line(arguments)
        load_plugins(getattr(options, "plugin", []))
        return int(options.run(options))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        kept = arguments[:1] in (["grid"], ["explain"], ["paper"], ["reference"])
        said = "What is done is kept; the same command goes on from there." if kept else "The same command starts again."
        print(f"Stopped. {said}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output, e.g. `head`, has gone; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = error.filename or "the study's folder"
        print(
            f"error: {where} must be writable with room left. {error.strerror}. What is stored is intact; make room or use --out.",
            file=sys.stderr,
        )
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
