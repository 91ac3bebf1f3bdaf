"""What a search stores: every network that it proposed, how it went, and what was confirmed. Plain values, no torch.

Written by `ablation.record.convert.to_plain`, read by `from_plain(SearchResult, ...)`. A number that is missing, or not finite,
is None. A place is device/batch, e.g. "cpu/1". Costs and latency are of the deployed form; `params` alone is of the trained form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablation.record.search_confirmed import Confirmation, Stage, Timing, Undone
from ablation.record.trial import COMPLETE, METRICS, WAITING, Metric

VERSION = 1
# states of a candidate beside those of trials
STOPPED, REFUSED = "stopped early", "refused"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network as the search knows it: the reference, a proposal, or another network that is drawn for comparison."""

    # Optuna's trial number; None of the reference and of others that were not proposed
    number: int | None = None
    # short human name, in words: "original", "partial, residual_unshuffle, 32-64-128"
    label: str
    # network key
    key: str = ""
    # every field of its ModelSpec, or the call that makes it
    spec: Mapping[str, Any] = field(default_factory=dict)
    # factor -> level, as text
    factors: Mapping[str, str] = field(default_factory=dict)
    # COMPLETE, STOPPED, REFUSED (by a limit, before training), FAILED, RUNNING or WAITING
    state: str = WAITING
    # of REFUSED the limit that it breaks, of FAILED the error; of a complete one why it has no loss; one line
    reason: str = ""
    # of STOPPED: epochs after which it was
    rung: int | None = None
    # in the form that is trained, to which limits and front hold it
    params: int | None = None
    # as deployed; None where that is the same form
    deployed_params: int | None = None
    macs: int | None = None
    # place -> its latency
    latency: Mapping[str, Timing] = field(default_factory=dict)
    # validation loss of each epoch, or what else networks are trained for (`SearchResult.metric`); None where it was not finite
    losses: tuple[float | None, ...] = ()
    # the best of them, or of a training of the user's own the end; with one seed, so it is a search value
    best_loss: float | None = None
    # seconds from the start of the search to its end
    ended_s: float | None = None
    # whether it was on the front of all that had been trained when it ended
    entered_front: bool = False

    @property
    def trained(self) -> bool:
        """Whether it has a loss: complete, or stopped early."""
        return self.state in (COMPLETE, STOPPED) and self.best_loss is not None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A value that no network may exceed that is trained."""

    # "params", "macs", "latency", ...
    metric: str
    # of a latency
    place: str = ""
    # as it was given: "0.5x"
    text: str
    # in native units: parameters, multiply-accumulates, ms
    value: float
    # valid variants of the space that break it, whether or not others break too; None where nobody counted
    num_excluded: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchedSpace:
    """The space in numbers."""

    name: str
    # factor -> its levels, as text
    factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_combinations: int
    # networks that can be built, each once; inside all limits, predicted latency included
    num_valid: int | None = None
    num_inside: int | None = None
    # variants of a sample from which the two are estimated; None where all were counted
    sample: int | None = None


@dataclass(frozen=True, kw_only=True)
class PredictionError:
    """How well latency was predicted, on networks that the model had not seen."""

    place: str
    num_fitted: int
    num_held_out: int
    # of |predicted / measured - 1|
    median: float
    # share of the unseen networks within 10 %
    within_10: float


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One early decision: after so many epochs."""

    epochs: int
    num_stopped: int = 0
    # Spearman's, between the loss here and at the end, of the networks that went on to the end; None with fewer than 3
    rank_correlation: float | None = None
    num: int = 0


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Hypervolume of the front after each training, in the order in which they ended."""

    reached: tuple[float, ...]
    # what random proposals of the same space, within the same limits, would be expected to reach; empty where nobody estimated it
    random: tuple[float, ...] = ()
    # its 95 % range, empty without
    random_low: tuple[float, ...] = ()
    random_high: tuple[float, ...] = ()
    # where `random` is from
    source: str = "estimated by the model of losses"


@dataclass(frozen=True, kw_only=True)
class LossDistribution:
    """Losses of the whole space as the model of losses predicts them: pairs of a share of networks and the loss that they reach."""

    # from (0.0, best) to (1.0, worst)
    quantiles: tuple[tuple[float, float], ...]
    # networks that were predicted
    num: int
    source: str = "estimated by the model of losses"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Everything that the page of a search shows."""

    title: str
    command: str = ""
    # data and protocol of the search in words, one sentence each: name, images, size; epochs, loss, optimiser, rate, seed
    data: str = ""
    protocol: str = ""
    # "cpu", and the machine in words: "AMD EPYC, 1 thread"
    device: str = "cpu"
    machine: str = ""
    # what networks are trained for: the validation loss, or the first metric of a training of the user's own
    metric: Metric = METRICS["loss"]
    reference: Candidate
    # drawn for comparison, e.g. `modified`
    others: tuple[Candidate, ...] = ()
    limits: tuple[Limit, ...] = ()
    space: SearchedSpace
    # name and one sentence about it
    sampler: str = ""
    sampler_text: str = ""
    # as given: "60 trainings", "1h"
    budget: str = ""
    # trials of earlier studies that it began with
    num_warm: int = 0
    seconds: float | None = None
    prediction: tuple[PredictionError, ...] = ()
    proposals: tuple[Candidate, ...] = ()
    rungs: tuple[Rung, ...] = ()
    growth: Growth | None = None
    distribution: LossDistribution | None = None
    # number of the proposal that the page puts beside the reference: the confirmed one that wins, or else the best by search values
    winner: int | None = None
    confirmation: Confirmation | None = None
    # what undoing each of the winner's differences from the reference changes
    undone: tuple[Undone, ...] = ()
    # "reference" and "winner" -> its stages from image to image
    drawings: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)
    # why there are no pictures of reconstructions, where there are none
    gallery_reason: str = ""
    # what was not done, or only coarsely, and why; whole sentences
    missing: tuple[str, ...] = ()
    # what to do next: a phrase -> the command line
    next_commands: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def candidate(self, number: int | None) -> Candidate | None:
        """The proposal of this number; None where there is none."""
        return next((c for c in self.proposals if c.number == number), None) if number is not None else None
