"""The paper's Table 1 on this machine, beside the paper's numbers: parameters and latency of `original` and `modified`.

Two latencies that must not be mixed: the paper's own protocol (wall clock around whole forward passes, mean and standard
deviation over calls, one model after the other), for comparison with its numbers, and ours (interleaved, paired ratios in several
sittings, an interval over sittings and a noise floor), which is the one to believe.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import nn

from ablation.design.compose import build
from ablation.design.spec import preset
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

# paper's Table 1 and, for batch 32, the output of its released code: (mean, standard deviation) in ms
MODELS = ("original", "modified")
PAPER_PARAMS = {"original": 9_352_195, "modified": 6_283_267}
PAPER_LATENCY_MS = {
    ("original", 1): (1.77, 0.08),
    ("modified", 1): (10.32, 1.13),
    ("original", 32): (26.30, 5.07),
    ("modified", 32): (131.22, 8.18),
}
CALLS = {1: (1, 100), 32: (0, 5)}  # batch size -> the paper's warm-up calls and timed calls


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
        cost, published = static_cost(spec), published_cost(models[name], image_size)
        row: dict[str, Any] = {"model": name, "paper_params": PAPER_PARAMS[name], "params": cost.params, "macs": cost.macs}
        row |= {"fvcore_params": published.params, "fvcore_flops": published.flops, "elements_written": cost.elements_written}
        row |= {"bytes_moved": cost.bytes_moved, "num_ops": cost.num_ops}
        for batch_size in CALLS:
            console.print(f"{name}: the paper's protocol at batch {batch_size} on {device} ...", highlight=False)
            mean, sd = paper_protocol(models[name], batch_size, image_size, device)
            paper_mean, paper_sd = PAPER_LATENCY_MS[name, batch_size]
            row |= {f"paper_ms_{batch_size}": paper_mean, f"paper_sd_{batch_size}": paper_sd}
            row |= {f"mean_ms_{batch_size}": mean, f"sd_ms_{batch_size}": sd}
        rows.append(row)
    comparisons = {}
    for batch_size in CALLS:
        console.print(
            f"both, interleaved, at batch {batch_size} on {device} (about {budget_s:.0f} s, or what an interval takes) ...",
            highlight=False,
        )
        comparisons[batch_size] = compare_latency(
            models,
            batch_size=batch_size,
            device=device,
            reference="original",
            image_size=image_size,
            budget_s=budget_s,
            overrun=True,
            num_threads=1,
        )
    where = {
        **provenance(device, begin),
        "image_size": image_size,
        "seed": 0,
        "threads": {"paper": torch.get_num_threads(), "interleaved": 1},
        "paper_calls": {str(k): v for k, v in CALLS.items()},
    }
    return Table1(device=device, rows=rows, comparisons=comparisons, provenance=where)


def lines(table: Table1) -> list[tuple[str, ...]]:
    """Quantity, then original and modified in the paper and here, as text."""
    a, b = table.rows
    saved = 1 - b["params"] / a["params"]
    paper_saved = 1 - PAPER_PARAMS["modified"] / PAPER_PARAMS["original"]
    size = table.provenance["image_size"]
    note = "" if size == 144 else f" at {size} px"
    out: list[tuple[str, ...]] = [
        (f"parameters{note}", *_pair(a, b, "paper_params", ","), *_pair(a, b, "params", ",")),
        ("saved", "", f"{paper_saved:.1%}", "", f"{saved:.1%}"),
        ("multiply-accumulates", "not given", "not given", f"{a['macs'] / 1e9:.4f} G", f"{b['macs'] / 1e9:.4f} G"),
        (
            "elements written",
            "not given",
            "not given",
            f"{a['elements_written'] / 1e6:.2f} M",
            f"{b['elements_written'] / 1e6:.2f} M",
        ),
    ]
    threads = table.provenance["threads"]
    if table.device == "cpu":
        shown = f"{threads['paper']}; interleaved {threads['interleaved']}"
        out.append(("CPU threads", "", "", shown, shown))
    for batch in CALLS:
        here = [f"{row[f'mean_ms_{batch}']:.2f} ± {row[f'sd_ms_{batch}']:.2f} ms" for row in (a, b)]
        paper = [f"{row[f'paper_ms_{batch}']:.2f} ± {row[f'paper_sd_{batch}']:.2f} ms" for row in (a, b)]
        out.append((f"latency, batch {batch}, the paper's protocol", *paper, *here))
        slower = b[f"mean_ms_{batch}"] / a[f"mean_ms_{batch}"]
        out.append(("  times slower", "", f"{b[f'paper_ms_{batch}'] / a[f'paper_ms_{batch}']:.2f}", "", f"{slower:.2f}"))
        timed = table.comparisons[batch].models
        medians = [f"{timed[name].median_ms:.2f} ms" for name in MODELS]
        out.append((f"latency, batch {batch}, interleaved", "", "", *medians))
        ratio = timed["modified"]
        text = spanned(ratio.ratio, ratio.ratio_low, ratio.ratio_high, digits=2)
        out.append((f"  times slower, 95 % over {ratio.sittings} sittings", "", "", "", text))
    return out


def _pair(a: dict[str, Any], b: dict[str, Any], key: str, form: str) -> tuple[str, str]:
    return format(a[key], form), format(b[key], form)


HEAD = ("", "original, paper", "modified, paper", "original, here", "modified, here")


def write(table: Table1, folder: Path) -> list[Path]:
    """table1.csv, .md, .tex, raw latency samples and provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = lines(table)
    frame = pd.DataFrame(cells, columns=list(HEAD))
    paths = [folder / f"table1.{suffix}" for suffix in ("csv", "md", "tex")]
    pd.DataFrame(table.rows).to_csv(paths[0], index=False)
    rows = ["| " + " | ".join(row) + " |" for row in (HEAD, ["---"] * len(HEAD), *cells)]
    floor = {batch: floor_of(comparison) for batch, comparison in table.comparisons.items()}
    hardware = table.provenance["hardware"]
    title = f"# Table 1 of the paper, measured on {hardware.get('gpu') or hardware['cpu']}\n\n"
    noise = "".join(
        f"\nNoise floor at batch {batch}: `original` against a second copy of itself {spanned(f['ratio'], f['low'], f['high'])}; "
        f"{f['rounds']} rounds in {f['sittings']} sittings, both networks loaded anew in each.\n"
        for batch, f in floor.items()
    )
    paths[1].write_text(title + "\n".join(rows) + "\n" + noise, encoding="utf-8")
    paths[2].write_text(frame.to_latex(index=False, escape=True), encoding="utf-8")
    for batch, comparison in table.comparisons.items():
        paths.append(folder / f"latency-{table.device}-{batch}.npz")
        comparison.save(paths[-1])
    paths.append(folder / "provenance.json")
    ratios = {batch: comparison.models["modified"] for batch, comparison in table.comparisons.items()}
    values = {
        batch: {"ratio": m.ratio, "low": m.ratio_low, "high": m.ratio_high, "sittings": m.sittings, "rounds": m.rounds}
        for batch, m in ratios.items()
    }
    paths[-1].write_text(json.dumps({**table.provenance, "ratios": values, "noise_floors": floor}, indent=2) + "\n")
    return paths


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
    widths = [max(len(row[i]) for row in (HEAD, *lines(table))) for i in range(len(HEAD))]
    for row in (HEAD, *lines(table)):
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )
    console.print(f"Stored in {paths[1]}", highlight=False, soft_wrap=True)
    return 0
