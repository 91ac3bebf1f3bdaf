"""What the paper's page says in sentences, made from its numbers: the answer, the scale, what is missing and why. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ablation.record.trial import COMPLETE, FAILED
from ablation.report.explain import style as explain_style
from ablation.report.explain.answer import headline
from ablation.stats import Estimate
from studies.paper.claims.ledger import NUM_CLAIMS
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, SAME_PARAMETERS, Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.page import look
from studies.paper.rules.compared import LEAST_SEEDS
from studies.paper.rules.conclude import PAPER_SCALE
from studies.paper.rules.explained import interval_of, size_text
from studies.paper.rules.verdict import NOT_COMPUTED, Verdict

NUM_FINDINGS = 3
OF_COST = "C1 to C6"  # claims that the explanation settles, at its own size and width
# kind, of several, of one
# the claims whose verdict is quoted first where a finding of its own cannot be made
KINDS = (("holds", "hold", "holds"), ("fails", "fail", "fails"), ("undecided", "are undecided", "is undecided"))
WEIGHTY = ("C8", "C3", "C12", "C15", "C7", "C5", "C2a", "C18", "C21", "C14")
DATA = {"faces": "rendered faces", "celeba": "CelebA"}
SCALE_TEXTS: dict[str, Callable[[object], str]] = {
    "data": lambda v: DATA.get(str(v), str(v)),
    "image_size": lambda v: f"{v} px",
    "num_images": lambda v: f"{v:,} images" if isinstance(v, int) else f"{v} images",
    "epochs": lambda v: f"{v} epoch{'' if v == 1 else 's'}",
    "width": lambda v: "networks of the paper's width" if v == PAPER_SCALE["width"] else f"networks of {v} of the paper's width",
}


def answer(evidence: Evidence, verdicts: Sequence[Verdict]) -> str:
    """The paragraph that comes first, five sentences at most: how the claims fare, and three findings made from numbers."""
    return " ".join(text for text in (counts(verdicts), *findings(evidence, verdicts)) if text)


def correction(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts were corrected together."""
    together = max((v.together for v in verdicts), default=0)
    return f"{together} of the {len(verdicts)} verdicts below rest on intervals and could be decided in this study."


def counts(verdicts: Sequence[Verdict]) -> str:
    """'Of 22 verdicts on the paper's 21 claims 9 hold ...', and the same of Toledo and Antonelo's four where judged."""
    groups = (("C", "the paper's", f"{NUM_CLAIMS} claims"), ("T", "Toledo and Antonelo's", "findings"))
    texts = []
    for letter, whose, what in groups:
        found = Counter(v.kind for v in verdicts if v.id.startswith(letter))
        if found and all(v.sentence.startswith(NOT_COMPUTED) for v in verdicts if v.id.startswith(letter)):
            number = "" if what[0].isdigit() else f"{found.total()} "
            texts.append(f"{_capital(whose)} {number}{what} **were not judged**: what they need was not computed.")
        elif found:
            told = [f"{found[kind]} {one if found[kind] == 1 else several}" for kind, several, one in KINDS if found[kind]]
            of = f"{found.total()} verdicts on {whose}" if what[0].isdigit() else f"{whose} {found.total()}"
            texts.append(f"Of {of} {what} **{look.joined(told)}**.")
    return " ".join(texts) or "No claim was judged."


def findings(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[str]:
    """Quality, its cause, and speed, as far as they were measured; weighty verdicts in place of what was not."""
    own = [text for text in (_quality(evidence), _parameters(evidence), _speed(evidence)) if text]
    by_id = {v.id: v for v in verdicts}
    more = [
        f"{v.id} {v.kind}: {v.sentence.partition('. ')[0].rstrip('.')}."
        for name in WEIGHTY
        if (v := by_id.get(name)) is not None and v.kind != "undecided"
    ]
    return [*own, *more[: NUM_FINDINGS - len(own)]]


def _quality(evidence: Evidence) -> str:
    metric = look.QUALITY["ssim"]
    first, second = (evidence.estimate(arm, metric.path) for arm in look.PAIR)
    difference = evidence.difference(metric.path)
    if first is None or second is None or difference is None:
        return ""
    settled = difference.num >= LEAST_SEEDS and difference.low is not None and difference.high is not None
    apart = difference.low is not None and difference.high is not None and difference.low * difference.high > 0
    verb = "not measurably different" if not apart else "worse" if difference.value < 0 else "better"
    text = f"Reconstructions by {MODIFIED} {f'are {verb}: ' if settled else 'reach '}SSIM {look.decimal(second.value, 3)}"
    text += f" against {look.decimal(first.value, 3)}"
    text += f" ({_difference(difference)})"
    control = evidence.estimate(SAME_PARAMETERS, metric.path)
    return text + (
        "." if control is None else f"; a plain network with as few parameters reaches {look.decimal(control.value, 3)}."
    )


def _difference(found: Estimate) -> str:
    text = f"{'+' if found.value > 0 else ''}{look.decimal(found.value, 3)}"
    if found.low is None or found.high is None:
        return f"{text} with one seed, so without an interval"
    return f"{text}, 95\u00a0% interval {look.decimal(found.low, 3)} to {look.decimal(found.high, 3)} over {found.num} seeds"


def _parameters(evidence: Evidence) -> str:
    found = explain_style.find(evidence.explanation, "params") if evidence.explanation is not None else None
    if found is None or not found.shapley or found.end == found.start:
        return ""
    whole = found.end - found.start
    # the largest part of a saving is not what adds most
    name, effect = max(found.shapley.items(), key=lambda item: item[1].value * whole)
    share = f"{100 * abs(whole) / found.start:.1f}\u00a0%"
    said = (
        f"{_capital(MODIFIED)} has {look.decimal(abs(whole) * 1e-6, 2)} M parameters {'fewer' if whole < 0 else 'more'} ({share}): "
    )
    said += f"the piece that does most, {explain_style.plain(name)}, makes {_signed_millions(effect.value)} of it"
    rest = whole - effect.value
    return f"{said}, all others together {_signed_millions(rest)}."


def _signed_millions(value: float) -> str:
    return f"{'+' if value > 0 else ''}{look.decimal(value * 1e-6, 2)} M"


def _speed(evidence: Evidence) -> str:
    e = evidence.explanation
    found = headline(e) if e is not None else None
    if e is None or found is None:
        return ""
    low, high = interval_of(e, found.place)
    interval = "" if low is None or high is None else f", 95\u00a0% interval {low:.2f} to {high:.2f}"
    text = f"It takes {found.ratio:.2f} times as long as {ORIGINAL} ({explain_style.place_text(found.place)}, 144 px{interval})"
    a, b = (e.costs.get(arm, {}).get("macs") for arm in look.PAIR)
    more = f" and does {b / a:.2f} times as many multiply-accumulates" if a and b else ""
    (first, _), (second, _) = (REPORTED[arm].latency_ms[1] for arm in look.PAIR)
    return f"{text}{more}; the paper reports {second / first:.2f} times as long on its GPU, with one image."


def what_was_run(evidence: Evidence) -> str:
    """Models, data, images, epochs, seeds and hardware, in one sentence or two."""
    scale, trials = evidence.scale, evidence.trials
    arms = list(dict.fromkeys(t.arm for t in trials))
    done = f"{sum(t.record.state == COMPLETE for t in trials)} of {len(trials)} trials complete"
    numbers = [len(evidence.of(arm)) for arm in arms]
    texts = [f"{len(arms)} network{'' if len(arms) == 1 else 's'}, {look.seeds_text(numbers)} each: {done}"]
    if evidence.hypotheses:
        complete = sum(t.record.state == COMPLETE for t in evidence.hypotheses)
        texts[0] += f"; and {complete} of {len(evidence.hypotheses)} of Toledo and Antonelo's losses and masks"
    told = [
        text(scale[key]) + (_training_images(scale) if key == "num_images" else "")
        for key, text in SCALE_TEXTS.items()
        if key in scale
    ]
    where = scale.get("hardware") or scale.get("device")
    texts += [f"{', '.join(told)}" if told else "scale unknown", f"on {where}" if where else "hardware unknown"]
    return f"**What was run.** {texts[0]}. {_capital(texts[1])}, {texts[2]}."


def _training_images(scale: Mapping[str, object]) -> str:
    train = scale.get("num_train")
    return f" ({train:,} for training)" if isinstance(train, int) else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def paper_scale(evidence: Evidence) -> str:
    """Whether this is the paper's scale; where not, in what it differs."""
    scale = evidence.scale
    unlike = [key for key, wanted in PAPER_SCALE.items() if scale.get(key) != wanted]
    if not unlike:
        return "**This is the paper's scale**: its data, image size, number of images, epochs and networks."
    told = [_unlike(key, scale) for key in unlike]
    e = evidence.explanation
    apart = "" if e is None else f"{OF_COST}, about cost and latency, are of the explained pair at {size_text(e)} instead. "
    return f"**This is not the paper's scale**: {look.joined(told)}. {apart}Verdicts are about what was run."


def _unlike(key: str, scale: Mapping[str, object]) -> str:
    text = SCALE_TEXTS[key]
    return f"{text(scale[key])} instead of {text(PAPER_SCALE[key])}" if key in scale else f"{key.replace('_', ' ')} unknown"


def budget(evidence: Evidence) -> str:
    """What the budget gave up, in short; nothing where it gave up nothing."""
    if not evidence.given_up:
        return "Nothing was left out for lack of time."
    return f"Left out for lack of time: {' '.join(evidence.given_up)}"


def why(evidence: Evidence, *names: str) -> str:
    """Why a measurement is missing, for the first of these names that anything says why of."""
    for name in names:
        found = evidence.not_computed(name)
        if found:
            return found
    for name in names:
        told = [text for text in (*evidence.given_up, *evidence.limits) if name.replace("_", " ").lower() in text.lower()]
        if told:
            return " ".join(told)
    if not any(t.record.state == COMPLETE for t in evidence.trials):
        return "no trial was completed."
    return "no reason was stored."


def missing(evidence: Evidence, what: str, *names: str) -> str:
    """'Not measured: the probes. Why: ...'"""
    reason = why(evidence, *names, what).strip()
    return f"Not measured: {what}. Why: {reason}{'' if reason.endswith('.') else '.'}"


def failures(evidence: Evidence) -> list[str]:
    """One sentence for each trial that failed or was never finished."""
    gone = [t for t in (*evidence.trials, *evidence.hypotheses) if t.record.state != COMPLETE]
    return [f"{t.arm}, seed {t.seed}: {_state(t)}" for t in gone]


def _state(trial: Trial) -> str:
    state = "failed" if trial.record.state == FAILED else f"not finished ({trial.record.state})"
    return f"{state}: {trial.record.reason}" if trial.record.reason else f"{state}, no reason stored"


def not_computed(evidence: Evidence) -> list[str]:
    """One sentence for each measurement that an analysis names as not computed, with its reason and how many trials it is of."""
    found: Counter[tuple[str, str]] = Counter()
    analysed = [t for t in (*evidence.trials, *evidence.hypotheses) if t.analysis]  # those that failed have a reason, too
    for trial in analysed:
        found.update((str(name), str(reason)) for name, reason in (trial.analysis.get("not_computed") or {}).items())
    told = [f"{name.replace('_', ' ')}: {reason} ({n} of {len(analysed)} analyses)" for (name, reason), n in sorted(found.items())]
    bare = [t for t in (*evidence.trials, *evidence.hypotheses) if t.record.state == COMPLETE and not t.analysis]
    return told + ([f"{len(bare)} complete trials have no analysis"] if bare else [])
