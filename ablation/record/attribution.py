"""What one quantity's difference between two networks is made of: effects of the factors in which they differ. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ablation.stats import SETTLED

EXACT = "exact"
# metrics that are timed, and those that come from training
TIMED, TRAINED = ("latency_ms", "log_latency"), ("loss", "ssim", "psnr")


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
    # of a metric that a user's own training gives: what it is called, and how many digits are shown
    label: str = ""
    digits: int = 0

    @property
    def counted(self) -> bool:
        """Whether it is counted, not measured."""
        return all(effect.verdict == EXACT for effect in self.shapley.values())

    @property
    def trained(self) -> bool:
        """Whether it comes from training."""
        return self.metric in TRAINED or bool(self.label)

    @property
    def sampled(self) -> bool:
        """Whether its Shapley values are estimated from a sample of orderings."""
        return any(effect.of == "blocks" for effect in self.shapley.values()) or self._sampled_earlier

    @property
    def kind(self) -> str:
        """'exact' of counts, 'measured', or 'estimated' from a sample of orderings."""
        return EXACT if self.counted else "estimated" if self.sampled else "measured"

    @property
    def _sampled_earlier(self) -> bool:
        """The same of version 1, which did not name it: latency without interactions, from a part of the variants."""
        timed = self.metric in TIMED and len(self.shapley) > 1
        return timed and not self.interactions and self.num_variants < self.num_possible
