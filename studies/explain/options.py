"""The options of `explain` and `cost`: networks that are named on the command line."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from studies.options import COUNT, COUNTS, SECONDS, OnDevice, WithPlugins, option

NETWORK = (
    "a preset, a preset with changes (original,head=pooled), a TOML or JSON file of a spec, or any callable that returns a module: "
    "torchvision.models:resnet18, my_nets:make(width=32)"
)


@dataclass(frozen=True, kw_only=True)
class OnNetworks(WithPlugins, OnDevice):
    """Commands on networks that are named."""

    input: tuple[str, ...] = option(
        (), "what a callable's network takes, without the batch: 3x224x224 for floats, 128:30522 for whole numbers below 30522; "
        "for several inputs repeated; by default what the module's method example_input gives", metavar="SHAPE",
    )  # fmt: skip
    batch_size: int = option(1, "images of a call", rule=COUNT)
    threads: int = option(1, "on a CPU; one is steadier than many", rule=COUNT)
    image_size: int | None = option(None, "pixels, of presets and specs")


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(OnNetworks):
    """Options of `explain`."""

    first: str = option(MISSING, NETWORK, positional=True)
    second: str = option(MISSING, "the same; what is explained is the second against the first", positional=True)
    quick: bool = option(False, "a coarser answer in about a minute on two CPU cores")
    budget: float | None = option(None, "seconds for what is timed; 480, or 40 with --quick", rule=SECONDS, metavar="S")
    batches: tuple[int, ...] = option(
        (), "batch sizes of the sweep, one or several, however long each takes", rule=COUNTS, metavar="N", consume_multiple=1
    )
    trained: Path | None = option(None, "a study whose trials give what training reached to the pieces", metavar="FOLDER")
    out: Path | None = option(None, "folder; by default results/explain-FIRST-SECOND-DEVICE")


@dataclass(frozen=True, kw_only=True)
class CostOptions(OnNetworks):
    """Options of `cost`."""

    networks: tuple[str, ...] = option((), f"one or several: {NETWORK}", positional=True, name="NETWORK")
    by: Literal["total", "part", "class"] = option("total", "part: of the network; class: of operation")
    format: Literal["text", "csv", "json"] = option("text", "csv or json: every number")
    at_most: tuple[str, ...] = option(
        (), "exit code 1 where a network has more: params=3.1M,macs=400M; may be repeated", metavar="NAME=VALUE"
    )
    slower_than: tuple[str, ...] = option(
        (), "a network and a number: exit code 1 where the first network takes longer than that one times the number",
        metavar="NETWORK TIMES", consume_multiple=2,
    )  # fmt: skip
    budget: float = option(20.0, "most seconds for --slower-than", rule=SECONDS, metavar="S")
