"""The paper's claims about training: C17 to C20. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ablation.record.trial import COMPLETE
from ablation.stats import mean_and_sd
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.rules.course import LONG_ENOUGH, curve, steps_text, too_short, trained
from studies.paper.rules.rules import (
    BONFERRONI,
    BY_SEED,
    LEAST_SEEDS,
    Compared,
    compare,
    concluded,
    listed,
    numbers_of,
    scope_of,
    seeds_text,
    settled,
    why_missing,
)
from studies.paper.rules.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Finding,
    Lacking,
    Number,
    Part,
    agreed,
    all_of,
    attempt,
    from_side,
    joined,
    percent,
    percent_span,
    plain,
)

PAIR = (ORIGINAL, MODIFIED)
EARLY = 3
MOST = 0.5
RISE = "largest rise of the training loss"
SPIKE = 0.1  # rise of the training loss from one epoch to the next, relative
REBOUND = 0.02  # of the fall of the validation loss: less is how it jitters from epoch to epoch, however well the seeds agree
BURST = 10.0  # largest gradient of an epoch over its mean
NOT_FINITE = re.compile(r"\b(nan|inf|infinite|infinity|not finite)\b", re.IGNORECASE)

C17_RULE = (
    f"Share of the fall in training loss from the first to the last epoch that is made by epoch {EARLY}: the ratio of the means, "
    f"with Fieller's interval. Holds when for both networks the interval over seeds (t, at least {LEAST_SEEDS} seeds) lies above "
    f"{percent(MOST)}; fails when for one it lies below {BONFERRONI}; else undecided, and always {LONG_ENOUGH}. What falls within "
    "the first epoch is not counted, which is cautious."
)


def early(evidence: Evidence) -> Finding:
    """C17."""
    shares = {arm: _shares(evidence, arm, "train_loss") for arm in PAIR}
    shortest = min(len(curve(t, "train_loss")) for arm in PAIR for t in evidence.of(arm).values())
    few = too_short(evidence)
    found = shares.values()
    kind = UNDECIDED if few else all_of(c.kind(bound=MOST, comparisons=len(PAIR)) for c in found)
    weak = "" if few else settled(*found, bound=MOST, comparisons=len(PAIR))
    told = joined(f"{_percent(c)} in `{arm}` ({seeds_text(c.num_seeds)})" for arm, c in shares.items())
    said = ("Most of the loss falls early.", "Most of the loss does not fall early.", "Not settled.")
    sentence = f"{concluded(kind, said)} By epoch {EARLY} of {shortest} the training loss has made {told} of its fall.{few}{weak}"
    parts = [attempt(lambda arm=arm: _beside(evidence, arm)) for arm in PAIR]  # type: ignore[misc]
    numbers = [_share_number("training loss", "train_loss", arm, c) for arm, c in shares.items()]
    numbers += [number for part in parts for number in part.numbers]
    sentence = " ".join((sentence, *dict.fromkeys(part.text for part in parts if part.text)))
    scope = scope_of(evidence, steps_text(evidence))
    return Finding(kind=kind, sentence=sentence, evidence=tuple(numbers), scope=scope, refused=bool(few))


def _percent(share: Compared) -> str:
    e = share.estimate
    return percent_span(e.value, e.low, e.high)


def _beside(evidence: Evidence, arm: str) -> Part:
    """The same share of the validation loss, which does not decide."""
    found = _shares(evidence, arm, "val_loss")
    return Part(kind=UNDECIDED, text="", numbers=(_share_number("validation loss", "val_loss", arm, found),))


def _share_number(name: str, source: str, arm: str, share: Compared) -> Number:
    e = share.estimate
    return Number(name=f"share of the fall by epoch {EARLY}, {name}, {arm}", value=e.value, low=e.low, high=e.high, source=source)


def _shares(evidence: Evidence, arm: str, name: str) -> Compared:
    curves = [curve(trial, name) for trial in evidence.of(arm).values()]
    loss = {"train_loss": "training loss", "val_loss": "validation loss"}[name]
    if not any(curves):
        raise Lacking(why_missing(evidence, f"the {loss} by epoch", (arm,)))
    shortest = min(map(len, curves))
    if shortest < EARLY:
        raise Lacking(f"{trained(shortest)}, {EARLY} are needed.")
    if any(c[0] <= c[-1] for c in curves):
        raise Lacking(f"The {loss} of `{arm}` did not fall with every seed.")
    early_falls, falls = (tuple(c[0] - c[end] for c in curves) for end in (EARLY - 1, -1))
    return Compared(label=f"the share of `{arm}`", values=early_falls, over=falls, error=evidence.error)


C18_RULE = (
    f"Training and validation loss of the last epoch. Holds when both are higher in `modified` ({BY_SEED} above zero), fails "
    "when both are lower, else undecided."
)


def lower_loss(evidence: Evidence) -> Finding:
    """C18."""
    found = tuple(
        compare(evidence, label, lambda t, name=name: _last(t, name))  # type: ignore[misc]
        for label, name in (("last training loss", "train_loss"), ("last validation loss", "val_loss"))
    )
    kind = agreed(from_side(c.side()) for c in found)
    said = ("`original` ends lower.", "`modified` ends lower.", "Which ends lower is not settled.")
    sentence = f"{concluded(kind, said)} {listed(*found)}{settled(*found)}"
    scope = scope_of(evidence, steps_text(evidence))
    return Finding(kind=kind, sentence=sentence, evidence=numbers_of(found), scope=scope)


def _last(trial: Trial, name: str) -> float | None:
    losses = curve(trial, name)
    return losses[-1] if losses else None


C19_RULE = (
    "Validation less training loss, both in evaluation mode on the same fixed weights. Holds when the gap is smaller in "
    f"`modified`: {BY_SEED} of its difference lies below zero; fails when it lies above; else undecided, and always "
    f"{LONG_ENOUGH}: how the gap ends cannot show before."
)


def gap(evidence: Evidence) -> Finding:
    """C19."""

    def of(trial: Trial) -> float | None:
        ends = [trial.get(f"analysis.eval_losses.{name}") for name in ("validation", "train")]
        return None if None in ends else float(ends[0] - ends[1])

    found = compare(evidence, "generalisation gap", of, needs=("eval_losses",))
    few = too_short(evidence)
    kind = UNDECIDED if few else from_side(found.side(), -1)
    open_ = "Too short a training to tell." if few else "No difference of the gaps is settled."
    said = ("The gap is smaller in `modified`.", "The gap is larger in `modified`.", open_)
    sentence = f"{concluded(kind, said)} {listed(found)}{few or settled(found)}"
    scope = scope_of(evidence, steps_text(evidence))
    return Finding(kind=kind, sentence=sentence, evidence=found.numbers, scope=scope, refused=bool(few))


C20_RULE = (
    f"At least {LEAST_SEEDS} seeds of both networks. Holds when none of these is seen in any trial, fails when one is: a loss or "
    f"gradient that is not finite; a training loss that rises by more than {percent(SPIKE)} from one epoch to the next; a step "
    f"whose gradient is more than {BURST:g} times its epoch's mean; a last validation loss that lies above its own minimum by "
    f"more than one standard deviation of the minimum over seeds and by more than {percent(REBOUND)} of all that it fell "
    f"(overfitting). Where none is seen, {LONG_ENOUGH}: overfitting cannot show before. It rests on no interval."
)


def stable(evidence: Evidence) -> Finding:
    """C20."""
    trials = [t for t in evidence.trials if t.arm in PAIR]
    complete = {arm: list(evidence.of(arm).values()) for arm in PAIR}
    signs = [sign for t in trials if (sign := _not_finite(t))]
    for arm, found in complete.items():
        if found and any(not curve(t, "val_loss") for t in found):
            raise Lacking(f"The losses by epoch of {arm} are not stored.")
        _, spread = mean_and_sd([min(curve(t, "val_loss")) for t in found])
        signs += [sign for t in found for sign in (*_spikes(t), *_overfitting(t, spread or 0.0))]
    fewest = min(len(found) for found in complete.values())
    enough = fewest + len([t for t in trials if t.record.state != COMPLETE and _not_finite(t)]) >= LEAST_SEEDS
    if not trials or (not any(complete.values()) and not signs):
        raise Lacking(why_missing(evidence, "Training", PAIR))
    short = too_short(evidence)
    kind = UNDECIDED if not enough else FAILS if signs else UNDECIDED if short else HOLDS
    num = sum(len(found) for found in complete.values())
    said = (
        "Neither diverges nor overfits.",
        "Divergence or overfitting is seen.",
        "Too short a training to tell." if enough else "Too few seeds to tell.",
    )
    seen = f"{len(signs)} signs of either: {'; '.join(signs[:4])}" if signs else "no sign of either"
    few = "" if enough else f" {seeds_text(fewest)} of each network, and a verdict needs {LEAST_SEEDS}."
    few += short if not signs else ""
    numbers = (Number(name="signs of divergence or overfitting", value=len(signs)), *_extremes(complete))
    rises = "; ".join(map(_extreme_text, numbers[1:]))
    sentence = f"{concluded(kind, said)} In {num} complete trials there is {seen}{f' ({rises})' if rises else ''}.{few}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence, steps_text(evidence)))


def _extreme_text(number: Number) -> str:
    if number.name != RISE:
        return f"{number.name} {number.text}"
    return "the training loss never rises" if number.value <= 0 else f"{number.name} {percent(number.value)}"


def _extremes(complete: dict[str, list[Trial]]) -> list[Number]:
    """The worst over all trials of what the rule bounds."""
    trials = [t for found in complete.values() for t in found]
    rises = [b / a - 1 for t in trials for a, b in _steps(curve(t, "train_loss"))]
    bursts = [peak / mean for t in trials for _, mean, peak in _norms(t)]
    ends = [losses[-1] - min(losses) for t in trials if (losses := curve(t, "val_loss"))]
    named = {
        RISE: rises, "largest gradient over its mean": bursts,
        "largest last validation loss over its minimum": ends,
    }  # fmt: skip
    return [Number(name=name, value=max(values), source="record.training.epochs") for name, values in named.items() if values]


def _not_finite(trial: Trial) -> str:
    notes = [trial.record.reason if trial.record.state != COMPLETE else "", *(trial.get("record.training.notes") or ())]
    found = next((note for note in notes if NOT_FINITE.search(note) or "no finite gradient" in note), "")
    return f"{trial.arm}, seed {trial.seed}: {found}" if found else ""


def _steps(curve: list[float]) -> Iterable[tuple[float, float]]:
    return zip(curve, curve[1:], strict=False)


def _norms(trial: Trial) -> list[tuple[int, float, float]]:
    epochs = trial.get("record.training.epochs") or ()
    return [
        (e["epoch"], e["grad_norm_mean"], e["grad_norm_max"]) for e in epochs if e.get("grad_norm_mean") and e.get("grad_norm_max")
    ]


def _spikes(trial: Trial) -> list[str]:
    rises = [
        f"its training loss rises by {percent(b / a - 1)} in epoch {n}"
        for n, (a, b) in enumerate(_steps(curve(trial, "train_loss")), start=2)
        if b > a * (1 + SPIKE)
    ]
    bursts = [
        f"a gradient of {plain(peak / mean)} times the mean of epoch {n}" for n, mean, peak in _norms(trial) if peak > BURST * mean
    ]
    return [f"{trial.arm}, seed {trial.seed}: {what}" for what in (*rises, *bursts)]


def _overfitting(trial: Trial, spread: float) -> list[str]:
    losses = curve(trial, "val_loss")
    over, fall = losses[-1] - min(losses), losses[0] - min(losses)
    told = f"its validation loss ends {plain(over)} above its minimum, after a fall of {plain(fall)}"
    overfits = over > max(spread, REBOUND * fall)
    return [f"{trial.arm}, seed {trial.seed}: {told}; the spread over seeds is {plain(spread)}"] if overfits else []


CLAIMS = (
    Claim(
        id="C17", says="most of the loss falls in the first epochs", rule=C17_RULE, link="figure-6", find=early,
        measurement="share of the total fall by epoch 3",
    ),
    Claim(
        id="C18", says="`original` ends at a lower loss", rule=C18_RULE, link="figure-6", find=lower_loss,
        measurement="final train and validation loss",
    ),
    Claim(
        id="C19", says="the generalisation gap is smaller in `modified`", rule=C19_RULE, link="figure-6", find=gap,
        measurement="validation minus training loss, both in evaluation mode on fixed weights",
    ),
    Claim(
        id="C20", says="both train without divergence or overfitting", rule=C20_RULE, link="figure-6", find=stable,
        by_chance=False,
        measurement="gradient norms, loss spikes, validation minimum at the last epoch",
    ),
)  # fmt: skip
