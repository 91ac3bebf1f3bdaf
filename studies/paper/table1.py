"""The paper's Table 1 on this machine, beside the paper's numbers: parameters and latency of `original` and `modified`.

Two latencies that must not be mixed: the paper's own protocol (wall clock around whole forward passes, mean and standard
deviation over calls, one model after the other), for comparison with its numbers, and ours (interleaved, paired ratios in several
sittings, an interval over sittings and a noise floor), which is the one to believe.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import nn

from ablation.design.compose import VAE, build
from ablation.design.spec import ModelSpec, preset
from ablation.faster.optimise import example, prepared, reason_of
from ablation.faster.optimised import Optimised
from ablation.faster.runtimes import RUNTIMES
from ablation.machine.device import pick_device
from ablation.machine.hardware import provenance
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import LatencyComparison, compare_latency
from ablation.measure.latency.result import spanned
from studies.engine.config import prepare_folder
from studies.engine.folder import check_folder, take_folder
from studies.engine.latency_session import floor_of
from studies.options import Table1Options
from studies.paper.facts import REPORTED

MODELS = ("original", "modified")
CALLS = {1: (1, 100), 32: (0, 5)}  # batch size -> the paper's warm-up calls and timed calls
HEAD = ("", "original, paper", "modified, paper", "original, here", "modified, here")


@dataclass(frozen=True, kw_only=True)
class Table1:
    """Everything that the table shows."""

    device: str
    rows: list[dict[str, Any]]
    comparisons: dict[int, LatencyComparison]
    provenance: dict[str, Any]


def paper_protocol(model: nn.Module, batch_size: int, image_size: int, device: str) -> tuple[float, float]:
    """Mean and standard deviation of one forward pass in ms, as the paper's code takes them: one model alone, call by call."""
    warm_up, calls = CALLS[batch_size]
    x = torch.rand(batch_size, 3, image_size, image_size, device=device)
    times: list[float] = []
    with torch.no_grad():
        for call in range(warm_up + calls):
            begin = time.perf_counter()
            model(x)
            if device == "cuda":
                torch.cuda.synchronize()
            if call >= warm_up:
                times.append(1e3 * (time.perf_counter() - begin))
    return statistics.mean(times), statistics.stdev(times)


def measure(device: str, image_size: int, budget_s: float, console: Console) -> Table1:
    """Count and time both models; about 4 minutes at 144 px on two CPU cores."""
    begin = time.time()
    specs = {name: preset(name).replace(image_size=image_size) for name in MODELS}
    models = {name: build(spec, seed=0).eval().to(device) for name, spec in specs.items()}
    rows = []
    for name, spec in specs.items():
        rows.append(_counts(name, spec, models[name]))
        for batch_size in CALLS:
            console.print(f"{name}: the paper's protocol at batch {batch_size} on {device} ...", highlight=False)
            mean, sd = paper_protocol(models[name], batch_size, image_size, device)
            paper_mean, paper_sd = REPORTED[name].latency_ms[batch_size]
            rows[-1] |= {f"paper_ms_{batch_size}": paper_mean, f"paper_sd_{batch_size}": paper_sd}
            rows[-1] |= {f"mean_ms_{batch_size}": mean, f"sd_ms_{batch_size}": sd}
    settings: dict[str, Any] = {"device": device, "image_size": image_size, "budget_s": budget_s, "overrun": True, "num_threads": 1}
    comparisons, runtimes = {}, Runtimes(models, torch.device(device))
    for batch_size in CALLS:
        expected = f"about {budget_s:.0f} s, or what an interval takes"
        console.print(f"both, interleaved, at batch {batch_size} on {device} ({expected}) ...", highlight=False)
        beside = runtimes.prepared(batch_size)
        comparisons[batch_size] = compare_latency({**models, **beside}, batch_size=batch_size, reference="original", **settings)
        runtimes.note_threads(beside)
    facts = {
        "runtimes": runtimes.facts,
        **provenance(device, begin),
        "image_size": image_size,
        "seed": 0,
        "threads": {"paper": torch.get_num_threads(), "interleaved": 1},
        "paper_calls": {str(k): v for k, v in CALLS.items()},
    }
    return Table1(device=device, rows=rows, comparisons=comparisons, provenance=facts)


class Runtimes:
    """Both models in every other runtime that is installed, and what is to be said of each."""

    def __init__(self, models: Mapping[str, VAE], place: torch.device) -> None:
        self.models = models
        # title -> why it isn't timed, or the largest error against eager PyTorch by batch size
        self.facts: dict[str, dict[str, Any]] = {kind.title: {"reason": kind.missing(place.type)} for kind in RUNTIMES.values()}

    def prepared(self, batch_size: int) -> dict[str, nn.Module]:
        """Title and model -> the network in that runtime, for a batch size; those that fail are noted."""
        made: dict[str, nn.Module] = {}
        for step, kind in RUNTIMES.items():
            facts = self.facts[kind.title]
            try:
                both = {} if facts["reason"] else {n: prepared(m, (step,), example(m, batch_size)) for n, m in self.models.items()}
            except Exception as error:  # what a runtime can't load is a line of the table
                facts["reason"] = reason_of(error)
                continue
            made |= {f"{kind.title}: {name}": network for name, network in both.items()}
            if both:
                facts.setdefault("largest_error", {})[str(batch_size)] = max(network.max_error for network in both.values())
        return made

    def note_threads(self, made: Mapping[str, nn.Module]) -> None:
        """What each runtime used in the timing that is done, as it says."""
        for name, network in made.items():
            if isinstance(network, Optimised) and network.elsewhere is not None:
                self.facts[name.partition(":")[0]]["threads"] = network.elsewhere.num_threads


def _counts(name: str, spec: ModelSpec, model: nn.Module) -> dict[str, Any]:
    """What is counted of a model, beside the paper's number of parameters and fvcore's counts."""
    cost, published = static_cost(spec), published_cost(model, spec.image_size)
    return {
        "model": name,
        "paper_params": REPORTED[name].params,
        "params": cost.params,
        "macs": cost.macs,
        "fvcore_params": published.params,
        "fvcore_flops": published.flops,
        "elements_written": cost.elements_written,
        "bytes_moved": cost.bytes_moved,
        "num_ops": cost.num_ops,
    }


def lines(table: Table1) -> list[tuple[str, ...]]:
    """Quantity, then original and modified in the paper and here, as text."""
    size, threads = table.provenance["image_size"], table.provenance["threads"]
    params = [[row[key] for row in table.rows] for key in ("paper_params", "params")]
    saved = [f"{1 - modified / original:.1%}" for original, modified in params]
    out: list[tuple[str, ...]] = [
        (f"parameters{'' if size == 144 else f' at {size} px'}", *(f"{count:,}" for pair in params for count in pair)),
        ("saved", "", saved[0], "", saved[1]),
        ("multiply-accumulates", "not given", "not given", *(f"{row['macs'] / 1e9:.4f} G" for row in table.rows)),
        ("elements written", "not given", "not given", *(f"{row['elements_written'] / 1e6:.2f} M" for row in table.rows)),
    ]
    if table.device == "cpu":
        shown = f"{threads['paper']}; interleaved {threads['interleaved']}"
        out.append(("CPU threads", "", "", shown, shown))
    return [*out, *(line for batch in CALLS for line in _latency_lines(table, batch))]


def _latency_lines(table: Table1, batch: int) -> list[tuple[str, ...]]:
    """Both latencies at one batch size, and how many times slower the second model is."""
    keys = [(f"paper_ms_{batch}", f"paper_sd_{batch}"), (f"mean_ms_{batch}", f"sd_ms_{batch}")]
    protocol = [f"{row[mean]:.2f} ± {row[sd]:.2f} ms" for mean, sd in keys for row in table.rows]
    slower = [f"{table.rows[1][mean] / table.rows[0][mean]:.2f}" for mean, _ in keys]
    timed = table.comparisons[batch].models
    ratio = timed["modified"]
    interval = spanned(ratio.ratio, ratio.ratio_low, ratio.ratio_high, digits=2)
    return [
        (f"latency, batch {batch}, the paper's protocol", *protocol),
        ("  times slower", "", slower[0], "", slower[1]),
        (f"latency, batch {batch}, interleaved", "", "", *(f"{timed[name].median_ms:.2f} ms" for name in MODELS)),
        (f"  times slower, 95 % over {ratio.sittings} sittings", "", "", "", interval),
        *(line for title in table.provenance.get("runtimes", {}) for line in _runtime_lines(table, batch, title)),
    ]


def _runtime_lines(table: Table1, batch: int, title: str) -> list[tuple[str, ...]]:
    """Both latencies in a runtime, in the same rounds as the eager ones; or why they are missing."""
    names, comparison, facts = (
        [f"{title}: {name}" for name in MODELS],
        table.comparisons[batch],
        table.provenance["runtimes"][title],
    )
    timed = [comparison.models.get(name) for name in names]
    if any(each is None or each.median_ms is None for each in timed):
        reason = facts["reason"] or "; ".join(dict.fromkeys(each.reason for each in timed if each is not None))
        return [(f"latency, batch {batch}, {title}", "", "", reason, "")]
    ratio = comparison.paired(names[1], names[0])
    within = f", errors {facts['largest_error'][str(batch)]:.0e} at most"
    return [
        (f"latency, batch {batch}, {title}", "", "", *(f"{each.median_ms:.2f} ms" for each in timed if each is not None)),
        (f"  times slower{within}", "", "", "", "" if ratio is None else spanned(ratio.value, ratio.low, ratio.high, digits=2)),
    ]


def write(table: Table1, folder: Path) -> list[Path]:
    """table1.csv, .md, .tex, raw latency samples and provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    csv, markdown, latex, facts = (folder / name for name in ("table1.csv", "table1.md", "table1.tex", "provenance.json"))
    cells = lines(table)
    floors = {batch: floor_of(comparison) for batch, comparison in table.comparisons.items()}
    pd.DataFrame(table.rows).to_csv(csv, index=False)
    markdown.write_text(_markdown(table, cells, floors), encoding="utf-8")
    latex.write_text(pd.DataFrame(cells, columns=list(HEAD)).to_latex(index=False, escape=True), encoding="utf-8")
    samples = []
    for batch, comparison in table.comparisons.items():
        samples.append(folder / f"latency-{table.device}-{batch}.npz")
        comparison.save(samples[-1])
    ratios = {batch: comparison.models["modified"] for batch, comparison in table.comparisons.items()}
    values = {
        batch: {"ratio": m.ratio, "low": m.ratio_low, "high": m.ratio_high, "sittings": m.sittings, "rounds": m.rounds}
        for batch, m in ratios.items()
    }
    facts.write_text(json.dumps({**table.provenance, "ratios": values, "noise_floors": floors}, indent=2) + "\n")
    return [csv, markdown, latex, *samples, facts]


def _markdown(table: Table1, cells: list[tuple[str, ...]], floors: dict[int, dict[str, Any]]) -> str:
    hardware = table.provenance["hardware"]
    rows = ["| " + " | ".join(row) + " |" for row in (HEAD, ["---"] * len(HEAD), *cells)]
    noise = "".join(
        f"\nNoise floor at batch {batch}: `original` against a second copy of itself {spanned(f['ratio'], f['low'], f['high'])}; "
        f"{f['rounds']} rounds in {f['sittings']} sittings, both networks loaded anew in each.\n"
        for batch, f in floors.items()
    )
    return f"# Table 1 of the paper, measured on {hardware.get('gpu') or hardware['cpu']}\n\n" + "\n".join(rows) + "\n" + noise


def run_table1(options: Table1Options) -> int:
    """Measure, print and store the table."""
    console = Console(stderr=True)
    device = pick_device(options.device)
    preset("modified").replace(image_size=options.image_size)  # refuses a size that the stages don't divide, before any work
    settings = {"image_size": options.image_size, "device": device}
    check_folder(options.out, "table1", **settings)
    take_folder(prepare_folder(options.out), "table1", **settings)
    table = measure(device, options.image_size, options.budget, console)
    table.provenance["command"] = options.line
    paths = write(table, options.out)
    printed = [HEAD, *lines(table)]
    first, *widths = [max(map(len, column)) for column in zip(*printed, strict=True)]
    for name, *cells in printed:
        print("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]).rstrip())
    console.print(f"Stored in {paths[1]}", highlight=False, soft_wrap=True)
    return 0
