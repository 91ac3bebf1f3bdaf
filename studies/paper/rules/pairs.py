"""From trials to a quantity of two arms, paired by seed and by image. No torch.

A number counts as above (below) a bound only when its whole interval by Student's t over at least LEAST_SEEDS seeds does (95 %
where one claim is judged, more where several are), with the spread over test images in its error where the trials hold a value for
every image: the same images for both arms, averaged over seeds first. Everything else is on neither side, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ablation.record.trial import COMPLETE
from ablation.report.kit.numbers import capital
from studies.paper.evidence.evidence import PAIR, Evidence, Trial, rounded
from studies.paper.rules.compared import Array, Compared
from studies.paper.rules.verdict import Lacking

Q = "analysis.quality.reporting"
LOSS = "record.training.best_loss"

Value = Callable[[Trial], float | None]
# of one seed's two trials
Pair = Callable[[Trial, Trial], float | None]
# of one seed's two trials -> one number for each image, whose mean is the quantity
Images = Callable[[Trial, Trial], Array | None]


def number_at(path: str) -> Value:
    """The number at a dotted path of a trial."""
    return lambda trial: None if (value := trial.get(path)) is None else float(value)


def of_two(value: Value, make: Callable[[float, float], float | None]) -> Pair:
    """What two trials' values make together; None where either is missing."""

    def both(first: Trial, second: Trial) -> float | None:
        a, b = value(first), value(second)
        return None if a is None or b is None else make(a, b)

    return both


def differing(path: str) -> Images:
    """Second minus first of `per_image` values, image by image; None where either trial lacks them."""

    def values(first: Trial, second: Trial) -> Array | None:
        a, b = (image_values(trial, path) for trial in (first, second))
        return None if a is None or b is None or len(a) != len(b) else b - a

    return values


def image_values(trial: Trial, name: str) -> Array | None:
    """One metric for each test image, NaN where an image has none; None where the trial holds no values by image."""
    values = trial.get(f"analysis.per_image.{name}")
    return None if not values else np.array([np.nan if v is None else rounded(v) for v in values], dtype=np.float64)


def compare(
    evidence: Evidence,
    label: str,
    value: str | Value,
    *,
    unit: str = "",
    by_image: str | None = None,
    arms: tuple[str, str] = PAIR,
    needs: Sequence[str] = (),
) -> Compared:
    """Second arm minus first. `by_image`: a metric by image; `needs`: where `not_computed` may say why the quantity is missing."""
    of = number_at(value) if isinstance(value, str) else value
    minus = of_two(of, lambda a, b: b - a)
    images = None if by_image is None else differing(by_image)
    compared = pairwise(evidence, label, minus, unit=unit, by_image=images, arms=arms, needs=needs)
    first, second = (float(np.mean([of(trial) for trial in side])) for side in zip(*_pairs(evidence, minus, arms), strict=True))
    source = f"{arms[0]} and {arms[1]}: {value if isinstance(value, str) else label}"
    return replace(compared, first=first, second=second, source=source)


def pairwise(
    evidence: Evidence,
    label: str,
    of_pair: Pair,
    *,
    over: Pair | None = None,
    unit: str = "",
    by_image: Images | None = None,
    over_image: Images | None = None,
    arms: tuple[str, str] = PAIR,
    needs: Sequence[str] = (),
) -> Compared:
    """A quantity that both arms' trials of one seed make together, over the seeds that have it; Lacking where none has.

    `over`: of what it is a share; the share is then the ratio of the means.
    """
    pairs = _pairs(evidence, of_pair, arms)
    if not pairs:
        raise Lacking(why_missing(evidence, label, arms, needs))
    return Compared(
        label=label, unit=unit, values=_by_seed(of_pair, pairs), over=None if over is None else _by_seed(over, pairs),
        images=_over_images(by_image, pairs), images_over=_over_images(over_image, pairs), arms=arms,
        source=f"{arms[0]} and {arms[1]}: {label}", error=evidence.error,
    )  # fmt: skip


def _pairs(evidence: Evidence, of_pair: Pair, arms: tuple[str, str]) -> list[tuple[Trial, Trial]]:
    """The two trials of each seed that both arms have and for which the quantity exists."""
    first, second = (evidence.of(arm) for arm in arms)
    both = [(first[seed], second[seed]) for seed in sorted(first) if seed in second]
    return [(a, b) for a, b in both if (value := of_pair(a, b)) is not None and np.isfinite(value)]


def _by_seed(make: Pair, pairs: Iterable[tuple[Trial, Trial]]) -> tuple[float, ...]:
    return tuple(value for a, b in pairs if (value := make(a, b)) is not None)


def _over_images(make: Images | None, pairs: Iterable[tuple[Trial, Trial]]) -> Array | None:
    """Values by image, averaged over seeds, without those that are not finite; None unless every pair has them, equally many."""
    values = [None if make is None else make(first, second) for first, second in pairs]
    kept = [v for v in values if v is not None]
    if not kept or len(kept) < len(values) or len({len(v) for v in kept}) != 1:
        return None
    # seeds x images -> images
    mean = np.stack(kept).mean(axis=0)
    finite = mean[np.isfinite(mean)]
    return finite if len(finite) > 1 else None


def has(evidence: Evidence, path: str) -> bool:
    """Whether some seed holds a number at this path in both networks."""
    return evidence.difference(path) is not None


def why_missing(evidence: Evidence, quantity: str, arms: Iterable[str], needs: Sequence[str] = ()) -> str:
    """Why a quantity is missing: reasons that trials give, failed trials, or that there are none."""
    reasons = [reason for name in (*needs, "analysis") if (reason := evidence.not_computed(name))]
    for arm in arms:
        trials = [t for t in evidence.trials if t.arm == arm]
        failed = [t for t in trials if t.record.state != COMPLETE]
        if not trials:
            reasons.append(f"no trial of {arm}")
        elif len(failed) == len(trials):
            reasons.append(f"no trial of {arm} is complete ({failed[0].record.reason or failed[0].record.state})")
    reason = "; ".join(dict.fromkeys(reasons)) or "no seed has it in both networks"
    return f"{capital(quantity)} was not measured: {reason}."
