"""One quantity of two arms, and on which side of a bound it lies: by seeds and images together. No torch.

Seeds and test images both vary, crosswise: a mean over seeds of means over the same images has the variance of both. So the error
that decides is the root of both squares, and it is judged by Student's t with the freedom of the seeds, which is the lesser and so
cautious. Seeds are paired: both arms of one seed see the same batches. Welch's interval, which would not need that, rejects two to
three times too often at the levels that 20 verdicts together leave to each (3 seeds, spreads that differ tenfold, as these do).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import hypot, inf

import numpy as np
from numpy.typing import NDArray

from ablation.report.kit.numbers import count, joined
from ablation.stats import CONFIDENCE, Estimate, mean_estimate, t_quantile
from studies.paper.evidence.evidence import MISSES, MODIFIED, ORIGINAL
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED
from studies.paper.rules.numbers import percent_span, plain, spanned
from studies.paper.rules.verdict import Number

LEAST_SEEDS = 3
BY_SEED = f"the interval over seeds (t, at least {LEAST_SEEDS} seeds, paired by seed)"
WITH_IMAGES = "with the spread over test images in its error"
BONFERRONI = "after Bonferroni's correction"
Array = NDArray[np.float64]
Values = Sequence[float] | Array

# of a few levels and degrees of freedom, asked for again and again
_quantile = lru_cache(maxsize=1024)(t_quantile)


def side(estimate: Estimate, bound: float = 0.0, error: float = MISSES) -> int:
    """1 where the whole interval that misses with the chance `error` lies above the bound, -1 where below, else 0."""
    if estimate.error is None:
        return 0
    reach = _quantile(1 - error / 2, estimate.freedom) * estimate.error if estimate.error else 0.0
    return 1 if estimate.value - reach > bound else -1 if estimate.value + reach < bound else 0


def quotient(upper: Values, lower: Values) -> Estimate:
    """Ratio of two means of paired values with Fieller's interval (1954): all b at which the mean of upper - b lower may be 0.

    Without an interval where the lower mean is not settled away from zero. `error` is the delta method's; the interval is not.

    >>> quotient([1.0, 1.1, 0.9], [2.0, 2.1, 1.9]).value
    0.5
    """
    u, v = (np.asarray(values, dtype=np.float64) for values in (upper, lower))
    mean_u, mean_v, num = float(u.mean()), float(v.mean()), len(u)
    ratio = mean_u / mean_v if mean_v else inf
    if num < 2:
        return Estimate(value=ratio, num=num)
    (uu, uv), (_, vv) = np.cov(u, v) * t_quantile((1 + CONFIDENCE) / 2, num - 1) ** 2 / num
    # (mean_u - b mean_v)^2 = uu - 2 b uv + b^2 vv, a parabola in b that opens upwards where the lower mean is settled
    a, b, c = mean_v**2 - vv, mean_u * mean_v - uv, mean_u**2 - uu
    if a <= 0:
        return Estimate(value=ratio, num=num)
    half = max(b**2 - a * c, 0.0) ** 0.5 / a
    error = float(np.std(u - ratio * v, ddof=1)) / num**0.5 / abs(mean_v)
    return Estimate(value=ratio, error=error, freedom=num - 1, low=float(b / a - half), high=float(b / a + half), num=num)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One quantity of two arms: each mean over the seeds that both have, and the values of their pairs."""

    label: str
    unit: str = ""
    # by seed
    values: tuple[float, ...]
    # of what each is a share, by seed; the quantity is then the ratio of the means
    over: tuple[float, ...] | None = None
    # values by image, averaged over seeds, and of what they are shares
    images: Array | None = None
    images_over: Array | None = None
    # means of the arms, where the quantity is their difference
    first: float | None = None
    second: float | None = None
    arms: tuple[str, str] = (ORIGINAL, MODIFIED)
    source: str = ""
    # chance of a wrong verdict by luck that is allowed
    error: float = MISSES

    @property
    def num_seeds(self) -> int:
        """Seeds that both arms have."""
        return len(self.values)

    @cached_property
    def estimate(self) -> Estimate:
        """Over seeds, with its 95 % interval."""
        return _estimated(self.values, self.over)

    @cached_property
    def by_images(self) -> Estimate | None:
        """Over images, with its 95 % interval."""
        return None if self.images is None else _estimated(self.images, self.images_over)

    def beyond(self, bound: float = 0.0) -> Estimate:
        """The quantity (of a share, its upper part) less the bound (times the lower), with the error of seeds and images."""
        by_seed = _less(self.values, self.over, bound)
        by_image = None if self.images is None else _less(self.images, self.images_over, bound)
        if by_image is None or by_image.error is None or by_seed.error is None:
            return by_seed
        return replace(by_seed, error=hypot(by_seed.error, by_image.error), low=None, high=None)

    def side(self, bound: float = 0.0, comparisons: int = 1) -> int:
        """1 wholly above the bound, -1 wholly below, 0 neither, or too few seeds to tell; corrected for so many comparisons."""
        return self._side(bound, self.error / comparisons, self.error)

    def _side(self, bound: float, error: float, error_of_whole: float) -> int:
        if self.num_seeds < LEAST_SEEDS or not self._has_whole(error_of_whole):
            return 0
        return side(self.beyond(bound), 0.0, error)

    def _has_whole(self, error: float) -> bool:
        """Whether what it is a share of is settled above zero; its comparisons share this one, so it isn't corrected for them."""
        return self.over is None or side(mean_estimate(self.over), 0.0, error) == 1

    def kind(self, wanted: int = 1, bound: float = 0.0, comparisons: int = 1) -> str:
        """The verdict on one of several comparisons that must all lie on the side `wanted`.

        That all of them hold needs no correction; that one of them fails does: it fails only beyond Bonferroni's.
        """
        if self.side(bound) == wanted:
            return HOLDS
        return FAILS if self.side(bound, comparisons) == -wanted else UNDECIDED

    def doubt(self, bound: float = 0.0, comparisons: int = 1) -> str:
        """Why it lies on neither side; empty where it lies on one."""
        if self.side(bound, comparisons):
            return ""
        if self.num_seeds < LEAST_SEEDS:
            return f"{count(self.num_seeds, 'seed')}, and a verdict needs {LEAST_SEEDS}"
        if not self._has_whole(self.error):
            return f"the whole of which {self.label} is a part is not settled above zero"
        if comparisons > 1 and self.side(bound):
            return f"{self.label} lies beyond the bound, but not after Bonferroni's correction for {comparisons} comparisons"
        if self._side(bound, MISSES, MISSES):
            return f"{self.label} is settled alone, but not with all verdicts together"
        images = "with the spread over images, " if side(_less(self.values, self.over, bound)) else ""
        return f"{images}the interval of {self.label} includes {'zero' if bound == 0 else f'{bound:g}'}"

    @property
    def share_text(self) -> str:
        """'25.1 % (23.8 to 26.3)' of a share."""
        return percent_span(self.estimate.value, self.estimate.low, self.estimate.high)

    @property
    def change_text(self) -> str:
        """'−0.0998 (−0.1053 to −0.0943)' of a difference."""
        return spanned(self.estimate.value, self.estimate.low, self.estimate.high, signed=True)

    @property
    def text(self) -> str:
        """'SSIM 0.700 against 0.600, −0.0998 (−0.1053 to −0.0943)'; the interval over images stands among the numbers."""
        ends = "" if self.first is None or self.second is None else f" {plain(self.first)} against {plain(self.second)},"
        return f"{self.label}{ends} {self.change_text} {self.unit}".rstrip()

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Both means, the estimate over seeds and the one over images."""
        means = zip(self.arms, (self.first, self.second), strict=True)
        ends = ((name, Estimate(value=mean)) for name, mean in means if mean is not None)
        every = [*ends, (f"over {count(self.num_seeds, 'seed')}", self.estimate), ("over images", self.by_images)]
        return tuple(Number.of(f"{self.label}, {name}", e, self.source, self.unit) for name, e in every if e is not None)


def _estimated(values: Values, over: Values | None) -> Estimate:
    return mean_estimate(values) if over is None else quotient(values, over)


def _less(values: Values, over: Values | None, bound: float) -> Estimate:
    return mean_estimate(np.asarray(values) - bound * (1.0 if over is None else np.asarray(over)))


def settled(*compared: Compared, wanted: int = 1, bound: float = 0.0, comparisons: int = 1) -> str:
    """' Not settled: ...' with the reason for each whose verdict is open (`Compared.kind`); empty where none is."""
    open_ = [c for c in compared if c.kind(wanted, bound, comparisons) == UNDECIDED]
    reasons = dict.fromkeys(c.doubt(bound, comparisons) for c in open_)
    return f" Not settled: {joined(reasons)}." if reasons else ""


def listed(*compared: Compared) -> str:
    """'`original` against `modified`, 3 seeds: SSIM ...; PSNR ....': what a conclusion rests on."""
    seeds = count(min(c.num_seeds for c in compared), "seed")
    names = " against ".join(dict.fromkeys(f"`{arm}`" for arm in compared[0].arms))
    return f"{names}, {seeds}: {'; '.join(c.text for c in compared)}."


def numbers_of(compared: Iterable[Compared]) -> tuple[Number, ...]:
    """The numbers of all of them."""
    return tuple(number for c in compared for number in c.numbers)
