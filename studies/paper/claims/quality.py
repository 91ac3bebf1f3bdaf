"""What the paper says about reconstructions: C7, C9, C10, C11. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ablation.report.kit.numbers import count
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.rules.compared import BONFERRONI, BY_SEED, WITH_IMAGES, Array, Compared, settled
from studies.paper.rules.conclude import both_ways, conclude, scope_of
from studies.paper.rules.kinds import all_of, worded
from studies.paper.rules.numbers import percent
from studies.paper.rules.pairs import LOSS, PAIR, Q, compare, differing, has, image_values, number_at, of_two, pairwise
from studies.paper.rules.verdict import Finding, Lacking, Part, attempt, claim, together

# of the way from `original` back to the mean face
SLIGHT = 0.1
SIDES = ("l1_outside", "l1_inside")
REGIONS = {"mask": "the face by its exact mask", "ellipse": "the face by one central ellipse, for there are no masks"}
SIMILAR = {"ssim": ("SSIM", ""), "ms_ssim": ("MS-SSIM", ""), "psnr": ("PSNR", "dB"), "l1": ("L1", "")}
LOWER_IS_BETTER = ("l1",)
FLOOR = "mean face"
# validation losses of the paper's two models
LOSSES = tuple(REPORTED[arm].validation[-1] for arm in PAIR)


@claim(
    id="C7", says="quality falls only slightly", link="quality",
    measurement="SSIM, MS-SSIM, PSNR, L1 on the test split, with intervals; validation loss "
    + " against ".join(f"{loss:.4f}".lstrip("0") for loss in LOSSES),
    rule=f"SSIM, MS-SSIM, PSNR and L1 on the test split, each as the share of the way from `original` back to the {FLOOR}, which "
    "shows the same picture for everyone and is what a model without any quality reaches: the ratio of the means, with Fieller's "
    f"interval. Slightly means under {percent(SLIGHT)} of that way. Holds when for every metric {BY_SEED} lies below "
    f"{percent(SLIGHT)}, {WITH_IMAGES}; fails when for at least one it lies above {BONFERRONI}; else undecided, and so where "
    f"`original` itself is not better with every seed than the {FLOOR}, from which there is no way to fall. A metric that the "
    "image size does not allow is left out and named.",
)  # fmt: skip
def slight(evidence: Evidence) -> Finding:
    """The fall of each metric as a share of the way from `original` to the mean face, each below the bound."""
    floor = _floor(evidence)
    names = [name for name in SIMILAR if has(evidence, f"{Q}.{name}")]
    parts = [attempt(_fall, evidence, name, floor.get(name), len(names)) for name in SIMILAR]
    measured = [part for part in parts if part.numbers]
    if not measured:
        raise Lacking(" ".join(dict.fromkeys(part.text for part in parts)))
    kind = all_of(part.kind for part in measured)
    words = worded(kind, ("The fall is slight.", "The fall is not slight.", "Whether the fall is slight is not settled."))
    text, numbers = together(*parts, attempt(_relative_loss, evidence))
    return Finding(kind=kind, sentence=f"{words} {text}", evidence=numbers, scope=scope_of(evidence))


def _floor(evidence: Evidence) -> Mapping[str, Any]:
    """Quality of the mean face."""
    quality = evidence.references.get(FLOOR, {}).get("quality")
    if not quality:
        raise Lacking(f"The {FLOOR} was not measured on the same images, so nothing says what a slight fall is.")
    return quality.get("reporting", quality)


def _fall(evidence: Evidence, metric: str, floor: float | None, comparisons: int) -> Part:
    """One metric's fall, of so many that are judged, as a share of the distance from the floor to `original`."""
    label, unit = SIMILAR[metric]
    path, better = f"{Q}.{metric}", -1 if metric in LOWER_IS_BETTER else 1
    if floor is None:
        raise Lacking(f"{label} was not measured of the {FLOOR}.")
    change = compare(evidence, label, path, unit=unit, needs=(metric,))
    if any(better * (top - floor) <= 0 for top in evidence.values(ORIGINAL, path).values()):
        text = f"{change.text}: `original` is not better than the {FLOOR} in {label} with every seed."
        return Part(text=text, numbers=change.numbers)

    def fall_by_image(first: Trial, second: Trial) -> Array | None:
        change = differing(metric)(first, second)
        return None if change is None else -better * change

    def way_by_image(first: Trial, second: Trial) -> Array | None:
        top = image_values(first, metric)
        return None if top is None or image_values(second, metric) is None else better * (top - floor)

    value = number_at(path)
    fall = pairwise(
        evidence, f"fall of {label}", of_two(value, lambda top, bottom: better * (top - bottom)), by_image=fall_by_image,
        over=of_two(value, lambda top, _: better * (top - floor)), over_image=way_by_image, needs=(metric,),
    )  # fmt: skip
    text = f"{change.text}: {fall.share_text} of the way to the {FLOOR} ({count(fall.estimate.num, 'seed')})."
    doubt = settled(fall, wanted=-1, bound=SLIGHT, comparisons=comparisons)
    return Part(kind=fall.kind(-1, SLIGHT, comparisons), text=text + doubt, numbers=(*change.numbers, *fall.numbers))


def _relative_loss(evidence: Evidence) -> Part:
    loss = number_at(LOSS)
    rise = pairwise(
        evidence, "relative rise of the validation loss", of_two(loss, lambda a, b: b - a), over=lambda first, _: loss(first)
    )
    papers = percent(LOSSES[1] / LOSSES[0] - 1)
    text = f"The validation loss of `modified` is {rise.share_text} higher; in the paper it is {papers} higher."
    return Part(text=text, numbers=rise.numbers)


@claim(
    id="C9", says="`original` keeps colour better", link="quality",
    measurement="mean colour error by channel and in CIELAB (delta E)",
    rule="Colour error in CIELAB (delta E, mean over pixels) and error of each image's mean colour, averaged over channels. Holds "
    f"when both are higher in `modified`: {BY_SEED} lies above zero, for delta E {WITH_IMAGES}. Fails when both are lower "
    "in the same sense; else undecided.",
)  # fmt: skip
def colour(evidence: Evidence) -> Finding:
    """Both colour errors on the same side of zero."""
    errors = (
        compare(evidence, "delta E", f"{Q}.delta_e", by_image="delta_e", needs=("delta_e",)),
        compare(evidence, "error of the mean colour", f"{Q}.colour_error_mean", needs=("colour_error",)),
    )
    channels = "; ".join(filter(None, (_by_channel(evidence, arm) for arm in PAIR)))
    words = ("`original` keeps colour better.", "`modified` keeps colour better.", "Which keeps colour better is not settled.")
    return conclude(evidence, both_ways(errors), words, *errors, extra=f" By channel: {channels}." if channels else "")


def _by_channel(evidence: Evidence, arm: str) -> str:
    rows = [row for t in evidence.of(arm).values() if (row := t.get(f"{Q}.colour_error"))]
    means = np.mean(rows, axis=0) if rows else []
    return f"{arm} " + ", ".join(f"{name} {value:.3f}" for name, value in zip("RGB", means, strict=True)) if rows else ""


@claim(
    id="C10", says="`modified` is worse on backgrounds", link="quality", measurement="error inside and outside the face region",
    rule="L1 outside the face, and how much it rises in proportion from `original` to `modified` beyond the rise inside the face "
    "(in proportion, so that a region is not called worse for being harder). Holds when both lie above zero: "
    f"{BY_SEED}, {WITH_IMAGES}. Fails when either lies below zero in the same sense, {BONFERRONI}; else undecided.",
)  # fmt: skip
def background(evidence: Evidence) -> Finding:
    """The error outside the face rises, and in proportion more than the one inside."""
    needs = ("masks", *SIDES)
    outside, inside = (compare(evidence, f"L1 {name[3:]} the face", f"{Q}.{name}", by_image=name, needs=needs) for name in SIDES)
    judged = (outside, _more_outside(evidence, needs))
    kind = all_of(c.kind(comparisons=len(judged)) for c in judged)
    words = (
        "`modified` is worse on backgrounds.",
        "`modified` is not worse on backgrounds in particular.",
        "Not settled by region.",
    )
    region = next((t.get(f"{Q}.region") for t in evidence.of(MODIFIED).values()), None)
    doubt, scope = settled(*judged, comparisons=len(judged)), REGIONS.get(str(region), "")
    return conclude(evidence, kind, words, outside, inside, judged[1], doubt=doubt, scope=scope)


def _more_outside(evidence: Evidence, needs: tuple[str, ...]) -> Compared:
    """Relative rise outside minus relative rise inside, by seed and by image."""

    def more(first: Trial, second: Trial) -> float | None:
        rises = [of_two(number_at(f"{Q}.{name}"), lambda a, b: b / a - 1 if a else None)(first, second) for name in SIDES]
        return None if None in rises else rises[0] - rises[1]  # type: ignore[operator]

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


@claim(
    id="C11", says="`modified` loses fine detail", link="frequency",
    measurement="power in the high frequencies of reconstruction over original",
    rule="Above 1/4 cycle per pixel, two numbers: power of the reconstruction over that of the original image, and matched detail, "
    "the part of the original's own waves that the reconstruction shows (1 for a perfect one, 0 for noise of any power; power "
    f"alone would count noise as detail). Holds when both are lower in `modified`: {BY_SEED} lies below zero, {WITH_IMAGES}. Fails "
    "when both lie above; else undecided.",
)  # fmt: skip
def detail(evidence: Evidence) -> Finding:
    """Power and matched detail in the high frequencies on the same side of zero."""
    labels = {"high_frequency": "high-frequency power, reconstruction over original", "high_frequency_matched": "matched detail"}
    compared = [compare(evidence, label, f"{Q}.{name}", by_image=name, needs=(name,)) for name, label in labels.items()]
    words = ("`modified` loses more fine detail.", "`modified` keeps more fine detail.", "No difference in fine detail is settled.")
    return conclude(evidence, both_ways(compared, -1), words, *compared)


CLAIMS = (slight, colour, background, detail)
