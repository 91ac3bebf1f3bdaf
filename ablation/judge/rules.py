"""What most rules are made of: a quantity of two arms, paired by seed and by image, and on which side of a bound it lies. No torch.

A number counts as above (below) a bound only when its whole 95 % interval by Student's t over at least LEAST_SEEDS seeds does and,
where the trials hold a value for every image, the bootstrap interval over images does too: the same images for both arms, averaged
over seeds first. Everything else is on neither side, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablation.judge.evidence import MODIFIED, ORIGINAL, Estimate, Evidence, Trial, estimate
from ablation.judge.verdict import KINDS, UNDECIDED, Lacking, Number, from_side, joined, plain, spanned
from ablation.record import COMPLETE
from ablation.stats import Interval, bootstrap_mean, t_quantile

LEAST_SEEDS = 3
BY_SEED = f"the 95 % interval over seeds (t, at least {LEAST_SEEDS} seeds, paired by seed)"
WITH_IMAGES = "the paired bootstrap over test images agrees"
MISSES = 0.05
# of a refutation, over all comparisons of a claim
BONFERRONI = "after Bonferroni's correction over seeds"
Q = "analysis.quality.reporting"
PAPER_SCALE: Mapping[str, object] = {
    "data": "celeba",
    "image_size": 144,
    "num_images": 20_000,
    "epochs": 10,
    "width": "the paper's",
}
PAPER = "CelebA (20,000 images), 144 px, 10 epochs, full width"

Array = NDArray[np.float64]
Value = Callable[[Trial], float | None]
Pair = Callable[[Trial, Trial], float | None]
# of one seed's two trials
Images = Callable[[Trial, Trial], Array | None]
# of one seed's two trials -> one number for each image, whose mean is the quantity


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One quantity of two arms: each mean over the seeds that both have, and what was estimated of their pairs."""

    label: str
    unit: str = ""
    estimate: Estimate
    images: Interval | None = None
    first: float | None = None
    second: float | None = None
    # means of the arms, where the quantity is their difference
    arms: tuple[str, str] = (ORIGINAL, MODIFIED)
    source: str = ""

    @property
    def num_seeds(self) -> int:
        """Seeds that both arms have."""
        return self.estimate.num_seeds

    def side(self, bound: float = 0.0) -> int:
        """1 wholly above the bound, -1 wholly below, 0 neither, or too few seeds to tell."""
        if self.num_seeds < LEAST_SEEDS:
            return 0
        over_seeds = side_of(self.estimate.low, self.estimate.high, bound)
        return over_seeds if self.images is None or side_of(self.images.low, self.images.high, bound) == over_seeds else 0

    def doubt(self, bound: float = 0.0) -> str:
        """Why it lies on neither side; empty where it lies on one."""
        if self.side(bound):
            return ""
        if self.num_seeds < LEAST_SEEDS:
            return f"{seeds_text(self.num_seeds)}, and a verdict needs {LEAST_SEEDS}"
        where = "zero" if bound == 0 else f"{bound:g}"
        if side_of(self.estimate.low, self.estimate.high, bound):
            return f"the bootstrap over images does not agree on {self.label}"
        return f"the interval of {self.label} includes {where}"

    @property
    def text(self) -> str:
        """'SSIM 0.700 against 0.600, −0.0998 (−0.1053 to −0.0943)'; the interval over images stands among the numbers."""
        ends = "" if self.first is None or self.second is None else f" {plain(self.first)} against {plain(self.second)},"
        e = self.estimate
        return f"{self.label}{ends} {spanned(e.mean, e.low, e.high, signed=True)} {self.unit}".rstrip()

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Both means, the estimate over seeds and the one over images."""
        found = [
            Number(name=f"{self.label}, {name}", value=value, unit=self.unit, source=self.source)
            for name, value in zip(self.arms, (self.first, self.second), strict=True)
            if value is not None
        ]
        for name, e in ((f"over {seeds_text(self.num_seeds)}", self.estimate), ("over images", self.images)):
            if e is not None:
                found.append(Number(
                    name=f"{self.label}, {name}", value=e.mean, low=e.low, high=e.high, unit=self.unit, source=self.source
                ))  # fmt: skip
        return tuple(found)


def side_of(low: float | None, high: float | None, bound: float = 0.0) -> int:
    """1 where the interval is known and lies wholly above the bound, -1 wholly below, else 0."""
    if low is None or high is None:
        return 0
    return 1 if low > bound else -1 if high < bound else 0


def one_of(side: int, found: Estimate, wanted: int = 1, bound: float = 0.0, *, comparisons: int) -> str:
    """The verdict on one of several comparisons that must all lie on the side `wanted`: fails only beyond Bonferroni's correction.

    That all of them hold needs no correction; that one of them fails does.
    """
    if side == -wanted and side_of(*corrected(found.values, comparisons), bound) != side:
        return UNDECIDED
    return from_side(side, wanted)


def weakened(side: int, found: Estimate, wanted: int = 1, bound: float = 0.0, *, comparisons: int) -> str:
    """Why `one_of` fails nothing although the plain interval lies on the other side; empty where it does not come to that."""
    if side != -wanted or one_of(side, found, wanted, bound, comparisons=comparisons) != UNDECIDED:
        return ""
    return f" Not settled: beyond the bound, but not after Bonferroni's correction for {comparisons} comparisons."


def corrected(values: Sequence[float], comparisons: int) -> tuple[float, float]:
    """t interval whose misses over this many comparisons are MISSES in all (Bonferroni)."""
    mean, freedom = float(np.mean(values)), len(values) - 1
    half = -t_quantile(MISSES / comparisons / 2, freedom) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean - half, mean + half


def at(path: str) -> Value:
    """The number at a dotted path of a trial."""

    def value(trial: Trial) -> float | None:
        found = trial.get(path)
        return None if found is None else float(found)

    return value


def differing(path: str) -> Images:
    """Second minus first of `per_image` values, image by image; None where either trial lacks them."""

    def values(first: Trial, second: Trial) -> Array | None:
        a, b = (image_values(trial, path) for trial in (first, second))
        return None if a is None or b is None or len(a) != len(b) else b - a

    return values


def image_values(trial: Trial, name: str) -> Array | None:
    """One metric for each test image, NaN where an image has none; None where the trial holds no values by image."""
    found = trial.get(f"analysis.per_image.{name}")
    return None if not found else np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def compare(
    evidence: Evidence,
    label: str,
    value: str | Value,
    *,
    unit: str = "",
    by_image: str | None = None,
    arms: tuple[str, str] = (ORIGINAL, MODIFIED),
    needs: Sequence[str] = (),
) -> Compared:
    """Second arm minus first. `by_image`: a metric by image; `needs`: where `not_computed` may say why the quantity is missing."""
    of = at(value) if isinstance(value, str) else value

    def minus(first: Trial, second: Trial) -> float | None:
        a, b = of(first), of(second)
        return None if a is None or b is None else b - a

    images = None if by_image is None else differing(by_image)
    found = pairwise(evidence, label, minus, unit=unit, by_image=images, arms=arms, needs=needs)
    ends = [float(np.mean([of(trial) for trial in side])) for side in zip(*pairs_of(evidence, minus, arms), strict=True)]
    source = value if isinstance(value, str) else label
    return replace(found, first=ends[0], second=ends[1], source=f"{arms[0]} and {arms[1]}: {source}")


def pairwise(
    evidence: Evidence,
    label: str,
    of_pair: Pair,
    *,
    unit: str = "",
    by_image: Images | None = None,
    arms: tuple[str, str] = (ORIGINAL, MODIFIED),
    needs: Sequence[str] = (),
) -> Compared:
    """A quantity that both arms' trials of one seed make together, over the seeds that have it; Lacking where none has."""
    pairs = pairs_of(evidence, of_pair, arms)
    if not pairs:
        raise Lacking(why_missing(evidence, label, arms, needs))
    values = [value for a, b in pairs if (value := of_pair(a, b)) is not None]
    images = None if by_image is None else over_images(by_image, pairs)
    return Compared(
        label=label, unit=unit, estimate=estimate(values), images=images, arms=arms, source=f"{arms[0]} and {arms[1]}: {label}"
    )


def pairs_of(evidence: Evidence, of_pair: Pair, arms: tuple[str, str]) -> list[tuple[Trial, Trial]]:
    """The two trials of each seed that both arms have and for which the quantity exists."""
    first, second = (evidence.of(arm) for arm in arms)
    both = [(first[seed], second[seed]) for seed in sorted(first) if seed in second]
    return [(a, b) for a, b in both if (value := of_pair(a, b)) is not None and np.isfinite(value)]


def over_images(values: Images, pairs: Iterable[tuple[Trial, Trial]]) -> Interval | None:
    """Bootstrap over images of the values averaged over seeds; None unless every pair has them, for equally many images."""
    found = [values(first, second) for first, second in pairs]
    if any(v is None for v in found) or len({len(v) for v in found if v is not None}) != 1:
        return None
    stacked = np.stack([v for v in found if v is not None]).mean(axis=0)  # seeds x images -> images
    kept = stacked[np.isfinite(stacked)]
    return bootstrap_mean(kept.tolist()) if len(kept) > 1 else None


def settled(*compared: Compared, bound: float = 0.0) -> str:
    """' Not settled: ...' with the reason for each that lies on neither side; empty where all lie on one."""
    reasons = list(dict.fromkeys(doubt for c in compared if (doubt := c.doubt(bound))))
    return f" Not settled: {joined(reasons)}." if reasons else ""


def listed(*compared: Compared) -> str:
    """'(3 seeds; first against second: SSIM ...; PSNR ...)': what a conclusion rests on."""
    seeds = seeds_text(min(c.num_seeds for c in compared))
    names = " against ".join(dict.fromkeys(f"`{arm}`" for arm in compared[0].arms))
    return f"{names}, {seeds}: {'; '.join(c.text for c in compared)}."


def numbers_of(compared: Iterable[Compared]) -> tuple[Number, ...]:
    """The numbers of all of them."""
    return tuple(number for c in compared for number in c.numbers)


def has(evidence: Evidence, path: str) -> bool:
    """Whether some seed holds a number at this path in both networks."""
    return evidence.difference(path) is not None


def concluded(kind: str, said: tuple[str, str, str]) -> str:
    """The words for this verdict, of those for holds, fails and undecided."""
    return said[KINDS.index(kind)]


def seeds_text(count: int) -> str:
    """'1 seed', '3 seeds'."""
    return counted(count, "seed")


def counted(count: object, what: str) -> str:
    """'1 epoch', '3 epochs'."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def why_missing(evidence: Evidence, what: str, arms: Iterable[str], needs: Sequence[str] = ()) -> str:
    """Why a quantity is missing: reasons that trials give, failed trials, or that there are none."""
    told = [reason for name in (*needs, "analysis") if (reason := evidence.not_computed(name))]
    for arm in arms:
        trials = [t for t in evidence.trials if t.arm == arm]
        failed = [t for t in trials if t.record.state != COMPLETE]
        if not trials:
            told.append(f"no trial of {arm}")
        elif len(failed) == len(trials):
            told.append(f"no trial of {arm} is complete ({failed[0].record.reason or failed[0].record.state})")
    reason = "; ".join(dict.fromkeys(told)) or "no seed has it in both networks"
    return f"{what[0].upper()}{what[1:]} was not measured: {reason}."


def hypotheses_of(evidence: Evidence) -> Evidence:
    """The same evidence with the trials of the ten losses and masks in place of the models'."""
    return replace(evidence, trials=evidence.hypotheses)


def scope_of(evidence: Evidence, extra: str = "") -> str:
    """Where a claim that needs training was judged, and how that differs from the paper's scale."""
    scale = evidence.scale
    data = {"faces": "rendered faces", "celeba": "CelebA"}.get(str(scale.get("data")), str(scale.get("data", "unknown data")))
    images = scale.get("num_images")
    told = [
        f"{data} ({images:,} images)" if isinstance(images, int) else data,
        f"{scale.get('image_size', '?')} px",
        f"networks of {width_text(scale)}",
        counted(scale.get("epochs", "?"), "epoch"),
        str(scale.get("hardware") or scale.get("device") or "hardware not stated"),
    ]
    quick = "a quick run; " if scale.get("quick") else ""
    text = f"{quick}judged on {', '.join(told)} only" + (f"; {extra}" if extra else "")
    return text if at_paper_scale(scale) else f"{text}. The paper: {PAPER}."


def width_text(scale: Mapping[str, object]) -> str:
    """'the paper's width' or 'a quarter of the paper's width'."""
    width = str(scale.get("width", "unknown width"))
    return width if "width" in width else f"{width} width" if width.endswith("'s") else f"{width} of the paper's width"


def at_paper_scale(scale: Mapping[str, object]) -> bool:
    """Whether the study ran on the paper's data, size, epochs and widths."""
    return all(scale.get(name) == value for name, value in PAPER_SCALE.items())
