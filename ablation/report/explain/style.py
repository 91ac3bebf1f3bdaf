"""Names, colours and number formats that all of an explanation's plots, tables and sentences share. No torch.

One colour per factor and one per class of operation, the same wherever either is drawn; the two networks are greys, so that no
colour means two things. Colour is never alone: bars carry names, points have a marker of their class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablation.record.attribution import EXACT, Attribution, Effect
from ablation.record.explanation import WHOLE, Explanation, ModeResult
from ablation.record.trial import METRICS, Metric, fitting
from ablation.report.kit import numbers, plot_style
from ablation.report.kit.numbers import times_span

# the two networks
FIRST, SECOND = "#9A9A9A", "#222222"
# after six of the safe seven (its grey is taken by the networks)
MORE_FACTORS = ("#8B4513", "#332288", "#999933", "#661100")
# Paul Tol's muted scheme, and a few of his others; convolutions are the cold ones
CLASS_LOOKS: dict[str, tuple[str, str]] = {
    "convolution": ("#332288", "o"), "pointwise convolution": ("#88CCEE", "s"), "depthwise convolution": ("#44AA99", "^"),
    "linear": ("#117733", "D"), "normalisation": ("#DDCC77", "P"), "activation": ("#CC6677", "X"),
    "concatenation": ("#882255", "v"), "pooling": ("#999933", "<"), "upsampling": ("#AA4499", ">"),
    "elementwise": ("#6699CC", "p"), "reduction": ("#661100", "h"),
    "random": ("#EE8866", "*"), "copy": ("#4477AA", "d"), "unused": ("#DDDDDD", "8"),
}  # fmt: skip
HOST, GAPS, RESIDUAL = "launches and host", "gaps", "unexplained"
REST_LOOKS = {HOST: "#555555", GAPS: "#BBBBBB", RESIDUAL: "#FFFFFF"}
EXTRA_METRICS = {
    "latency_ms": Metric(path="", label="latency", unit="ms", digits=2),
    "log_latency": Metric(path="", label="logarithm of latency"),
    "peak_bytes": Metric(path="", label="peak memory", unit="MB", scale=1e-6, digits=1),
}
LOG = "log_latency"


def metric_of(what: Attribution | str) -> Metric:
    """Label, unit and digits of an attribution's metric, in a unit that fits its values; or of a metric that is named."""
    if isinstance(what, str):
        return EXTRA_METRICS.get(what) or METRICS.get(what) or Metric(path="", label=what.replace("_", " "))
    if what.label:
        return Metric(path="", label=what.label, unit=what.unit, digits=what.digits)
    return fitting(metric_of(what.metric), [abs(what.start), abs(what.end)])


def factor_colours(explanation: Explanation) -> dict[str, Any]:
    """Factor -> colour, in the order of the explanation's factors."""
    names = list(explanation.factors)
    known = (*plot_style.COLOURS[:6], *MORE_FACTORS)
    return dict(zip(names, known if len(names) <= len(known) else plot_style.palette(len(names)), strict=False))


def class_colour(name: str) -> str:
    """The colour of a class of operation or of what is no operation; grey for a class that is new."""
    return REST_LOOKS.get(name) or CLASS_LOOKS.get(name, ("#777777", ""))[0]


def class_marker(name: str) -> str:
    """The marker of a class of operation."""
    return CLASS_LOOKS.get(name, ("", "H"))[1]


def plain(name: str) -> str:
    """'encoder connectivity' for 'encoder_connectivity'."""
    return name.replace("_", " ")


def signed(value: float, metric: Metric) -> str:
    """'+1.234' in the unit in which the metric is shown."""
    return numbers.signed(value * metric.scale, metric.digits)


def effect_text(a: Attribution, effect: Effect) -> str:
    """The effect in its unit with its interval: '−5.177 M', '+1.20 ms (+1.13 to +1.27)', '×2.31 (2.25 to 2.38)'."""
    metric = metric_of(a)
    if a.metric == LOG:
        low, high = (None if v is None else math.exp(v) for v in (effect.low, effect.high))
        return times_span(math.exp(effect.value), low, high)
    if not effect.value and effect.verdict == EXACT:
        return "no change"
    text = f"{signed(effect.value, metric)} {metric.unit_of_change}".rstrip()
    if effect.low is None or effect.high is None:
        return text
    return f"{text} ({signed(effect.low, metric)} to {signed(effect.high, metric)})"


def share_of(attribution: Attribution, effect: Effect) -> float | None:
    """The effect as a share of the whole difference; None where there is no difference."""
    whole = attribution.end - attribution.start
    if effect.share is not None:
        return effect.share
    return effect.value / whole if whole else None


def place_text(place: str) -> str:
    """'cpu, batch 1' for 'cpu/1'."""
    device, _, batch = place.rpartition("/")
    return f"{device}, batch {batch}" if device else place


def stem_of(place: str) -> str:
    """A file name's end: 'cpu_b1' for 'cpu/1'."""
    return place.replace("/", "_b").replace(":", "") if place else "all"


def find(explanation: Explanation, metric: str, place: str | None = None) -> Attribution | None:
    """The first attribution of this metric (at this place, where given)."""
    return next((a for a in explanation.attributions if a.metric == metric and place in (None, a.place)), None)


def is_whole(explanation: Explanation) -> bool:
    """Whether the two have nothing in common that could be swapped by itself: networks of different callables."""
    return list(explanation.factors) == [WHOLE]


def is_own(explanation: Explanation) -> bool:
    """Whether the networks are made by callables, whose training knows nothing of this project's losses."""
    return any("callable" in spec for spec in explanation.specs.values())


def main_place(explanation: Explanation) -> str:
    """The device and batch size of the first attribution of latency; the device at batch 1 where there is none."""
    latency = find(explanation, LOG) or find(explanation, "latency_ms")
    return (latency.place if latency else "") or f"{explanation.device}/1"


def eager(explanation: Explanation) -> ModeResult | None:
    """Both networks as they are built; None where they were not timed so."""
    return next((mode for mode in explanation.modes if mode.mode == "eager"), None)


def ranked(effects: Mapping[str, Effect]) -> list[tuple[str, Effect]]:
    """The largest first, either sign."""
    return sorted(effects.items(), key=lambda item: -abs(item[1].value))
