"""Tables of a search's page and its CSV files. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from ablation.record.search import Candidate, SearchResult
from ablation.record.search_confirmed import (
    LATENCY,
    LOSS,
    PARAMS,
    TEST_LOSS,
    Confirmation,
    Confirmed,
    Stage,
    Timing,
    Undone,
    Verdict,
)
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import NOTHING, decimal, significant
from ablation.report.kit.page import Table
from ablation.report.kit.tables import write_lines
from ablation.report.search.axes import COUNTS, Axis, all_axes, axis_of, finite, losses, place_name, places, search_axes
from ablation.report.search.effect_plots import effect_of, shape_text
from ablation.report.search.networks import title_of
from ablation.stats import mean_and_sd

NOT_CONFIRMED, COUNTED = "not confirmed", "counted"


def table(headings: Sequence[str], lines: Iterable[Sequence[str]], texts: Sequence[int] = (0,)) -> Table:
    """A table whose columns are numbers but for these."""
    return Table(list(headings), [n not in texts for n in range(len(headings))], [list(line) for line in lines])


def axes_table(result: SearchResult, winner: Candidate) -> Table:
    """Every axis: both networks' search values and confirmed values, the difference with its interval, the verdict."""
    confirmation = result.confirmation
    network = confirmation.network(winner.number) if confirmation else None
    lines = []
    for axis in all_axes(result):
        searched = [axis.searched(result.reference), axis.searched(winner)]
        confirmed = [axis.confirmed(confirmation.reference), axis.confirmed(network)] if confirmation and network else []
        verdict = axis.verdict(confirmation.of(network.number or 0)) if confirmation and network else None
        if all(value is None for value in (*searched, *confirmed)):
            continue
        effect = axis.change(axis.effect(*(confirmed if None not in confirmed[-2:] and confirmed else searched)))
        if verdict is not None:
            effect = axis.change(verdict.effect, verdict.low, verdict.high)
        how = verdict_text(axis, verdict) if network else NOT_CONFIRMED if axis.metric not in COUNTS else COUNTED
        values = [list(map(axis.text, pair)) for pair in (confirmed, searched)]
        lines.append([axis.label, *(values[0] or values[1]), effect, how, *(values[1] if network else [])])
    both = (result.reference.label, f"#{winner.number}")
    names = [f"{who}, {'confirmed' if network else 'search'}" for who in both]
    return table(["", *names, "difference", "verdict", *(f"{who}, search" for who in both if network)], lines, texts=(0, 4))


def verdict_text(axis: Axis, verdict: Verdict | None) -> str:
    """'better', with the corrected p-value where there is one and on what it rests."""
    if verdict is None:
        return COUNTED if axis.metric in COUNTS else NOTHING
    chance = p_text(verdict.corrected_p) if verdict.corrected_p is not None else ""
    basis = f"{verdict.num} {verdict.of}" if verdict.num and verdict.of else COUNTED if axis.metric in COUNTS else ""
    about = ", ".join(filter(None, (chance, basis)))
    return f"{verdict.verdict}{f' ({about})' if about else ''}"


def p_text(p: float) -> str:
    """'p = 0.012', or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def verdicts_table(result: SearchResult, confirmation: Confirmation) -> Table:
    """What each network that was confirmed is on each axis."""
    axes = list(dict.fromkeys(axis_of(v, result) for v in confirmation.verdicts))
    own = [confirmation.of(network.number or 0) for network in confirmation.networks]
    lines = [[axis.label, *(_verdict_cell(axis, axis.verdict(verdicts)) for verdicts in own)] for axis in axes]
    return table(["", *(f"#{network.number}" for network in confirmation.networks)], lines)


def _verdict_cell(axis: Axis, verdict: Verdict | None) -> str:
    return NOTHING if verdict is None else f"{axis.change(verdict.effect, verdict.low, verdict.high)}: {verdict.verdict}"


def seeds_table(confirmation: Confirmation, trained: Axis) -> Table:
    """Validation and test loss of each network, or what else was trained for: mean, standard deviation, and each fresh seed."""
    metrics = (LOSS, TEST_LOSS) if trained == Axis(LOSS) else (LOSS,)
    every = (confirmation.reference, *confirmation.networks)
    seeds = list(dict.fromkeys(seed.seed for network in every for seed in network.seeds))
    lines = []
    for network in every:
        own = {seed.seed: seed for seed in network.seeds}
        for metric in metrics:
            values = [getattr(own.get(seed), "validation" if metric == LOSS else "test", None) for seed in seeds]
            cells = [trained.text(value) for value in values]
            what = metric_name(metric) if len(metrics) > 1 else trained.label
            lines.append([title_of(network), what, _mean(losses(network, metric), trained), *cells])
    return table(["network", trained.trained.noun, "mean ± SD", *(f"seed {seed}" for seed in seeds)], lines, texts=(0, 1))


def metric_name(metric: str) -> str:
    """'validation' or 'test'."""
    return Axis(metric).label.removesuffix(" loss")


def _mean(values: Sequence[float], axis: Axis) -> str:
    mean, sd = mean_and_sd(values)
    return axis.text(mean) + (f" ± {axis.text(sd)}" if sd is not None else "")


def rates_table(confirmation: Confirmation) -> Table | None:
    """The sweep of learning rates of each network, the chosen one marked; None where none was swept."""
    networks = [n for n in (confirmation.reference, *confirmation.networks) if n.rates]
    rates = dict.fromkeys(rate for network in networks for rate in network.rates)
    lines = [[title_of(n), *(_rate_cell(n, rate) for rate in rates)] for n in networks]
    return table(["network", *rates], lines) if lines else None


def _rate_cell(network: Confirmed, rate: str) -> str:
    if rate not in network.rates:
        return NOTHING
    value = finite(network.rates[rate])
    return ("diverged" if value is None else f"{value:.4f}") + (" (chosen)" if rate == network.rate else "")


def timings_table(confirmation: Confirmation) -> Table | None:
    """Latency of each confirmed network at each place, eager and in its fastest mode; None where nothing was timed."""
    lines = []
    for network in (confirmation.reference, *confirmation.networks):
        for place in dict.fromkeys([*network.latency, *network.fastest]):
            timing, mode = network.latency.get(place, Timing()), network.fastest.get(place)
            axis = Axis(LATENCY, place)
            fastest = [mode.mode, significant(mode.ms), axis.change(mode.ratio, mode.low, mode.high)] if mode else [NOTHING] * 3
            eager = [significant(timing.ms), axis.change(timing.ratio, timing.low, timing.high), str(timing.sittings or NOTHING)]
            lines.append([title_of(network), place_name(place), *eager, *fastest])
    headings = ["network", "at", "eager [ms]", "ratio", "sittings", "fastest mode", "in it [ms]", "ratio in it"]
    return table(headings, lines, texts=(0, 1, 5)) if lines else None


def networks_table(result: SearchResult, networks: Sequence[Candidate]) -> Table:
    """Networks with their costs and loss: of the front, the reference first."""
    axes = search_axes(result)
    lines = [
        [title_of(c), *(axis.text(axis.searched(c)) for axis in axes)]
        for c in (result.reference, *result.others, *networks)
    ]  # fmt: skip
    return table(["network", *(axis.label for axis in axes)], lines)


def limits_table(result: SearchResult) -> Table | None:
    """The limits and how many of the space's networks each excludes; None without a limit."""
    lines = []
    for limit in result.limits:
        axis = Axis(limit.metric, limit.place)
        lines.append([axis.label, limit.text, axis.text(limit.value), _of(limit.num_excluded, result.space.num_valid)])
    return table(["limit on", "as given", "value", "networks that break it"], lines) if lines else None


def _of(num: int | None, whole: int | None) -> str:
    if num is None:
        return NOTHING
    return f"{num:,}" + (f" ({100 * num / whole:.0f}\u00a0%)" if whole else "")


def rungs_table(result: SearchResult) -> Table:
    """Where trainings could stop early, and how well the order there foretold the order at the end."""
    lines = [
        [str(r.epochs), str(r.num_stopped), decimal(r.rank_correlation, 2), str(r.num or NOTHING)] for r in result.rungs
    ]  # fmt: skip
    return table(["after epochs", "stopped", "rank correlation with the end", "of networks"], lines, texts=())


def prediction_table(result: SearchResult) -> Table:
    """The error of the latency model on networks that it had not seen."""
    lines = [
        [Axis(LATENCY, p.place).label, *map(str, (p.num_fitted, p.num_held_out)), _percent(p.median, 1), _percent(p.within_10, 0)]
        for p in result.prediction
    ]  # fmt: skip
    return table(["of", "fitted on", "tested on", "median error", "within 10\u00a0%"], lines)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f}\u00a0%"


def undone_table(swaps: Sequence[Undone], trained: Axis) -> Table:
    """What setting each of the winner's levels back alone changes."""
    timed = dict.fromkeys(place for swap in swaps for place in swap.latency)
    axes = [trained, *(Axis(LATENCY, place) for place in timed), Axis(PARAMS)]
    lines = []
    for swap in swaps:
        effects = [effect_of(axis, swap) for axis in axes]
        cells = [NOTHING if e is None else axis.change(e.value, e.low, e.high) for axis, e in zip(axes, effects, strict=True)]
        sure = swap.reason or ("not measured" if swap.loss is None else swap.loss.verdict)
        if swap.loss is not None and swap.loss.num:
            sure += f" ({swap.loss.num} {swap.loss.of})"
        lines.append([f"{plain(swap.factor)}: {swap.winner} → {swap.reference}", cells[0], sure, *cells[1:]])
    headings = ["undone", trained.label, f"of the {trained.trained.noun}", *(axis.label for axis in axes[1:])]
    return table(headings, lines, texts=(0, 2))


def drawing_table(stages: Sequence[Stage]) -> Table:
    """A network's stages in words."""
    lines = [[s.name, s.text, shape_text(s.shape), f"{s.params:,}"] for s in stages]
    return table(["stage", "what it is", "channels × height × width", "parameters"], lines, texts=(0, 1))


def write_proposals(result: SearchResult, path: Path) -> Path:
    """Every network of the search as one line of CSV: factors, costs, latencies, losses of every epoch."""
    timed = places(result)
    factors = list(dict.fromkeys(f for c in result.proposals for f in c.factors))
    of_latency = ("predicted_ms", "ms", "ratio")
    headings = ["number", "label", "key", "state", "reason", "stopped_after_epochs", *factors, "params", "deployed_params", "macs"]
    headings += [f"latency.{place}.{name}" for place in timed for name in of_latency]
    headings += ["best_loss", "losses", "ended_s", "entered_front"]
    lines = []
    for c in (result.reference, *result.others, *result.proposals):
        line = [c.number, c.label, c.key, c.state, c.reason, c.rung, *(c.factors.get(f) for f in factors)]
        line += [c.params, c.deployed_params, c.macs]
        line += [getattr(c.latency.get(place, Timing()), name) for place in timed for name in of_latency]
        lines.append([*line, c.best_loss, json.dumps(c.losses), c.ended_s, c.entered_front])
    return write_lines(path, headings, lines)


def write_confirmation(confirmation: Confirmation, path: Path) -> Path:
    """Every verdict as one line of CSV."""
    names = [field.name for field in fields(Verdict)]
    return write_lines(path, names, [[getattr(v, name) for name in names] for v in confirmation.verdicts])
