"""What the paper says about training: C17 to C20. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ablation.record.trial import COMPLETE
from ablation.report.kit.numbers import count, joined
from ablation.stats import mean_and_sd
from studies.paper.evidence.evidence import Evidence, Trial
from studies.paper.rules.compared import BONFERRONI, BY_SEED, LEAST_SEEDS, Compared, settled
from studies.paper.rules.conclude import both_ways, conclude, scope_of
from studies.paper.rules.course import LONG_ENOUGH, curve, steps_text, too_short, trained
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, all_of, from_side, worded
from studies.paper.rules.numbers import percent, plain
from studies.paper.rules.pairs import PAIR, compare, why_missing
from studies.paper.rules.verdict import Finding, Lacking, Number, Part, attempt, claim

EARLY = 3
MOST = 0.5
RISE = "largest rise of the training loss"
# rise of the training loss from one epoch to the next, relative
SPIKE = 0.1
# of the fall of the validation loss: less is how it jitters from epoch to epoch, however well the seeds agree
REBOUND = 0.02
# largest gradient of an epoch over its mean
BURST = 10.0
NOT_FINITE = re.compile(r"\b(nan|inf|infinite|infinity|not finite)\b", re.IGNORECASE)
LOSSES = {"train_loss": "training loss", "val_loss": "validation loss"}


@claim(
    id="C17", says="most of the loss falls in the first epochs", link="figure-6", measurement="share of the total fall by epoch 3",
    rule=f"Share of the fall in training loss from the first to the last epoch that is made by epoch {EARLY}: the ratio of the "
    f"means, with Fieller's interval. Holds when for both networks the interval over seeds (t, at least {LEAST_SEEDS} seeds) lies "
    f"above {percent(MOST)}; fails when for one it lies below {BONFERRONI}; else undecided, and always {LONG_ENOUGH}. What falls "
    "within the first epoch is not counted, which is cautious.",
)  # fmt: skip
def early(evidence: Evidence) -> Finding:
    """The share of the fall in training loss by an early epoch, above one half for both networks."""
    shares = {arm: _share(evidence, arm, "train_loss") for arm in PAIR}
    shortest = min(len(curve(t, "train_loss")) for arm in PAIR for t in evidence.of(arm).values())
    short = too_short(evidence)
    about = {"bound": MOST, "comparisons": len(PAIR)}
    kind = UNDECIDED if short else all_of(share.kind(**about) for share in shares.values())  # type: ignore[arg-type]
    doubt = short or settled(*shares.values(), **about)  # type: ignore[arg-type]
    each = joined(f"{share.share_text} in `{arm}` ({count(share.num_seeds, 'seed')})" for arm, share in shares.items())
    words = worded(kind, ("Most of the loss falls early.", "Most of the loss does not fall early.", "Not settled."))
    # the same of the validation loss, which does not decide
    beside = [attempt(_beside, evidence, arm) for arm in PAIR]
    numbers = [_share_number("train_loss", arm, share) for arm, share in shares.items()]
    numbers += [number for part in beside for number in part.numbers]
    text = f"{words} By epoch {EARLY} of {shortest} the training loss has made {each} of its fall.{doubt}"
    sentence = " ".join((text, *dict.fromkeys(part.text for part in beside if part.text)))
    scope = scope_of(evidence, steps_text(evidence))
    return Finding(kind=kind, sentence=sentence, evidence=tuple(numbers), scope=scope, refused=bool(short))


def _beside(evidence: Evidence, arm: str) -> Part:
    return Part(numbers=(_share_number("val_loss", arm, _share(evidence, arm, "val_loss")),))


def _share_number(name: str, arm: str, share: Compared) -> Number:
    return Number.of(f"share of the fall by epoch {EARLY}, {LOSSES[name]}, {arm}", share.estimate, name)


def _share(evidence: Evidence, arm: str, name: str) -> Compared:
    """What of its fall one loss of one network has made by the early epoch."""
    curves = [curve(trial, name) for trial in evidence.of(arm).values()]
    if not any(curves):
        raise Lacking(why_missing(evidence, f"the {LOSSES[name]} by epoch", (arm,)))
    shortest = min(map(len, curves))
    if shortest < EARLY:
        raise Lacking(f"{trained(shortest)}, {EARLY} are needed.")
    if any(c[0] <= c[-1] for c in curves):
        raise Lacking(f"The {LOSSES[name]} of `{arm}` did not fall with every seed.")
    early_falls, falls = (tuple(c[0] - c[end] for c in curves) for end in (EARLY - 1, -1))
    return Compared(label=f"the share of `{arm}`", values=early_falls, over=falls, error=evidence.error)


@claim(
    id="C18", says="`original` ends at a lower loss", link="figure-6", measurement="final train and validation loss",
    rule=f"Training and validation loss of the last epoch. Holds when both are higher in `modified` ({BY_SEED} above zero), fails "
    "when both are lower, else undecided.",
)  # fmt: skip
def lower_loss(evidence: Evidence) -> Finding:
    """Both losses of the last epoch on the same side of zero."""

    def last(name: str) -> Compared:
        return compare(evidence, f"last {LOSSES[name]}", lambda trial: next(reversed(curve(trial, name)), None))

    losses = [last(name) for name in LOSSES]
    words = ("`original` ends lower.", "`modified` ends lower.", "Which ends lower is not settled.")
    return conclude(evidence, both_ways(losses), words, *losses, scope=steps_text(evidence))


@claim(
    id="C19", says="the generalisation gap is smaller in `modified`", link="figure-6",
    measurement="validation minus training loss, both in evaluation mode on fixed weights",
    rule="Validation less training loss, both in evaluation mode on the same fixed weights. Holds when the gap is smaller in "
    f"`modified`: {BY_SEED} of its difference lies below zero; fails when it lies above; else undecided, and always "
    f"{LONG_ENOUGH}: how the gap ends cannot show before.",
)  # fmt: skip
def gap(evidence: Evidence) -> Finding:
    """The difference of the gaps between validation and training loss on one side of zero."""

    def of(trial: Trial) -> float | None:
        ends = [trial.get(f"analysis.eval_losses.{name}") for name in ("validation", "train")]
        return None if None in ends else float(ends[0] - ends[1])

    change, short = compare(evidence, "generalisation gap", of, needs=("eval_losses",)), too_short(evidence)
    kind = UNDECIDED if short else from_side(change.side(), -1)
    undecided = "Too short a training to tell." if short else "No difference of the gaps is settled."
    words = ("The gap is smaller in `modified`.", "The gap is larger in `modified`.", undecided)
    doubt = short or settled(change)
    return conclude(evidence, kind, words, change, doubt=doubt, scope=steps_text(evidence), refused=bool(short))


@claim(
    id="C20", says="both train without divergence or overfitting", link="figure-6", by_chance=False,
    measurement="gradient norms, loss spikes, validation minimum at the last epoch",
    rule=f"At least {LEAST_SEEDS} seeds of both networks. Holds when none of these is seen in any trial, fails when one is: a loss "
    f"or gradient that is not finite; a training loss that rises by more than {percent(SPIKE)} from one epoch to the next; a step "
    f"whose gradient is more than {BURST:g} times its epoch's mean; a last validation loss that lies above its own minimum by "
    f"more than one standard deviation of the minimum over seeds and by more than {percent(REBOUND)} of all that it fell "
    f"(overfitting). Where none is seen, {LONG_ENOUGH}: overfitting cannot show before. It rests on no interval.",
)  # fmt: skip
def stable(evidence: Evidence) -> Finding:
    """No sign of divergence or overfitting in any trial."""
    complete = {arm: list(evidence.of(arm).values()) for arm in PAIR}
    not_finite = [(t, sign) for t in evidence.trials if t.arm in PAIR and (sign := _not_finite(t))]
    signs = [sign for _, sign in not_finite] + [sign for arm, trials in complete.items() for sign in _signs(arm, trials)]
    fewest = min(len(trials) for trials in complete.values())
    enough = fewest + sum(t.record.state != COMPLETE for t, _ in not_finite) >= LEAST_SEEDS
    if not any(complete.values()) and not signs:
        raise Lacking(why_missing(evidence, "Training", PAIR))
    short = too_short(evidence)
    kind = UNDECIDED if not enough else FAILS if signs else UNDECIDED if short else HOLDS
    undecided = "Too short a training to tell." if enough else "Too few seeds to tell."
    words = worded(kind, ("Neither diverges nor overfits.", "Divergence or overfitting is seen.", undecided))
    seen = f"{len(signs)} signs of either: {'; '.join(signs[:4])}" if signs else "no sign of either"
    few = "" if enough else f" {count(fewest, 'seed')} of each network, and a verdict needs {LEAST_SEEDS}."
    every = [trial for trials in complete.values() for trial in trials]
    extremes = _extremes(every)
    rises = f" ({'; '.join(map(_extreme_text, extremes))})" if extremes else ""
    sentence = f"{words} In {len(every)} complete trials there is {seen}{rises}.{few}{'' if signs else short}"
    numbers = (Number(name="signs of divergence or overfitting", value=len(signs)), *extremes)
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence, steps_text(evidence)))


def _extreme_text(number: Number) -> str:
    if number.name != RISE:
        return f"{number.name} {number.text}"
    return "the training loss never rises" if number.value <= 0 else f"{number.name} {percent(number.value)}"


def _extremes(trials: list[Trial]) -> list[Number]:
    """The worst over all trials of what the rule bounds."""
    by_name = {
        RISE: [b / a - 1 for t in trials for a, b in pairwise(curve(t, "train_loss"))],
        "largest gradient over its mean": [peak / mean for t in trials for _, mean, peak in _norms(t)],
        "largest last validation loss over its minimum": [c[-1] - min(c) for t in trials if (c := curve(t, "val_loss"))],
    }
    return [Number(name=name, value=max(values), source="record.training.epochs") for name, values in by_name.items() if values]


def _not_finite(trial: Trial) -> str:
    """What a trial says about a loss or gradient that is not finite; empty where it says nothing."""
    notes = [trial.record.reason if trial.record.state != COMPLETE else "", *(trial.get("record.training.notes") or ())]
    note = next((note for note in notes if NOT_FINITE.search(note) or "no finite gradient" in note), "")
    return f"{_name(trial)}: {note}" if note else ""


def _signs(arm: str, trials: list[Trial]) -> Iterator[str]:
    """Signs of divergence and overfitting in the complete trials of one network."""
    if any(not curve(t, "val_loss") for t in trials):
        raise Lacking(f"The losses by epoch of {arm} are not stored.")
    _, spread = mean_and_sd([min(curve(t, "val_loss")) for t in trials])
    return (f"{_name(t)}: {sign}" for t in trials for sign in (*_spikes(t), *_overfitting(t, spread or 0.0)))


def _name(trial: Trial) -> str:
    return f"{trial.arm}, seed {trial.seed}"


def _norms(trial: Trial) -> Iterator[tuple[int, float, float]]:
    """(epoch, mean, largest) of the gradients of each epoch that has them."""
    for e in trial.get("record.training.epochs") or ():
        if e.get("grad_norm_mean") and e.get("grad_norm_max"):
            yield e["epoch"], e["grad_norm_mean"], e["grad_norm_max"]


def _spikes(trial: Trial) -> Iterator[str]:
    for epoch, (a, b) in enumerate(pairwise(curve(trial, "train_loss")), start=2):
        if b > a * (1 + SPIKE):
            yield f"its training loss rises by {percent(b / a - 1)} in epoch {epoch}"
    for epoch, mean, peak in _norms(trial):
        if peak > BURST * mean:
            yield f"a gradient of {plain(peak / mean)} times the mean of epoch {epoch}"


def _overfitting(trial: Trial, spread: float) -> Iterator[str]:
    losses = curve(trial, "val_loss")
    over, fall = losses[-1] - min(losses), losses[0] - min(losses)
    if over > max(spread, REBOUND * fall):
        rise = f"its validation loss ends {plain(over)} above its minimum, after a fall of {plain(fall)}"
        yield f"{rise}; the spread over seeds is {plain(spread)}"


CLAIMS = (early, lower_loss, gap, stable)
