"""One quantity of two arms, and on which side of a bound it lies: by seeds and images together. No torch.

Seeds and test images both vary, crosswise: a mean over seeds of means over the same images has the variance of both. So the error
that decides is the root of both squares, and it is judged by Student's t with the freedom of the seeds, which is the lesser and so
cautious. Seeds are paired: both arms of one seed see the same batches. Welch's interval, which would not need that, rejects two to
three times too often at the levels that 20 verdicts together leave to each (3 seeds, spreads that differ tenfold, as these do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import hypot, inf

import numpy as np
from numpy.typing import NDArray

from ablation.stats import CONFIDENCE, Estimate, mean_estimate, t_quantile
from studies.paper.evidence.evidence import MISSES, MODIFIED, ORIGINAL
from studies.paper.rules.verdict import FAILS, HOLDS, UNDECIDED, Number, plain, spanned

LEAST_SEEDS = 3
Array = NDArray[np.float64]


def side(found: Estimate, bound: float = 0.0, error: float = MISSES) -> int:
    """1 where the whole interval that misses with the chance `error` lies above the bound, -1 where below, else 0."""
    if found.error is None:
        return 0
    reach = _quantile(1 - error / 2, found.freedom) * found.error if found.error else 0.0
    return 1 if found.value - reach > bound else -1 if found.value + reach < bound else 0


# of a few levels and degrees of freedom, asked for again and again
_quantile = lru_cache(maxsize=1024)(t_quantile)


def quotient(upper: Sequence[float] | Array, lower: Sequence[float] | Array, confidence: float = CONFIDENCE) -> Estimate:
    """Ratio of two means of paired values with Fieller's interval (1954): all b at which the mean of upper - b lower may be 0.

    Without an interval where the lower mean is not settled away from zero. `error` is the delta method's; the interval is not.

    >>> quotient([1.0, 1.1, 0.9], [2.0, 2.1, 1.9]).value
    0.5
    """
    u, v = (np.asarray(values, dtype=np.float64) for values in (upper, lower))
    mean_u, mean_v = float(u.mean()), float(v.mean())
    num = len(u)
    ratio = mean_u / mean_v if mean_v else inf
    if num < 2:
        return Estimate(value=ratio, num=num)
    (uu, uv), (_, vv) = np.cov(u, v) * t_quantile((1 + confidence) / 2, num - 1) ** 2 / num
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
        by_seed, by_image = _less(self.values, self.over, bound), _less(self.images, self.images_over, bound)
        assert by_seed is not None
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
            return f"{seeds_text(self.num_seeds)}, and a verdict needs {LEAST_SEEDS}"
        if not self._has_whole(self.error):
            return f"the whole of which {self.label} is a part is not settled above zero"
        if comparisons > 1 and self.side(bound):
            return f"{self.label} lies beyond the bound, but not after Bonferroni's correction for {comparisons} comparisons"
        if self._side(bound, MISSES, MISSES):
            return f"{self.label} is settled alone, but not with all verdicts together"
        where = "zero" if bound == 0 else f"{bound:g}"
        if side(_less(self.values, self.over, bound) or self.estimate, 0.0, MISSES):
            return f"with the spread over images, the interval of {self.label} includes {where}"
        return f"the interval of {self.label} includes {where}"

    @property
    def text(self) -> str:
        """'SSIM 0.700 against 0.600, −0.0998 (−0.1053 to −0.0943)'; the interval over images stands among the numbers."""
        ends = "" if self.first is None or self.second is None else f" {plain(self.first)} against {plain(self.second)},"
        e = self.estimate
        return f"{self.label}{ends} {spanned(e.value, e.low, e.high, signed=True)} {self.unit}".rstrip()

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Both means, the estimate over seeds and the one over images."""
        found = [
            Number(name=f"{self.label}, {name}", value=value, unit=self.unit, source=self.source)
            for name, value in zip(self.arms, (self.first, self.second), strict=True)
            if value is not None
        ]
        for name, e in ((f"over {seeds_text(self.num_seeds)}", self.estimate), ("over images", self.by_images)):
            if e is not None:
                found.append(Number(
                    name=f"{self.label}, {name}", value=e.value, low=e.low, high=e.high, unit=self.unit, source=self.source
                ))  # fmt: skip
        return tuple(found)


def _estimated(values: Sequence[float] | Array, over: Sequence[float] | Array | None) -> Estimate:
    return mean_estimate(values) if over is None else quotient(values, over)


def _less(values: Sequence[float] | Array | None, over: Sequence[float] | Array | None, bound: float) -> Estimate | None:
    if values is None:
        return None
    return mean_estimate(np.asarray(values) - bound * (1.0 if over is None else np.asarray(over)))


def seeds_text(count: int) -> str:
    """'1 seed', '3 seeds'."""
    return counted(count, "seed")


def counted(count: object, what: str) -> str:
    """'1 epoch', '3 epochs'."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
