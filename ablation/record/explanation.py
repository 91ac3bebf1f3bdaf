"""What `explain` found about two networks, as plain values: every number that its page, plots and CSV files show. No torch here.

Explanations of version 1 took their 95 % intervals of latency from the rounds of one sitting, which cover too seldom: they are read
without those intervals, and without the verdicts that rested on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ablation.stats import OPEN, SETTLED

VERSION = 2
EXACT = "exact"
# metrics that are timed, and those that come from training
TIMED, TRAINED = ("latency_ms", "log_latency"), ("loss", "ssim", "psnr")
Ends = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One signed quantity in native units, with its 95 % interval where it was measured rather than counted."""

    value: float
    low: float | None = None
    high: float | None = None
    # of the whole difference
    share: float | None = None
    # EXACT (counted), or of `ablation.stats`: SETTLED, NOISE (the interval is inside the A/A floor) or OPEN
    verdict: str = EXACT
    # repetitions that would settle it, where it isn't
    needed: int | None = None
    # repetitions that it rests on, and what they are: "sittings", "blocks" or "seeds"
    num: int | None = None
    of: str = ""

    @property
    def sure(self) -> bool:
        """Whether it is counted or settled."""
        return self.verdict in (EXACT, SETTLED)


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """One quantity's difference between two networks, given to the factors in which they differ."""

    # params, macs, elements_written, bytes_moved, num_ops, latency_ms, log_latency, peak_bytes, loss, ssim, psnr
    metric: str
    # "cpu/1" for what depends on device and batch size
    place: str = ""
    unit: str = ""
    # of the first and the second network
    start: float
    end: float
    shapley: Mapping[str, Effect]
    # each factor's swap as the only one, in the first network
    from_start: Mapping[str, Effect]
    # each factor's swap as the last one, which makes the second network; undoing it changes as much the other way
    from_end: Mapping[str, Effect]
    # "a + b" -> Shapley interaction index of a pair
    interactions: Mapping[str, Effect]
    # greedy: factor swapped, value after it; empty where not all variants have a value
    path: tuple[tuple[str, float], ...]
    # (end - start) minus the sum of the Shapley values
    residual: float
    # of the full factorial
    num_variants: int
    num_possible: int
    # how several comparisons at once were corrected for
    corrected: str = ""

    @property
    def counted(self) -> bool:
        """Whether it is counted, not measured."""
        return all(effect.verdict == EXACT for effect in self.shapley.values())

    @property
    def sampled(self) -> bool:
        """Whether its Shapley values are estimated from a sample of orderings."""
        return any(effect.of == "blocks" for effect in self.shapley.values()) or _sampled(self)

    @property
    def kind(self) -> str:
        """'exact' of counts, 'measured', or 'estimated' from a sample of orderings."""
        return EXACT if self.counted else "estimated" if self.sampled else "measured"


def _sampled(a: Attribution) -> bool:
    """The same of version 1, which did not name it: latency without interactions, from a part of the variants."""
    return a.metric in TIMED and len(a.shapley) > 1 and not a.interactions and a.num_variants < a.num_possible


# what a way of running keeps: the function to rounding, the function in fewer digits, or neither
SAME, REDUCED, OTHER = "the same function", "reduced precision", "another function"
KEEPS = (SAME, REDUCED, OTHER)


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """Both networks under one way of running them."""

    # "eager", "inference only", "channels_last", "bf16", "folded", "no concatenation", "compiled", "CUDA graph", "a + b"
    mode: str
    # what it does, in one sentence
    text: str
    first_ms: float | None = None
    second_ms: float | None = None
    # second over first, in this mode
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    # eager over this mode
    first_gain: float | None = None
    second_gain: float | None = None
    second_gain_low: float | None = None
    second_gain_high: float | None = None
    # of the second network's outputs from its eager ones, beside whose gain it stands
    max_error: float | None = None
    first_max_error: float | None = None
    # compile, autotune, capture
    prepare_s: float | None = None
    # why it could not be used here; empty otherwise
    reason: str = ""
    # of all sittings together; sittings that an interval rests on
    rounds: int | None = None
    sittings: int | None = None
    # what it keeps of the network: one of KEEPS; empty where an earlier version did not store it
    keeps: str = ""
    # of `ablation.stats`, beyond the A/A floor: whether the ratio differs from 1, and the second's gain, corrected over all modes
    ratio_verdict: str = ""
    gain_verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """Both networks at one batch size."""

    batch_size: int
    first_ms: float | None = None
    second_ms: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    # CUDA only
    first_enqueue_ms: float | None = None
    second_enqueue_ms: float | None = None
    # of all sittings together; sittings that an interval rests on
    rounds: int | None = None
    sittings: int | None = None
    reason: str = ""
    # where the numbers are from, if not from the sweep itself
    source: str = ""

    @property
    def interval(self) -> Ends:
        """The 95 % interval of the ratio; (None, None) where there were too few sittings for one, or nobody noted how many."""
        return (self.ratio_low, self.ratio_high) if self.sittings else (None, None)


# of a share's time that a bound must be, to be called its limit
LIMITING = 0.5


@dataclass(frozen=True, kw_only=True)
class Share:
    """One class of operation (or part, or block) of one network."""

    name: str
    ms: float
    num_ops: int = 0
    macs: int = 0
    bytes_moved: int = 0
    # bytes over the machine's own bandwidth
    bytes_bound_ms: float | None = None
    # multiply-accumulates over the machine's own rate
    macs_bound_ms: float | None = None
    # "bytes", "macs" or "calls": which bound is the largest; how near it is tells whether it limits
    limited_by: str = ""
    # largest bound over ms: 1 is at the limit
    efficiency: float | None = None

    @property
    def limit(self) -> str:
        """The bound that limits it, which is LIMITING of its time at least; empty where none is so near."""
        return self.limited_by if self.efficiency is not None and self.efficiency >= LIMITING else ""

    @property
    def bandwidth_gb_s(self) -> float | None:
        """The bandwidth that its bound was made with: of copies that move as much as one of its operations."""
        return self.bytes_moved / self.bytes_bound_ms / 1e6 if self.bytes_bound_ms else None


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """Where the eager latency of one network goes; classes + host + gaps + residual add up to total_ms."""

    name: str
    place: str
    # uninstrumented
    total_ms: float
    by_class: tuple[Share, ...]
    by_part: tuple[Share, ...]
    by_block: tuple[Share, ...]
    # launches and Python: on CUDA eager minus graph replay, on the CPU calibrated cost of a call times calls
    host_ms: float = 0.0
    gaps_ms: float = 0.0
    # unexplained
    residual_ms: float = 0.0
    # share of total_ms that is explained
    explained: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What this machine can do, measured by itself."""

    place: str
    bandwidth_gb_s: float
    macs_per_s: float
    # one small operation
    call_us: float
    threads: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GuidelinePoint:
    """One measured point of a guideline's experiment."""

    setting: str
    ms: float
    # to the experiment's first setting, everything that the guideline holds fixed being equal
    relative: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Guideline:
    """One of ShuffleNet V2's four guidelines as a small experiment on this machine (Ma et al. 2018, section 2)."""

    # "G1" to "G4"
    name: str
    claim: str
    held_fixed: str
    points: tuple[GuidelinePoint, ...]
    # "holds here", "does not hold here", "undecided"
    verdict: str
    # of all sittings together; sittings that an interval rests on
    rounds: int | None = None
    sittings: int | None = None


@dataclass(frozen=True, kw_only=True)
class Control:
    """A plain model cut to the same parameters, or to the same multiply-accumulates, as the second network."""

    name: str
    label: str
    spec: Mapping[str, Any]
    params: int
    macs: int
    median_ms: float | None = None
    # to the first network
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    rounds: int | None = None
    sittings: int | None = None


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Something to do about it, with its measured gain for the second network."""

    name: str
    text: str
    # to be pasted, or the spec to train
    code: str
    gain: float
    gain_low: float | None = None
    gain_high: float | None = None
    # None: another network, which must be trained
    max_error: float | None = None
    # as of the mode
    keeps: str = ""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that was found."""

    # names, e.g. "original" and "modified"
    first: str
    second: str
    specs: Mapping[str, Mapping[str, Any]]
    # name -> StaticCost.to_dict()
    costs: Mapping[str, Mapping[str, Any]]
    # factor -> (level in the first, level in the second)
    factors: Mapping[str, tuple[str, str]]
    # (combination, reason)
    impossible: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"
    attributions: tuple[Attribution, ...] = ()
    modes: tuple[ModeResult, ...] = ()
    sweep: tuple[SweepPoint, ...] = ()
    # name -> batch size from which time grows in proportion to the batch
    knee: Mapping[str, int | None] = field(default_factory=dict)
    decompositions: tuple[Decomposition, ...] = ()
    calibration: Calibration | None = None
    guidelines: tuple[Guideline, ...] = ()
    controls: tuple[Control, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    # place -> ratio, low, high of one network against a second copy of itself
    noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # what was not measured, or only coarsely, and why
    limits: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Explanation:
        """The inverse of `to_dict`, also after a trip through JSON; one of version 1 loses the intervals of its latencies."""
        plain = {**values, "version": values.get("version", 1)}
        if plain["version"] < VERSION:
            plain |= _without_intervals(values)
            values = plain
        plain["attributions"] = tuple(attribution_of(v) for v in values["attributions"])
        plain["modes"] = tuple(ModeResult(**v) for v in values["modes"])
        plain["sweep"] = tuple(SweepPoint(**v) for v in values["sweep"])
        plain["decompositions"] = tuple(_decomposition(v) for v in values["decompositions"])
        plain["calibration"] = Calibration(**values["calibration"]) if values["calibration"] else None
        plain["guidelines"] = tuple(
            Guideline(**{**v, "points": tuple(GuidelinePoint(**p) for p in v["points"])}) for v in values["guidelines"]
        )
        plain["controls"] = tuple(Control(**v) for v in values["controls"])
        plain["remedies"] = tuple(Remedy(**v) for v in values["remedies"])
        plain["factors"] = {name: (pair[0], pair[1]) for name, pair in values["factors"].items()}
        plain["impossible"] = tuple((pair[0], pair[1]) for pair in values["impossible"])
        plain["limits"] = tuple(values["limits"])
        return cls(**plain)


def _without_intervals(values: Mapping[str, Any]) -> dict[str, Any]:
    """The lists of timed numbers of version 1 without the ends of their intervals, and with what their modes keep."""
    ends = {"modes": ("ratio", "second_gain"), "sweep": ("ratio",), "controls": ("ratio",), "remedies": ("gain",)}
    bare = {
        name: [{**v, **{f"{field}_{end}": None for field in fields for end in ("low", "high")}} for v in values[name]]
        for name, fields in ends.items()
    }
    for kind, name in (("modes", "mode"), ("remedies", "name")):
        bare[kind] = [{**v, "keeps": _keeps(v[name]) if v["max_error"] is not None else ""} for v in bare[kind]]
    points = [[{**p, "low": None, "high": None} for p in g["points"]] for g in values["guidelines"]]
    undecided = [{**g, "points": p, "verdict": "undecided"} for g, p in zip(values["guidelines"], points, strict=True)]
    return {**bare, "guidelines": undecided}


def _keeps(mode: str) -> str:
    """What a mode of version 1 keeps, by its name."""
    return OTHER if "inference only" in mode else REDUCED if "bf16" in mode else SAME


def attribution_of(values: Mapping[str, Any]) -> Attribution:
    """An attribution from plain values, also after a trip through JSON."""
    groups = ("shapley", "from_start", "from_end", "interactions")
    timed = values["metric"] in TIMED
    effects = {group: {name: _effect(effect, timed) for name, effect in values[group].items()} for group in groups}
    found = Attribution(**{**values, **effects, "path": tuple((factor, value) for factor, value in values["path"])})
    if timed and found.corrected and not any(e.num for e in found.shapley.values()):
        found = replace(found, corrected="")
    return replace(found, path=()) if found.sampled else found


def _effect(values: Mapping[str, Any], timed: bool) -> Effect:
    """An effect; of version 1, which did not store how many repetitions it rests on, what still stands of it."""
    if "num" in values or values["verdict"] == EXACT:
        return Effect(**values)
    if timed:
        return Effect(value=values["value"], share=values["share"], verdict=OPEN)
    return Effect(**{**values, "verdict": SETTLED if values["verdict"] == "significant" else values["verdict"]})


def _decomposition(values: Mapping[str, Any]) -> Decomposition:
    shares = {group: tuple(Share(**share) for share in values[group]) for group in ("by_class", "by_part", "by_block")}
    return Decomposition(**{**values, **shares, "notes": tuple(values["notes"])})
