"""What the confirmation of a search stores: fresh seeds and sittings, verdicts, the effect of each swap. Plain values, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablation.record.attribution import Effect

# verdicts on an axis
BETTER, WORSE, UNSETTLED = "better", "worse", "not settled"
# metrics of verdicts; FASTEST: latency of each network in its own fastest mode
PARAMS, MACS, LATENCY, FASTEST, LOSS, TEST_LOSS = "params", "macs", "latency", "fastest", "loss", "test_loss"
RATIOS = (LATENCY, FASTEST)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one network at one place, eager, as deployed."""

    # by the latency model, before anything ran
    predicted_ms: float | None = None
    # median, measured
    ms: float | None = None
    # measured, over the reference in the same sittings; its 95 % interval over sittings, None with too few of them
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    sittings: int | None = None


@dataclass(frozen=True, kw_only=True)
class FastestMode:
    """The quickest way of running one network at one place, of all that were tried."""

    # "OpenVINO", "compiled + channels_last", ...
    mode: str
    ms: float
    # over the reference in the reference's own fastest mode
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


WAITS = "not trained yet"  # reason of a seed, without which no loss is settled


@dataclass(frozen=True, kw_only=True)
class SeedLoss:
    """One training with one fresh seed."""

    seed: int
    # at the best epoch; None where it was not finite or the training failed
    validation: float | None = None
    test: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One network in the confirmation: the reference, or a network of the front."""

    # None of the reference
    number: int | None = None
    label: str
    key: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    # learning rate, as written -> validation loss in the sweep; None where it diverged
    rates: Mapping[str, float | None] = field(default_factory=dict)
    # the one that was chosen
    rate: str = ""
    # one seed, from the search
    search_loss: float | None = None
    seeds: tuple[SeedLoss, ...] = ()
    params: int | None = None
    deployed_params: int | None = None
    macs: int | None = None
    latency: Mapping[str, Timing] = field(default_factory=dict)
    # place -> its fastest mode
    fastest: Mapping[str, FastestMode] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One network against the reference on one axis."""

    number: int
    # PARAMS, MACS, LATENCY, FASTEST, LOSS or TEST_LOSS
    metric: str
    # of LATENCY and FASTEST
    place: str = ""
    # means, in native units (parameters, ms, loss)
    reference: float | None = None
    value: float | None = None
    # value minus reference; of RATIOS value over reference
    effect: float | None = None
    # 95 % interval of the effect; None where it is counted, or rests on too little
    low: float | None = None
    high: float | None = None
    # two-sided; None where counted or unknown
    p: float | None = None
    # corrected for all verdicts of the confirmation
    corrected_p: float | None = None
    # BETTER, WORSE or UNSETTLED
    verdict: str = UNSETTLED
    # seeds or sittings that it rests on, and which of the two; empty where counted
    num: int | None = None
    of: str = ""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Reference and best of the front, trained by the full protocol with fresh seeds and timed in fresh sittings."""

    # in words, one sentence each: images, size; epochs, seeds, rates of the sweep
    data: str = ""
    protocol: str = ""
    # sittings and threads of the fresh timing
    timing: str = ""
    # how several verdicts at once were corrected for
    corrected: str = ""
    reference: Confirmed
    networks: tuple[Confirmed, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    def network(self, number: int | None) -> Confirmed | None:
        """The confirmed network that was this proposal; None where it was not confirmed."""
        return next((n for n in self.networks if n.number == number), None) if number is not None else None

    def of(self, number: int) -> tuple[Verdict, ...]:
        """The verdicts on one network."""
        return tuple(v for v in self.verdicts if v.number == number)


@dataclass(frozen=True, kw_only=True)
class Undone:
    """What the winner turns into where one of its differences from the reference is undone alone."""

    factor: str
    # its level in the reference, to which it is set back, and in the winner
    reference: str
    winner: str
    # changes against the winner: a positive one is what the swap had saved
    params: int | None = None
    macs: int | None = None
    # of the validation loss; `num` seeds
    loss: Effect | None = None
    # place -> latency over the winner's, a ratio
    latency: Mapping[str, Effect] = field(default_factory=dict)
    # why it can't be undone alone
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of a network's drawing."""

    # "encoder 2"
    name: str
    # what it is, in words: "2 x 3x3 convolution, halved by pixel unshuffle"
    text: str
    # C, H, W or the length of a vector, of what leaves it
    shape: tuple[int, ...]
    params: int = 0
