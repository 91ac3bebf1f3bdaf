"""Everything that the verdicts, the page and its figures are computed from, as plain values out of stored trials. No torch here.

A trial is a `Record` (what every study stores) and an *analysis*: what was measured on its finished weights. Values are addressed
by dotted paths, "analysis.latent.hopkins.value" or "record.quality.reporting.ssim". A measurement that could not be made is absent
from its place and named in `not_computed`, with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablation.record.attribution import Attribution
from ablation.record.explanation import Explanation
from ablation.record.trial import COMPLETE, Record
from ablation.stats import Estimate, mean_estimate

PAIR = ORIGINAL, MODIFIED = "original", "modified"
POOLED, SAME_PARAMETERS = "original, pooled head", "plain, same parameters"
MAIN_ARMS = (ORIGINAL, MODIFIED, POOLED, SAME_PARAMETERS)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm of the study with one seed."""

    arm: str  # "original", "modified", ...; for the hypotheses about losses and masks, "L1 + SSIM, mask" and the like
    record: Record
    analysis: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Its replicate."""
        return self.record.seed

    def get(self, path: str) -> Any:
        """The value at a dotted path that begins with "record" or "analysis"; None where it is missing."""
        first, _, rest = path.partition(".")
        if first == "record":
            return self.record.get(rest)
        value: Any = self.analysis
        for key in rest.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


# digits of a value by image that count
DIGITS = 5


def rounded(value: float) -> float:
    """A value by image as rules read it, so that a study's folder and what is published of it give the same verdicts."""
    return float(f"{value:.{DIGITS}g}")


# how the limit begins that tells why there is none
EXPLANATION_LIMIT = "The explanation of the pair"
# chance of any wrong verdict by luck among all that are judged together
MISSES = 0.05


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that one study of the paper found."""

    # image_size, data ("faces", "celeba"), num_images, num_train, epochs, device, hardware, width ("the paper's", ...), quick
    scale: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]  # arm -> spec, params, macs, at the size that was trained
    trials: tuple[Trial, ...]  # of the arms, failed ones included (record.state, record.reason)
    hypotheses: tuple[Trial, ...] = ()  # of Toledo & Antonelo's ten losses and masks
    explanation: Explanation | None = None  # of `original` against `modified` at 144 px, whatever size was trained
    loss_attribution: tuple[Attribution, ...] = ()  # loss, ssim, psnr of the pair given to the pieces, from the trained factorial
    # piece -> its Shapley value in the validation loss, by seed; together they are the whole difference
    loss_by_seed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # "mean face", "PCA, 128 components" -> quality ("reporting" metrics) and per_image
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # interleaved training steps of original and modified: batch_size, device, original_ms, modified_ms, ratio, low, high, sittings
    speed: Mapping[str, Any] = field(default_factory=dict)
    given_up: tuple[str, ...] = ()  # what the budget did not allow, one sentence each
    limits: tuple[str, ...] = ()  # what was not measured, and why
    provenance: Mapping[str, Any] = field(default_factory=dict)  # command, seed, data, hardware, software, commit, started
    # largest chance of a wrong verdict by luck that a rule may take: less where several claims are judged together
    error: float = MISSES

    def of(self, arm: str) -> dict[int, Trial]:
        """The complete trials of one arm, by seed."""
        return {t.seed: t for t in self.trials if t.arm == arm and t.record.state == COMPLETE}

    def values(self, arm: str, path: str) -> dict[int, float]:
        """A number of each complete trial of an arm, by seed; seeds without it are left out."""
        by_seed = sorted(self.of(arm).items())
        return {seed: float(value) for seed, trial in by_seed if (value := trial.get(path)) is not None}

    def estimate(self, arm: str, path: str) -> Estimate | None:
        """Mean over seeds; None where no seed has the value."""
        values = self.values(arm, path)
        return mean_estimate(list(values.values())) if values else None

    def difference(self, path: str) -> Estimate | None:
        """`modified` minus `original`, paired by seed; None where no seed has both."""
        a, b = self.values(ORIGINAL, path), self.values(MODIFIED, path)
        both = [seed for seed in a if seed in b]
        return mean_estimate([b[seed] - a[seed] for seed in both]) if both else None

    def not_computed(self, name: str) -> str:
        """Why a measurement is missing: the first reason that a trial gives; empty where none does."""
        reasons = (t.analysis.get("not_computed", {}).get(name, "") for t in self.trials)
        return next((reason for reason in reasons if reason), "")
