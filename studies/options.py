"""The options of every command: one frozen dataclass each, made of groups that are written once. Neither torch nor a parser here.

A field is a flag (`data_root` is `--data-root`) or, with `positional=True`, a word; its default and help are those of `--help`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from blocks.errors import must_be
from studies.work.line import STORAGE

Device = Literal["auto", "cpu", "cuda"]


class Rule(NamedTuple):
    """What a value must be: in words, and as a test of it."""

    text: str
    holds: Callable[[Any], bool]


COUNT = Rule("a whole number of at least 1", lambda value: value >= 1)
COUNTS = Rule("whole numbers of at least 1", lambda values: all(value >= 1 for value in values))
SECONDS = Rule("a positive number of seconds", lambda value: value > 0)


def option(default: Any, help: str = "", *, rule: Rule | None = None, positional: bool = False, **parameter: Any) -> Any:
    """A field of an option; `parameter` is for `cyclopts.Parameter`, such as a metavar."""
    return field(default=default, metadata={"rule": rule, "positional": positional, "parameter": {"help": help, **parameter}})


def flag_of(name: str) -> str:
    """The flag of a field.

    >>> flag_of("data_root")
    '--data-root'
    """
    return f"--{name.rstrip('_').replace('_', '-')}"


def flags_of(options: type[Options]) -> list[str]:
    """All flags of a command."""
    return [flag_of(each.name) for each in fields(options) if each.metadata and not each.metadata["positional"]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command is given: the command line as it was typed, as far as it may be stored."""

    line: str = ""

    def __post_init__(self) -> None:
        """InputError for a value that breaks its option's rule."""
        for each in fields(self):
            rule, value = each.metadata.get("rule"), getattr(self, each.name)
            if rule is not None and value is not None and not rule.holds(value):
                raise must_be(flag_of(each.name), rule.text, min(value) if isinstance(value, tuple) else value)


@dataclass(frozen=True, kw_only=True)
class OnDevice(Options):
    """Commands that compute."""

    device: Device = option("auto", "auto: the GPU where there is one")


@dataclass(frozen=True, kw_only=True)
class WithPlugins(Options):
    """Commands that may use pieces of the user's own."""

    plugin: tuple[str, ...] = option((), "import this module first: pieces of your own; may be repeated", metavar="MODULE")


@dataclass(frozen=True, kw_only=True)
class Storage(Options):
    """Where a study is kept."""

    group: ClassVar = "where it is kept"
    storage: str | None = option(None, "Optuna storage; by default a journal file in the folder", metavar="URL")
    study: str | None = option(None, "name of the study in that storage; by default the folder's name")


@dataclass(frozen=True, kw_only=True)
class SharedStorage(Storage):
    """Where a study is kept that several machines may work on."""

    group: ClassVar = Storage.group
    storage: str | None = option(
        None, "Optuna storage, a database or a file; by default a journal file in the folder", metavar="URL", env_var=STORAGE
    )


@dataclass(frozen=True, kw_only=True)
class WithArtifacts(SharedStorage):
    """And where its files are kept."""

    group: ClassVar = Storage.group
    artifacts: str | None = option(
        None, "weights, checkpoints and pictures for all machines: a folder, or s3://BUCKET/PREFIX; by default in the folder",
        metavar="PLACE",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Data(Options):
    """Which images."""

    group: ClassVar = "data"
    data: Literal["faces", "celeba", "folder"] = option("faces", "rendered faces, CelebA, or any folder of images")
    data_root: str | None = option(None, "where CelebA or the folder of images is", metavar="DIR")
    image_size: int | None = option(None, "pixels; by default the space's own, 48 for small")
    images: int | None = option(
        None, "how many faces to render, or the first so many files; by default as a space of your own says, else all files"
    )
    data_seed: int = option(0, "seed of the rendered faces")
    cache_dir: str | None = option(None, "decoded images; by default $ABLATION_CACHE or ~/.cache/ablation", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class PaperData(Data):
    """Which images, for `paper`."""

    group: ClassVar = "data"
    data: Literal["faces", "celeba"] = option("faces", "rendered faces, or CelebA")
    data_root: str | None = option(None, "where CelebA is; a folder masks/ beside its images is used", metavar="DIR")
    image_size: int | None = option(
        None, "pixels; 144 on a GPU, 48 on a CPU. Below 96 the networks have a quarter of the width", rule=COUNT
    )
    images: int | None = option(None, "faces to render, or the first so many files; 20,000 in the paper", rule=COUNT)


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    """How networks are trained: fields of a protocol, checked there."""

    group: ClassVar = "training (defaults: the space's own, else the paper's protocol)"
    epochs: int | None = option(None, "at most this many passes over the training images", rule=COUNT)
    batch_size: int | None = option(None, "images of a training step", rule=COUNT)
    learning_rate: float | None = option(None, "of Adam")
    patience: int | None = option(None, "epochs without a lower validation loss before stopping", rule=COUNT)
    ssim_window: Literal["uniform", "gaussian"] | None = option(None, "of the loss; uniform is the paper's")
    precision: Literal["float32", "bfloat16", "float16"] | None = option(None, "of the forward pass; losses stay float32")
    memory_format: Literal["auto", "contiguous", "channels_last"] | None = option(
        None, "auto: channels_last on a CPU, where it is faster"
    )
    compile: bool = option(False, "torch.compile the training step's network")


@dataclass(frozen=True, kw_only=True)
class Latency(Options):
    """How latency is measured."""

    group: ClassVar = "latency"
    latency_batches: tuple[int, ...] = option(
        (1, 32), "one or several batch sizes; the first is the objective", rule=COUNTS, metavar="N", consume_multiple=1
    )
    latency_threads: int = option(1, "on a CPU; one is steadier than many", rule=COUNT, metavar="N")
    latency_budget: float | None = option(None, "most seconds for each batch size", rule=SECONDS, metavar="S")


@dataclass(frozen=True, kw_only=True)
class GridOptions(Latency, Training, Data, WithArtifacts, WithPlugins, OnDevice):
    """Options of `grid`."""

    space: str | None = option(
        None, "small, paper, loss or a TOML file, of networks of your own too; by default small under 96 px and paper from there"
    )
    seeds: int | None = option(None, "replicates of each network", rule=COUNT)
    workers: int = option(1, "trials at a time on this machine", rule=COUNT)
    slurm: int | None = option(None, "train in so many tasks of a Slurm cluster, each with --workers trials at a time", rule=COUNT)
    slurm_args: tuple[str, ...] = option(
        (), "settings of sbatch: time=MINUTES, partition=gpu, cpus-per-task=4", metavar="NAME=VALUE", consume_multiple=1
    )
    retry_failed: bool = option(False, "give trials that failed for good new attempts")
    out: Path | None = option(None, "folder of the study; by default results/grid-DATA-SIZE")


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Latency, Training, Data, WithArtifacts, WithPlugins, OnDevice):
    """Options of `search`."""

    space: str | None = option(
        None, "search, replay, small or a TOML file, of networks of your own too; by default search from 96 px on and replay below"
    )
    reference: str | None = option(
        None, "what is to be beaten: a preset, a preset with changes, a TOML or JSON file; by default what the space is built on",
        metavar="SPEC",
    )  # fmt: skip
    network: tuple[str, ...] = option(
        (), "confirm this network against --reference, without a search; a spec as there, may be repeated", metavar="SPEC"
    )
    limit: tuple[str, ...] = option(
        (), "nothing beyond is trained: params=3M, macs=300M, latency=0.5x, latency@32=40ms; may be repeated", metavar="NAME=VALUE"
    )
    sampler: Literal["free", "tpe", "gp", "nsga2", "random"] = option("free", "what proposes; see `bench search`")
    trials: int | None = option(None, "networks that are trained; 40 by default", rule=COUNT)
    budget: str | None = option(None, "20m, 90s or 1.5h for the search, without the confirmation", metavar="TIME")
    seed: int = option(0, "of what proposes", rule=Rule("a whole number of at least 0", lambda value: value >= 0))
    from_: tuple[str, ...] = option(
        (),
        "trials of an earlier study of this data and protocol count as known; may be repeated",
        name="--from",
        metavar="FOLDER",
    )
    reference_rate: float | None = option(
        None,
        "learning rate of the reference while others are searched; by default that of the space, else the same",
        rule=Rule("a positive number", lambda value: value > 0),
    )
    rates: tuple[float, ...] = option(
        (), "learning rates of which each confirmed network and the reference get their best; 1e-4 3e-4 1e-3 by default",
        consume_multiple=1,
    )  # fmt: skip
    confirm: int | None = option(
        None, "networks that are confirmed, 0 to 5; 3 by default", rule=Rule("0 to 5", lambda value: 0 <= value <= 5)
    )
    confirm_seeds: int | None = option(None, "fresh seeds of each, 5 by default; 3 are the least that settle a loss", rule=COUNT)
    why_seeds: int | None = option(
        None, "seeds of the winner with one difference undone, 3 by default; 0: not trained",
        rule=Rule("a whole number of at least 0", lambda value: value >= 0),
    )  # fmt: skip
    workers: int = option(1, "trials at a time on this machine", rule=COUNT)
    quick: bool = option(False, "rendered faces at 48 px, at most 6 minutes on two CPU cores; too few seeds to settle anything")
    retry_failed: bool = option(False, "give trials that failed for good new attempts")
    out: Path | None = option(None, "folder of the search; by default results/search-DATA-SIZE")


@dataclass(frozen=True, kw_only=True)
class Table1Options(OnDevice):
    """Options of `table1`."""

    image_size: int = option(144, "pixels; 144 is the paper's")
    budget: float = option(60.0, "most seconds for each interleaved comparison", rule=SECONDS, metavar="S")
    out: Path = option(Path("results/table1"), "folder of the table")


@dataclass(frozen=True, kw_only=True)
class PaperOptions(PaperData, OnDevice):
    """Options of `paper`."""

    quick: bool = option(False, "a small, honest version in at most 8 minutes on two CPU cores")
    budget: str | None = option(None, "20m, 90s or 1.5h: seeds, images and epochs are fitted to it", metavar="TIME")
    workers: int | None = option(None, "trials at a time; by default what trains fastest here, measured", rule=COUNT)
    seeds: int | None = option(None, "replicates of each network; 3 by default, the least that settles a claim", rule=COUNT)
    groups: tuple[Literal["models", "pieces", "hypotheses"], ...] | None = option(
        None,
        "what is trained beside the models: the networks between them, Toledo and Antonelo's losses and masks; all by default",
        consume_multiple=1,
    )
    epochs: int | None = option(None, "10 by default, as in the paper; 6 with --quick", rule=COUNT)
    batch_size: int | None = option(None, "32 by default, as in the paper", rule=COUNT)
    explained: Path | None = option(None, "of `explain original modified`, instead of explaining anew", metavar="FOLDER")
    retry_failed: bool = option(False, "give trials that failed for good new attempts")
    out: Path | None = option(None, "folder of the study; by default results/paper-DATA")


@dataclass(frozen=True, kw_only=True)
class ClaimsOptions(Options):
    """Options of `claims`."""

    words: tuple[str, ...] = option(
        (),
        "a study of `paper`, judged again, or a folder with a ledger.json, as stored; ids such as C8 show what is behind them",
        positional=True,
        name="FOLDER or ID",
    )
    format: Literal["text", "json", "csv"] = option("text", "json or csv: the ledger, whole or of the claims named")


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions(OnDevice):
    """Options of `reference`."""

    parts: tuple[str, ...] = option(
        (), "table1, explain, paper, paper-celeba, bench, grid, any, search, coverage, chaos; or all", positional=True, name="PART"
    )
    data_root: str | None = option(None, "where CelebA is", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class BenchOptions(OnDevice):
    """Options of `bench`."""

    parts: tuple[str, ...] = option(
        (),
        "static, space, latency, training, overhead, kill, chaos, proxy, coverage, search, runtimes, precision; all by default",
        positional=True,
        name="PART",
    )
    quick: bool = option(False, "small sizes, for a look; the targets are for the full ones")
    table: Path = option(
        Path("results/reference/cpu-2core-amd-epyc/replay/faces48.csv"), "CSV of trained networks, which search replays"
    )
    out: Path = option(Path("results/bench"), "folder of the results")
