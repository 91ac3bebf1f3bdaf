"""What most rules are made of: a quantity of two arms, paired by seed and by image, and on which side of a bound it lies. No torch.

A number counts as above (below) a bound only when its whole interval by Student's t over at least LEAST_SEEDS seeds does (95 %
where one claim is judged, more where several are), with the spread over test images in its error where the trials hold a value for
every image: the same images for both arms, averaged over seeds first. Everything else is on neither side, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ablation.record.trial import COMPLETE
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.rules.compared import LEAST_SEEDS, Array, Compared, counted, seeds_text, side
from studies.paper.rules.verdict import KINDS, UNDECIDED, Lacking, Number, joined

__all__ = ["LEAST_SEEDS", "Array", "Compared", "counted", "seeds_text", "side"]
BY_SEED = f"the interval over seeds (t, at least {LEAST_SEEDS} seeds, paired by seed)"
WITH_IMAGES = "with the spread over test images in its error"
BONFERRONI = "after Bonferroni's correction"
Q = "analysis.quality.reporting"
# of a value by image that count
DIGITS = 5
PAPER_SCALE: Mapping[str, object] = {
    "data": "celeba",
    "image_size": 144,
    "num_images": 20_000,
    "epochs": 10,
    "width": "the paper's",
}
PAPER = "CelebA (20,000 images), 144 px, 10 epochs, full width"

Value = Callable[[Trial], float | None]
Pair = Callable[[Trial, Trial], float | None]  # of one seed's two trials
Images = Callable[[Trial, Trial], Array | None]  # of one seed's two trials -> one number for each image, whose mean is the quantity


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
    """One metric for each test image, NaN where an image has none; None where the trial holds no values by image.

    To DIGITS digits, so that a study judged from its folder and from what is published of it gives the same.
    """
    found = trial.get(f"analysis.per_image.{name}")
    return None if not found else np.array([np.nan if v is None else rounded(v) for v in found], dtype=np.float64)


def rounded(value: float) -> float:
    """To DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")


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
    over: Pair | None = None,
    unit: str = "",
    by_image: Images | None = None,
    over_image: Images | None = None,
    arms: tuple[str, str] = (ORIGINAL, MODIFIED),
    needs: Sequence[str] = (),
) -> Compared:
    """A quantity that both arms' trials of one seed make together, over the seeds that have it; Lacking where none has.

    `over`: of what it is a share; the share is then the ratio of the means.
    """
    pairs = pairs_of(evidence, of_pair, arms)
    if not pairs:
        raise Lacking(why_missing(evidence, label, arms, needs))
    values, lower = (_by_seed(make, pairs) for make in (of_pair, over))
    assert values is not None
    return Compared(
        label=label, unit=unit, values=values, over=lower, images=over_images(by_image, pairs),
        images_over=over_images(over_image, pairs), arms=arms, source=f"{arms[0]} and {arms[1]}: {label}", error=evidence.error,
    )  # fmt: skip


def _by_seed(make: Pair | None, pairs: Iterable[tuple[Trial, Trial]]) -> tuple[float, ...] | None:
    return None if make is None else tuple(value for a, b in pairs if (value := make(a, b)) is not None)


def pairs_of(evidence: Evidence, of_pair: Pair, arms: tuple[str, str]) -> list[tuple[Trial, Trial]]:
    """The two trials of each seed that both arms have and for which the quantity exists."""
    first, second = (evidence.of(arm) for arm in arms)
    both = [(first[seed], second[seed]) for seed in sorted(first) if seed in second]
    return [(a, b) for a, b in both if (value := of_pair(a, b)) is not None and np.isfinite(value)]


def over_images(values: Images | None, pairs: Iterable[tuple[Trial, Trial]]) -> Array | None:
    """Values by image, averaged over seeds, without those that are not finite; None unless every pair has them, equally many."""
    found = [] if values is None else [values(first, second) for first, second in pairs]
    kept = [v for v in found if v is not None]
    if not kept or len(kept) < len(found) or len({len(v) for v in kept}) != 1:
        return None
    mean = np.stack(kept).mean(axis=0)  # seeds x images -> images
    finite = mean[np.isfinite(mean)]
    return finite if len(finite) > 1 else None


def settled(*compared: Compared, wanted: int = 1, bound: float = 0.0, comparisons: int = 1) -> str:
    """' Not settled: ...' with the reason for each whose verdict is open (`Compared.kind`); empty where none is."""
    open_ = [c for c in compared if c.kind(wanted, bound, comparisons) == UNDECIDED]
    reasons = list(dict.fromkeys(c.doubt(bound, comparisons) for c in open_))
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
