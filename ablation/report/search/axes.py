"""The axes on which a search judges networks: how each is called, written, and read from what is stored. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablation.record.search import Candidate, SearchResult
from ablation.record.search_confirmed import FASTEST, LATENCY, LOSS, MACS, PARAMS, RATIOS, TEST_LOSS, Confirmed, Timing, Verdict
from ablation.record.trial import METRICS, Metric, parts_of
from ablation.report.kit import numbers
from ablation.report.kit.numbers import NOTHING, joined, significant, times, times_span
from ablation.stats import mean_and_sd

# metrics that say how large a network is -> label
COUNTS = {PARAMS: "parameters", "deployed_params": "parameters, deployed", MACS: "multiply-accumulates"}
LABELS = {**COUNTS, LATENCY: "latency", FASTEST: "latency, fastest mode", LOSS: "validation loss", TEST_LOSS: "test loss"}


@dataclass(frozen=True)
class Axis:
    """One quantity of a network; a latency has a place. Lower is better, but for what `trained` says of LOSS."""

    metric: str
    place: str = ""
    # what stands for LOSS: the validation loss, or a metric of the user's own
    trained: Metric = METRICS["loss"]

    @property
    def label(self) -> str:
        """'latency at batch 1', of a GPU with its name, or 'latency at batch 1, fastest mode'."""
        if self.metric == LOSS:
            return self.trained.label
        name, _, mode = LABELS.get(self.metric, self.metric.replace("_", " ")).partition(",")
        return name + (f" at {place_name(self.place)}" if self.place else "") + (f",{mode}" if mode else "")

    def text(self, value: float | None) -> str:
        """'2.14 M', '6.60 ms', '0.6604'; '-' where there is none."""
        value = finite(value)
        if value is None:
            return NOTHING
        if self.metric in COUNTS:
            return f"{significant(value / 1e6)}\u00a0M" if abs(value) >= 1e5 else f"{value:,.0f}"
        return f"{significant(value)}\u00a0ms" if self.metric in RATIOS else self.trained.text(value).replace(" ", "\u00a0")

    def change(self, effect: float | None, low: float | None = None, high: float | None = None) -> str:
        """'−7.21 M', '×0.27 (0.26 to 0.28)', '−0.0310 (−0.0400 to −0.0220)'; '-' where there is none."""
        if finite(effect) is None or effect is None:
            return NOTHING
        if self.metric in RATIOS:
            small = 3 if 0 < effect < 0.995 else None  # two digits would hide what a small ratio's interval is
            span = "" if low is None or high is None or small is None else f" ({low:.3f} to {high:.3f})"
            return times(effect, small) + span if small else times_span(effect, low, high)
        if self.metric in COUNTS:
            return f"{'+' if effect > 0 else ''}{self.text(effect)}".replace("-", numbers.MINUS) if effect else "0"
        of, known = self.trained, (end for end in (effect, low, high) if end is not None)
        shown, *ends = (numbers.signed(end * of.scale, of.digits) for end in known)
        unit = f"\u00a0{of.unit_of_change}" if of.unit_of_change else ""
        return shown + unit + (f" ({ends[0]} to {ends[1]})" if len(ends) == 2 else "")

    def lowest_best(self, value: float) -> float:
        """The value, or its negative where higher is better."""
        return self.trained.lowest_best(value) if self.metric == LOSS else value

    def is_ahead(self, value: float, other: float) -> bool:
        """Whether one value is better than another."""
        return self.lowest_best(value) < self.lowest_best(other)

    def searched(self, candidate: Candidate) -> float | None:
        """The search's own value of a network; None where it has none, a latency that was only predicted included."""
        if self.metric == LATENCY:
            return finite(candidate.latency.get(self.place, Timing()).ms)
        named = {LOSS: candidate.best_loss, PARAMS: candidate.params, MACS: candidate.macs}
        return finite(deployed_params(candidate) if self.metric == "deployed_params" else named.get(self.metric))

    def confirmed(self, network: Confirmed) -> float | None:
        """The confirmation's value of a network: of losses the mean over those seeds that have one."""
        if self.metric == LATENCY:
            return finite(network.latency.get(self.place, Timing()).ms)
        if self.metric == FASTEST:
            return finite(mode.ms) if (mode := network.fastest.get(self.place)) else None
        if self.metric in (LOSS, TEST_LOSS):
            return mean_and_sd(losses(network, self.metric))[0]
        named = {PARAMS: network.params, MACS: network.macs}
        return finite(deployed_params(network) if self.metric == "deployed_params" else named.get(self.metric))

    def effect(self, reference: float | None, value: float | None) -> float | None:
        """Value minus reference; of latencies their ratio; None without either."""
        if reference is None or value is None:
            return None
        return (value / reference if reference else None) if self.metric in RATIOS else value - reference

    def verdict(self, verdicts: Iterable[Verdict]) -> Verdict | None:
        """The verdict on this axis among those on one network."""
        return next((v for v in verdicts if (v.metric, v.place) == (self.metric, self.place)), None)


def place_name(place: str) -> str:
    """'batch 1' on a CPU, 'batch 1 (cuda)' elsewhere; with the hardware where it is not the study's first."""
    device, batch, hardware = parts_of(place)
    about = ", ".join(filter(None, (device if device != "cpu" else "", hardware)))
    return f"batch {batch}" + (f" ({about})" if about else "")


def axes_text(axes: Sequence[Axis]) -> str:
    """'parameters, latency at batch 1 and batch 32 and validation loss', for a sentence."""
    texts: dict[str, str] = dict.fromkeys((axis.metric if axis.place else axis.label for axis in axes), "")
    for metric in (LATENCY, FASTEST):
        own = [place_name(axis.place) for axis in axes if axis.metric == metric and axis.place]
        if own:
            texts[metric] = f"{'latency' if metric == LATENCY else 'latency in the fastest mode'} at {' and '.join(own)}"
    return joined(text or name for name, text in texts.items())


def finite(value: float | None) -> float | None:
    """The value, if it is a finite number."""
    return value if value is not None and math.isfinite(value) else None


def deployed_params(network: Candidate | Confirmed) -> int | None:
    """Parameters of the form that is deployed."""
    return network.params if network.deployed_params is None else network.deployed_params


def losses(network: Confirmed, metric: str) -> list[float]:
    """The finite losses of a confirmed network's seeds."""
    every = (seed.validation if metric == LOSS else seed.test for seed in network.seeds)
    return [value for value in every if value is not None and math.isfinite(value)]


def places(result: SearchResult) -> list[str]:
    """Where latency was measured or predicted, in the reference's order."""
    networks = (result.reference, *result.proposals)
    return list(dict.fromkeys(place for network in networks for place in network.latency))


def search_axes(result: SearchResult) -> list[Axis]:
    """What the search improved: parameters, latency at each place, validation loss or what else was trained for."""
    return [Axis(PARAMS), *(Axis(LATENCY, place) for place in places(result)), loss_axis(result)]


def loss_axis(result: SearchResult) -> Axis:
    """What networks are trained for."""
    return Axis(LOSS, trained=result.metric)


def axis_of(verdict: Verdict, result: SearchResult) -> Axis:
    """The axis of a verdict."""
    return Axis(verdict.metric, verdict.place, result.metric if verdict.metric == LOSS else METRICS["loss"])


def all_axes(result: SearchResult) -> list[Axis]:
    """Every axis of which anything is stored, in the order of the page's table."""
    c = result.confirmation
    confirmed: list[Confirmed] = [c.reference, *c.networks] if c else []
    every = [result.reference, *result.proposals]
    modes = dict.fromkeys(place for network in confirmed for place in network.fastest)
    more = dict.fromkeys(place for network in confirmed for place in network.latency)
    timed = dict.fromkeys([*places(result), *more])
    networks: list[Candidate | Confirmed] = [*every, *confirmed]
    folded = any(deployed_params(network) != network.params for network in networks)
    axes = [Axis(PARAMS), *([Axis("deployed_params")] if folded else []), Axis(MACS)]
    axes += [*(Axis(LATENCY, place) for place in timed), *(Axis(FASTEST, place) for place in modes)]
    axes += [loss_axis(result), Axis(TEST_LOSS)]
    return [axis for axis in axes if any(_value(axis, network) is not None for network in networks)]


def _value(axis: Axis, network: Candidate | Confirmed) -> float | None:
    return axis.confirmed(network) if isinstance(network, Confirmed) else axis.searched(network)
