"""The paper's claims about reconstructions: C7 to C11. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.rules.rules import (
    BONFERRONI,
    BY_SEED,
    WITH_IMAGES,
    Array,
    Compared,
    Q,
    compare,
    concluded,
    differing,
    has,
    image_values,
    listed,
    numbers_of,
    pairwise,
    scope_of,
    seeds_text,
    settled,
)
from studies.paper.rules.verdict import (
    UNDECIDED,
    Claim,
    Finding,
    Lacking,
    Part,
    agreed,
    all_of,
    attempt,
    from_side,
    percent,
    percent_span,
)

SLIGHT = 0.1  # of the way from `original` back to the mean face
PAPER_LOSSES = (0.5572, 0.6699)  # validation losses of the paper's two models
SIDES = ("l1_outside", "l1_inside")
REGIONS = {"mask": "the face by its exact mask", "ellipse": "the face by one central ellipse, for there are no masks"}
SIMILAR = {"ssim": ("SSIM", ""), "ms_ssim": ("MS-SSIM", ""), "psnr": ("PSNR", "dB"), "l1": ("L1", "")}
LOWER_IS_BETTER = ("l1",)
FLOOR = "mean face"
LOSS = "record.training.best_loss"

C7_RULE = (
    f"SSIM, MS-SSIM, PSNR and L1 on the test split, each as the share of the way from `original` back to the {FLOOR}, which shows "
    "the same picture for everyone and is what a model without any quality reaches: the ratio of the means, with Fieller's "
    f"interval. Slightly means under {percent(SLIGHT)} of that way. Holds when for every metric {BY_SEED} lies below "
    f"{percent(SLIGHT)}, {WITH_IMAGES}; fails when for at least one it lies above {BONFERRONI}; else undecided, and so where "
    f"`original` itself is not better with every seed than the {FLOOR}, from which there is no way to fall. A metric that the "
    "image size does not allow is left out and named."
)


def slight(evidence: Evidence) -> Finding:
    """C7."""
    if _reference(evidence, FLOOR) is None:
        raise Lacking(f"The {FLOOR} was not measured on the same images, so nothing says what a slight fall is.")
    names = [name for name in SIMILAR if has(evidence, f"{Q}.{name}")]
    parts = {name: attempt(lambda name=name: _fall(evidence, name, len(names))) for name in SIMILAR}  # type: ignore[misc]
    measured = [part for part in parts.values() if part.numbers]
    if not measured:
        raise Lacking(" ".join(dict.fromkeys(part.text for part in parts.values())))
    loss = attempt(lambda: _relative_loss(evidence))
    kind = all_of(p.kind for p in measured)
    said = concluded(kind, ("The fall is slight.", "The fall is not slight.", "Whether the fall is slight is not settled."))
    sentence = " ".join((said, *(part.text for part in parts.values()), loss.text))
    numbers = tuple(number for part in (*measured, loss) for number in part.numbers)
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _fall(evidence: Evidence, metric: str, comparisons: int) -> Part:
    """One metric's fall, of so many that are judged, as a share of the distance from the floor to `original`."""
    label, unit = SIMILAR[metric]
    path, floor = f"{Q}.{metric}", (_reference(evidence, FLOOR) or {}).get(metric)
    if floor is None:
        raise Lacking(f"{label} was not measured of the {FLOOR}.")
    better = -1 if metric in LOWER_IS_BETTER else 1
    change = compare(evidence, label, path, unit=unit, needs=(metric,))
    if any(better * (top - floor) <= 0 for top in evidence.values(ORIGINAL, path).values()):
        text = f"{change.text}: `original` is not better than the {FLOOR} in {label} with every seed."
        return Part(kind=UNDECIDED, text=text, numbers=change.numbers)

    def fall(first: Trial, second: Trial) -> float | None:
        top, bottom = first.get(path), second.get(path)
        return None if top is None or bottom is None else better * (top - bottom)

    def way(first: Trial, second: Trial) -> float | None:
        return None if fall(first, second) is None else better * (first.get(path) - floor)

    def fall_by_image(first: Trial, second: Trial) -> Array | None:
        change = differing(metric)(first, second)
        return None if change is None else -better * change

    def way_by_image(first: Trial, second: Trial) -> Array | None:
        top = image_values(first, metric)
        return None if top is None or image_values(second, metric) is None else better * (top - floor)

    found = pairwise(evidence, f"fall of {label}", fall, over=way, by_image=fall_by_image, over_image=way_by_image, needs=(metric,))
    e = found.estimate
    text = f"{change.text}: {percent_span(e.value, e.low, e.high)} of the way to the {FLOOR} ({seeds_text(e.num)})."
    kind = found.kind(-1, SLIGHT, comparisons)
    doubt = settled(found, wanted=-1, bound=SLIGHT, comparisons=comparisons)
    return Part(kind=kind, text=text + doubt, numbers=(*change.numbers, *found.numbers))


def _reference(evidence: Evidence, name: str) -> Mapping[str, Any] | None:
    quality = evidence.references.get(name, {}).get("quality")
    return None if not quality else quality.get("reporting", quality)


def _relative_loss(evidence: Evidence) -> Part:
    def rise(first: Trial, second: Trial) -> float | None:
        a, b = first.get(LOSS), second.get(LOSS)
        return None if a is None or b is None else b - a

    found = pairwise(evidence, "relative rise of the validation loss", rise, over=lambda first, _: first.get(LOSS))
    e = found.estimate
    text = (
        f"The validation loss of `modified` is {percent_span(e.value, e.low, e.high)} higher; in the paper it is "
        f"{percent(PAPER_LOSSES[1] / PAPER_LOSSES[0] - 1)} higher."
    )
    return Part(kind=UNDECIDED, text=text, numbers=found.numbers)


C9_RULE = (
    "Colour error in CIELAB (delta E, mean over pixels) and error of each image's mean colour, averaged over channels. Holds "
    f"when both are higher in `modified`: {BY_SEED} lies above zero, for delta E {WITH_IMAGES}. Fails when both are lower "
    "in the same sense; else undecided."
)


def colour(evidence: Evidence) -> Finding:
    """C9."""
    found = (
        compare(evidence, "delta E", f"{Q}.delta_e", by_image="delta_e", needs=("delta_e",)),
        compare(evidence, "error of the mean colour", f"{Q}.colour_error_mean", needs=("colour_error",)),
    )
    channels = [told for arm in (ORIGINAL, MODIFIED) if (told := _by_channel(evidence, arm))]
    extra = f" By channel: {'; '.join(channels)}." if channels else ""
    said = ("`original` keeps colour better.", "`modified` keeps colour better.", "Which keeps colour better is not settled.")
    return _both(evidence, found, said, extra=extra)


def _by_channel(evidence: Evidence, arm: str) -> str:
    rows = [t.get(f"{Q}.colour_error") for t in evidence.of(arm).values()]
    kept = [row for row in rows if row]
    if not kept:
        return ""
    means = np.mean(kept, axis=0)
    return f"{arm} " + ", ".join(f"{name} {value:.3f}" for name, value in zip("RGB", means, strict=True))


def _both(
    evidence: Evidence, found: tuple[Compared, ...], said: tuple[str, str, str], *, wanted: int = 1, extra: str = ""
) -> Finding:
    """Holds when all lie on the wanted side, fails when all lie on the other."""
    kind = agreed(from_side(c.side(), wanted) for c in found)
    sentence = f"{concluded(kind, said)} {listed(*found)}{extra}{settled(*found)}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers_of(found), scope=scope_of(evidence))


C10_RULE = (
    "L1 outside the face, and how much it rises in proportion from `original` to `modified` beyond the rise inside the face (in "
    "proportion, so that a region is not called worse for being harder). Holds when both lie above zero: "
    f"{BY_SEED}, {WITH_IMAGES}. Fails when either lies below zero in the same sense, {BONFERRONI}; else undecided."
)


def background(evidence: Evidence) -> Finding:
    """C10."""
    needs = ("masks", "l1_outside", "l1_inside")
    outside = compare(evidence, "L1 outside the face", f"{Q}.l1_outside", by_image="l1_outside", needs=needs)
    inside = compare(evidence, "L1 inside the face", f"{Q}.l1_inside", by_image="l1_inside", needs=needs)
    more = _more_outside(evidence, needs)
    judged = (outside, more)
    kind = all_of(c.kind(comparisons=len(judged)) for c in judged)
    said = (
        "`modified` is worse on backgrounds.",
        "`modified` is not worse on backgrounds in particular.",
        "Not settled by region.",
    )
    sentence = f"{concluded(kind, said)} {listed(outside, inside, more)}{settled(*judged, comparisons=len(judged))}"
    numbers = (*outside.numbers, *inside.numbers, *more.numbers)
    region = next((t.get(f"{Q}.region") for t in evidence.of(MODIFIED).values()), None)
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence, REGIONS.get(str(region), "")))


def _more_outside(evidence: Evidence, needs: tuple[str, ...]) -> Compared:
    """Relative rise outside minus relative rise inside, by seed and by image."""

    def rise(first: Trial, second: Trial, name: str) -> float | None:
        a, b = first.get(f"{Q}.{name}"), second.get(f"{Q}.{name}")
        return None if not a or b is None else b / a - 1

    def more(first: Trial, second: Trial) -> float | None:
        outside, inside = (rise(first, second, name) for name in SIDES)
        return None if outside is None or inside is None else outside - inside

    def by_image(first: Trial, second: Trial) -> Array | None:
        outside, inside = (_ratio_by_image(first, second, name) for name in SIDES)
        return None if outside is None or inside is None else outside - inside

    return pairwise(evidence, "relative rise outside beyond the one inside", more, by_image=by_image, needs=needs)


def _ratio_by_image(first: Trial, second: Trial, name: str) -> Array | None:
    """Values by image whose mean is the ratio of the two means and whose spread is that of the ratio (delta method)."""
    below, above = (image_values(trial, name) for trial in (first, second))
    if below is None or above is None or len(below) != len(above) or not np.nanmean(below):
        return None
    ratio = np.nanmean(above) / np.nanmean(below)
    return np.asarray(ratio + (above - ratio * below) / np.nanmean(below))


C11_RULE = (
    "Above 1/4 cycle per pixel, two numbers: power of the reconstruction over that of the original image, and matched detail, the "
    "part of the original's own waves that the reconstruction shows (1 for a perfect one, 0 for noise of any power; power alone "
    f"would count noise as detail). Holds when both are lower in `modified`: {BY_SEED} lies below zero, {WITH_IMAGES}. Fails "
    "when both lie above; else undecided."
)


def detail(evidence: Evidence) -> Finding:
    """C11."""
    labels = {"high_frequency": "high-frequency power, reconstruction over original", "high_frequency_matched": "matched detail"}
    found = tuple(compare(evidence, label, f"{Q}.{name}", by_image=name, needs=(name,)) for name, label in labels.items())
    said = ("`modified` loses more fine detail.", "`modified` keeps more fine detail.", "No difference in fine detail is settled.")
    return _both(evidence, found, said, wanted=-1)


CLAIMS = (
    Claim(
        id="C7", says="quality falls only slightly", rule=C7_RULE, link="quality", find=slight,
        measurement="SSIM, MS-SSIM, PSNR, L1 on the test split, with intervals; validation loss .5572 against .6699",
    ),
    Claim(
        id="C9", says="`original` keeps colour better", rule=C9_RULE, link="quality", find=colour,
        measurement="mean colour error by channel and in CIELAB (delta E)",
    ),
    Claim(
        id="C10", says="`modified` is worse on backgrounds", rule=C10_RULE, link="quality", find=background,
        measurement="error inside and outside the face region",
    ),
    Claim(
        id="C11", says="`modified` loses fine detail", rule=C11_RULE, link="frequency", find=detail,
        measurement="power in the high frequencies of reconstruction over original",
    ),
)  # fmt: skip
