"""A study of one's own from Python, in a script or a notebook: the same as `grid --space FILE`, its results at hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from ablation.design.imported import MAIN, path_of
from ablation.record.trial import FAILED, Record
from ablation.train.own import WHAT, TrainingFunction
from blocks.errors import must_be
from studies.engine.own.file import inputs_of, own_study
from studies.engine.reporting import current_records
from studies.engine.runner import INTERRUPTED, run_study
from studies.grid.command import open_own
from studies.options import Device, GridOptions

NETWORK = "network"


@dataclass(frozen=True)
class Plot:
    """A plot of a study: where it is, and how a notebook shows it."""

    path: Path

    def _repr_svg_(self) -> str:
        return self.path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class StudyResult:
    """What a study has come to. In a notebook it shows itself as its table."""

    folder: Path
    records: Sequence[Record]

    @property
    def table(self) -> pd.DataFrame:
        """One line for each network, means over seeds; every number of the report."""
        return pd.read_csv(self.report.with_name("table.csv"))

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report" / "report.html"

    @property
    def plots(self) -> dict[str, Plot]:
        """Plots by name, such as effects_accuracy."""
        return {path.stem: Plot(path) for path in sorted((self.report.parent / "plots").glob("*.svg"))}

    @property
    def failed(self) -> dict[str, str]:
        """Trial -> why it failed."""
        return {f"{record.label}, seed {record.seed}": record.reason for record in self.records if record.state == FAILED}

    def _repr_html_(self) -> str:
        return str(self.table.set_index("number").to_html(max_cols=12))


def study(
    *,
    network: str | Callable[..., Any],
    train: str | Callable[..., Any],
    factors: Mapping[str, Any],
    metrics: Mapping[str, Any],
    input: Any = None,
    seeds: int = 1,
    name: str = "study",
    out: str | Path | None = None,
    workers: int = 1,
    device: Device = "auto",
    latency_batches: Sequence[int] = (1, 32),
    latency_budget: float | None = None,
    retry_failed: bool = False,
) -> StudyResult:
    """Train, cost and time every network that levels of a callable's arguments make, and report; the same call goes on.

    `network` and `train`: functions at the top level of a module or a notebook, or 'package.module:name'. A training function is

        def train(network, seed, report, should_stop): ...  # returns {"accuracy": 0.93}

    where `report(epoch, value)` gives curves and `should_stop()` says to return early; what it leaves in `network` is what is kept.
    It may leave out what it doesn't need (`ablation.train.own`).

    `factors`: argument -> its levels. `metrics`: name -> "higher" or "lower", or a table of better, unit, label, digits and
    scale; the first is what networks are ranked by. `input`: (3, 32, 32), "3x32x32" or a list of several, without the batch;
    left out where the module has an `example_input()`. `out`: the folder, by default results/grid-NAME. `latency_budget`: most
    seconds for each batch size. InputError for what is wrong, KeyboardInterrupt after Ctrl-C: what is done is kept.
    `examples/quickstart.ipynb` runs one.
    """
    paths = {what: each if isinstance(each, str) else path_of(each, what) for what, each in ((NETWORK, network), (WHAT, train))}
    if workers > 1 and (inside := [what for what, path in paths.items() if path.startswith(f"{MAIN}:")]):
        remedy = f"Other processes cannot import what a notebook or a script defines: put {' and '.join(inside)} into a module."
        raise must_be("workers", "1", workers, remedy)
    levels = {f: list(each) if isinstance(each, (tuple, range)) else each for f, each in dict(factors).items()}
    own = own_study(name, paths[NETWORK], TrainingFunction.read(paths[WHAT], metrics), levels, inputs_of(input))
    options = GridOptions(
        line=f"ablation.study(name={name!r}, ...)",
        out=Path(out) if out is not None else None,
        seeds=seeds,
        workers=workers,
        device=device,
        latency_batches=tuple(latency_batches),
        latency_budget=latency_budget,
        retry_failed=retry_failed,
    )
    # plain lines: a notebook would make a box of each
    console = Console(file=sys.stdout, force_jupyter=False, force_terminal=False, width=160)
    run = open_own(own, options, console)
    code = run_study(run)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return StudyResult(run.options.out, current_records(run.study, run.config))
