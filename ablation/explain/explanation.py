"""What `explain` found about two networks, as plain values: every number that its page, plots and CSV files show. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

INTERVAL_ROUNDS = 6
# from which least and most of them hold the median in more than 95 of 100 cases: 1 - 2 ** (1 - 6)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One signed quantity in native units, with its 95 % interval where it was measured rather than counted."""

    value: float
    low: float | None = None
    high: float | None = None
    share: float | None = None
    # of the whole difference
    verdict: str = "exact"
    # "exact", "significant", "within noise" (inside the A/A floor) or "not settled"
    needed: int | None = None
    # rounds or seeds that would settle it, where it isn't


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """One quantity's difference between two networks, given to the factors in which they differ."""

    metric: str
    # params, macs, elements_written, bytes_moved, num_ops, latency_ms, log_latency, peak_bytes, loss, ssim, psnr
    place: str = ""
    # "cpu/1" for what depends on device and batch size
    unit: str = ""
    start: float
    end: float
    # of the first and the second network
    shapley: Mapping[str, Effect]
    from_start: Mapping[str, Effect]
    # main effect of each factor alone, swapped in the first network
    from_end: Mapping[str, Effect]
    # main effect of each factor, its swap undone in the second network
    interactions: Mapping[str, Effect]
    # "a + b" -> Shapley interaction index of a pair
    path: tuple[tuple[str, float], ...]
    # greedy: factor swapped, value after it
    residual: float
    # (end - start) minus the sum of the Shapley values
    num_variants: int
    num_possible: int
    # of the full factorial
    corrected: str = ""
    # how several comparisons at once were corrected for


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """Both networks under one way of running them."""

    mode: str
    # "eager", "inference only", "channels_last", "bf16", "folded", "no concatenation", "compiled", "CUDA graph", "a + b"
    text: str
    # what it does, in one sentence
    first_ms: float | None = None
    second_ms: float | None = None
    ratio: float | None = None
    # second over first, in this mode
    ratio_low: float | None = None
    ratio_high: float | None = None
    first_gain: float | None = None
    # eager over this mode
    second_gain: float | None = None
    second_gain_low: float | None = None
    second_gain_high: float | None = None
    max_error: float | None = None
    # of the second network's outputs from its eager ones, beside whose gain it stands
    first_max_error: float | None = None
    prepare_s: float | None = None
    # compile, autotune, capture
    reason: str = ""
    # why it could not be used here; empty otherwise


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """Both networks at one batch size. `ratio_low` and `ratio_high` are the ends of a 95 % interval from INTERVAL_ROUNDS on."""

    batch_size: int
    first_ms: float | None = None
    second_ms: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    first_enqueue_ms: float | None = None
    second_enqueue_ms: float | None = None
    # CUDA only
    rounds: int | None = None
    reason: str = ""

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of the ratio; (None, None) where there were too few rounds for one, or nobody noted how many."""
        enough = self.rounds is not None and self.rounds >= INTERVAL_ROUNDS
        return (self.ratio_low, self.ratio_high) if enough else (None, None)


@dataclass(frozen=True, kw_only=True)
class Share:
    """One class of operation (or part, or block) of one network."""

    name: str
    ms: float
    num_ops: int = 0
    macs: int = 0
    bytes_moved: int = 0
    bytes_bound_ms: float | None = None
    # bytes over the machine's own bandwidth
    macs_bound_ms: float | None = None
    # multiply-accumulates over the machine's own rate
    limited_by: str = ""
    # "bytes", "macs" or "calls": which bound is the largest
    efficiency: float | None = None
    # largest bound over ms: 1 is at the limit


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """Where the eager latency of one network goes; classes + host + gaps + residual add up to total_ms."""

    name: str
    place: str
    total_ms: float
    # uninstrumented
    by_class: tuple[Share, ...]
    by_part: tuple[Share, ...]
    by_block: tuple[Share, ...]
    host_ms: float = 0.0
    # launches and Python: on CUDA eager minus graph replay, on the CPU calibrated cost of a call times calls
    gaps_ms: float = 0.0
    residual_ms: float = 0.0
    # what could not be placed
    explained: float = 0.0
    # share of total_ms that was placed
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What this machine can do, measured by itself."""

    place: str
    bandwidth_gb_s: float
    macs_per_s: float
    call_us: float
    # one small operation
    threads: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GuidelinePoint:
    """One measured point of a guideline's experiment."""

    setting: str
    ms: float
    relative: float
    # to the experiment's first setting, everything that the guideline holds fixed being equal
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Guideline:
    """One of ShuffleNet V2's four guidelines as a small experiment on this machine (Ma et al. 2018, section 2)."""

    name: str
    # "G1" to "G4"
    claim: str
    held_fixed: str
    points: tuple[GuidelinePoint, ...]
    verdict: str
    # "holds here", "does not hold here", "undecided"


@dataclass(frozen=True, kw_only=True)
class Control:
    """A plain model cut to the same parameters, or to the same multiply-accumulates, as the second network."""

    name: str
    label: str
    spec: Mapping[str, Any]
    params: int
    macs: int
    median_ms: float | None = None
    ratio: float | None = None
    # to the first network
    ratio_low: float | None = None
    ratio_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Something to do about it, with its measured gain for the second network."""

    name: str
    text: str
    code: str
    # to be pasted, or the spec to train
    gain: float
    gain_low: float | None = None
    gain_high: float | None = None
    max_error: float | None = None
    # None: another network, which must be trained


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that was found."""

    first: str
    second: str
    # names, e.g. "original" and "modified"
    specs: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Mapping[str, Any]]
    # name -> StaticCost.to_dict()
    factors: Mapping[str, tuple[str, str]]
    # factor -> (level in the first, level in the second)
    impossible: tuple[tuple[str, str], ...] = ()
    # (combination, reason)
    device: str = "cpu"
    attributions: tuple[Attribution, ...] = ()
    modes: tuple[ModeResult, ...] = ()
    sweep: tuple[SweepPoint, ...] = ()
    knee: Mapping[str, int | None] = field(default_factory=dict)
    # name -> batch size from which time grows in proportion to the batch
    decompositions: tuple[Decomposition, ...] = ()
    calibration: Calibration | None = None
    guidelines: tuple[Guideline, ...] = ()
    controls: tuple[Control, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # place -> ratio, low, high of one network against itself
    limits: tuple[str, ...] = ()
    # what was not measured, or only coarsely, and why
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Explanation:
        """The inverse of `to_dict`, also after a trip through JSON."""
        plain = dict(values)
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


def attribution_of(values: Mapping[str, Any]) -> Attribution:
    """An attribution from plain values, also after a trip through JSON."""
    groups = ("shapley", "from_start", "from_end", "interactions")
    effects = {group: {name: Effect(**effect) for name, effect in values[group].items()} for group in groups}
    return Attribution(**{**values, **effects, "path": tuple((factor, value) for factor, value in values["path"])})


def _decomposition(values: Mapping[str, Any]) -> Decomposition:
    shares = {group: tuple(Share(**share) for share in values[group]) for group in ("by_class", "by_part", "by_block")}
    return Decomposition(**{**values, **shares, "notes": tuple(values["notes"])})
