"""`cost`: what any networks cost, counted from shapes, and gates on it for continuous integration."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ablation.design.compose import build
from ablation.design.network import AnySpec
from ablation.machine.device import pick_device
from ablation.measure.costs.forward import Cost
from ablation.measure.costs.static import StaticCost, static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.measure.latency.result import spanned
from ablation.search.limits import COSTS, parse_limits
from blocks.errors import InputError, must_be
from studies.explain.networks import inputs_of, read_networks, short_names
from studies.explain.options import CostOptions
from studies.explain.steps import peak_bytes

HEADINGS: Mapping[str, str] = {
    "params": "parameters", "macs": "mult.-accum.", "elements_written": "elements", "bytes_moved": "bytes moved",
    "num_ops": "ops", "peak_bytes": "peak bytes",
}  # fmt: skip
# where a heading is short
WORDS: Mapping[str, str] = {"macs": "multiply-accumulates", "elements_written": "elements written", "num_ops": "operations"}
Row = dict[str, Any]


def run_cost(options: CostOptions) -> int:
    """Print the costs of each network; exit code 1 where a gate is not passed."""
    if not options.networks:
        raise must_be("NETWORK", "given, once or more", "none", "For example: cost original modified.")
    limits, rival = _limits(options), _rival(options)
    networks = list(dict.fromkeys(options.networks))
    texts = list(dict.fromkeys([*networks, *([rival[0]] if rival else [])]))
    specs = dict(zip(texts, read_networks(texts, options), strict=True))
    names = dict(zip(texts, short_names(texts), strict=True))
    costs = {text: static_cost(specs[text], options.batch_size) for text in networks}
    rows = [row for text, cost in costs.items() for row in _rows(names[text], cost, specs[text], options)]
    _print(rows, options)
    notes = Console(stderr=True)
    notes.print(
        f"One forward pass of {inputs_of(next(iter(specs.values())))[0]} at batch {options.batch_size}, counted from shapes."
    )
    for text, cost in costs.items():
        if cost.executed:
            notes.print(f"{names[text]}: what it does depends on values, so that it was counted in one run on one input.")
    broken = [line for text, cost in costs.items() for line in _beyond(names[text], cost, limits)]
    if rival is not None:
        broken += _slower(options, specs, names, rival)
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


def _limits(options: CostOptions) -> dict[str, float]:
    """--at-most by the name of the cost."""
    texts = [part for text in options.at_most for part in text.split(",") if part.strip()]
    try:
        limits = parse_limits(texts, (options.batch_size,))
    except InputError as error:
        raise InputError(str(error).replace("--limit", "--at-most")) from None
    for name in limits:
        if name not in COSTS:
            raise must_be("--at-most", f"on one of {', '.join(COSTS)}, as a number", name, "Latency has --slower-than.")
    return limits


def _rival(options: CostOptions) -> tuple[str, float] | None:
    """The network that the first is not to be slower than, and how many times its latency is allowed."""
    if not options.slower_than:
        return None
    rule = "a network and a positive number, such as --slower-than original 1.10"
    try:
        text, times = options.slower_than
        number = float(times)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise must_be("--slower-than", rule, " ".join(options.slower_than))
    if text == options.networks[0]:
        raise must_be("--slower-than", "another network than the first", text)
    return text, number


def _rows(name: str, cost: StaticCost, spec: AnySpec, options: CostOptions) -> list[Row]:
    """One line in all, or one for each part or class."""
    if options.by == "total":
        return [{"network": name, **_numbers(cost), "peak_bytes": _peak(spec, options.batch_size)}]
    shares = cost.by_part if options.by == "part" else cost.by_class
    lines = [{"network": name, options.by: share, **_numbers(of)} for share, of in shares.items() if of != Cost()]
    return [*lines, {"network": name, options.by: "total", **_numbers(cost)}]


def _numbers(cost: Cost) -> Row:
    return {field: getattr(cost, field) for field in COSTS}


def _peak(spec: AnySpec, batch_size: int) -> int | None:
    """Bytes of results alive at once; None of a network that looks at values."""
    try:
        return peak_bytes(spec, batch_size)
    except Exception:
        return None


def _print(rows: Sequence[Row], options: CostOptions) -> None:
    if options.format == "json":
        print(json.dumps(list(rows), indent=2))
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        table = Table(box=None, pad_edge=False)
        for field in rows[0]:
            table.add_column(HEADINGS.get(field, field), justify="right" if field in HEADINGS else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value or "-") for value in row.values()))
        console = Console()
        # a number that is cut is another number: lines are longer than the terminal is wide where they have to be
        Console(width=max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)).print(table)


def _beyond(name: str, cost: StaticCost, limits: Mapping[str, float]) -> list[str]:
    """A line for each limit that a network breaks."""
    return [
        f"{name} has {getattr(cost, field):,} {WORDS.get(field, HEADINGS[field])}, more than the {most:,.0f} of --at-most"
        for field, most in limits.items() if getattr(cost, field) > most
    ]  # fmt: skip


def _slower(options: CostOptions, specs: Mapping[str, AnySpec], names: Mapping[str, str], rival: tuple[str, float]) -> list[str]:
    """A line where the first network takes longer than it may, with its whole interval; both timed side by side, now."""
    first, (second, times) = options.networks[0], rival
    device = pick_device(options.device)
    compared = compare_latency(
        {names[text]: build(specs[text], seed=0).eval() for text in (second, first)},
        device=device, batch_size=options.batch_size, num_threads=options.threads if device == "cpu" else None,
        input_shape=specs[first].input_shape, budget_s=options.budget, overrun=True, only_calls=True,
    )  # fmt: skip
    ratio = compared.paired(names[first], names[second])
    if ratio is None:
        failed = next(timed for timed in (compared[names[first]], compared[names[second]]) if timed.failed)
        raise InputError(f"Both networks must run on {device} to be timed. {failed.reason}.")
    times_text = f"×{spanned(ratio.value, ratio.low, ratio.high)}"
    text = f"{names[first]} takes {times_text} the time of {names[second]} at batch {options.batch_size} on {device}"
    if ratio.low is None:
        return [f"{text}: too few sittings to tell whether that is at most {times:g} times; a larger --budget has more"]
    if ratio.low > times:
        return [f"{text}, more than the {times:g} times of --slower-than"]
    doubt = "" if ratio.high is not None and ratio.high <= times else f"; whether that is at most {times:g} times is not settled"
    Console(stderr=True).print(f"{text}{doubt}.", soft_wrap=True)
    return []
