"""What `explain` measures of two networks, as plain values: every number that its page, plots and CSV files show. No torch.

Written by `ablation.record.convert.to_plain`, read by `ablation.record.stored.explanation_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablation.record.attribution import Attribution

VERSION = 2
Ends = tuple[float | None, float | None]


WHOLE = "whole network"  # the only factor of networks that have nothing in common; no argument can be called so
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
    # of the CPU, as a runtime said that it uses
    num_threads: int | None = None
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

    @property
    def interval(self) -> Ends:
        """The 95 % interval of the ratio; (None, None) where there is none."""
        return self.ratio_low, self.ratio_high


@dataclass(frozen=True, kw_only=True)
class RuntimeShare:
    """One class of operation inside a runtime, by the runtime's own profiler: of the operations that it made of the network's."""

    # "openvino"
    runtime: str
    # "first" or "second"
    network: str
    kind: str
    ms: float
    # of all that the profiler saw
    share: float
    num_ops: int


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

    @property
    def rank(self) -> tuple[int, float]:
        """What remedies are sorted by: what they keep, networks to be trained last; then the larger gain."""
        kept = KEEPS.index(self.keeps) if self.keeps in KEEPS else 0
        return len(KEEPS) if self.max_error is None else kept, -self.gain


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that was measured."""

    # names, e.g. "original" and "modified"
    first: str
    second: str
    specs: Mapping[str, Mapping[str, Any]]
    # name -> a StaticCost as plain values
    costs: Mapping[str, Mapping[str, Any]]
    # factor -> (level in the first, level in the second)
    factors: Mapping[str, tuple[str, str]]
    # (combination, reason)
    impossible: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"
    attributions: tuple[Attribution, ...] = ()
    modes: tuple[ModeResult, ...] = ()
    runtime_shares: tuple[RuntimeShare, ...] = ()
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
