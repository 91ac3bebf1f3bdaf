"""The sentences of the paper's page, made from its numbers: the answer, the scale, what is missing and why. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ablation.record.trial import COMPLETE, FAILED
from ablation.report.explain import style as explain_style
from ablation.report.explain.answer import headline
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import capital, count, decimal, joined
from ablation.stats import Estimate
from studies.paper.claims.ledger import NUM_CLAIMS
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, SAME_PARAMETERS, Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.page import style
from studies.paper.rules.compared import LEAST_SEEDS
from studies.paper.rules.conclude import PAPER_SCALE
from studies.paper.rules.explained import interval_of, size_text
from studies.paper.rules.verdict import NOT_COMPUTED, Verdict

NUM_FINDINGS = 3
# claims that the explanation settles, at its own size and width
OF_COST = "C1 to C6"
# kind, of several, of one
KINDS = (("holds", "hold", "holds"), ("fails", "fail", "fails"), ("undecided", "are undecided", "is undecided"))
# the claims whose verdict is quoted first where a finding of its own cannot be made
WEIGHTY = ("C8", "C3", "C12", "C15", "C7", "C5", "C2a", "C18", "C21", "C14")
SCALE_TEXTS: dict[str, Callable[[object], str]] = {
    "data": style.data_text,
    "image_size": lambda v: f"{v} px",
    "num_images": lambda v: f"{v:,} images" if isinstance(v, int) else f"{v} images",
    "epochs": lambda v: f"{v} epoch{'' if v == 1 else 's'}",
    "width": lambda v: "networks of the paper's width" if v == PAPER_SCALE["width"] else f"networks of {v} of the paper's width",
}


def answer(evidence: Evidence, verdicts: Sequence[Verdict]) -> str:
    """The paragraph that comes first, five sentences at most: how the claims fare, and three findings made from numbers."""
    return " ".join([counts(verdicts), *findings(evidence, verdicts)])


def correction(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts were corrected together."""
    together = max((v.together for v in verdicts), default=0)
    return f"{together} of the {len(verdicts)} verdicts below rest on intervals and could be decided in this study."


def counts(verdicts: Sequence[Verdict]) -> str:
    """'Of 22 verdicts on the paper's 21 claims 9 hold ...', and the same of Toledo and Antonelo's four where judged."""
    texts = []
    for letter, whose, claims in (("C", "the paper's", f"{NUM_CLAIMS} claims"), ("T", "Toledo and Antonelo's", "findings")):
        group = [v for v in verdicts if v.id.startswith(letter)]
        kinds = Counter(v.kind for v in group)
        # the first sentence counts claims and verdicts, which differ in number
        number = "" if letter == "C" else f"{len(group)} "
        if group and all(v.sentence.startswith(NOT_COMPUTED) for v in group):
            texts.append(f"{capital(whose)} {number}{claims} **were not judged**: what they need was not computed.")
        elif group:
            fates = [f"{kinds[kind]} {one if kinds[kind] == 1 else several}" for kind, several, one in KINDS if kinds[kind]]
            of = f"{whose} {number}" if number else f"{len(group)} verdicts on {whose} "
            texts.append(f"Of {of}{claims} **{joined(fates)}**.")
    return " ".join(texts) or "No claim was judged."


def findings(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[str]:
    """Quality, its cause, and speed, as far as they were measured; weighty verdicts in place of what was not."""
    own = [text for text in (_quality(evidence), _parameters(evidence), _speed(evidence)) if text]
    by_id = {v.id: v for v in verdicts if v.kind != "undecided"}
    weighty = [by_id[name] for name in WEIGHTY if name in by_id]
    more = [f"{v.id} {v.kind}: {v.sentence.partition('. ')[0].rstrip('.')}." for v in weighty]
    return [*own, *more[: NUM_FINDINGS - len(own)]]


def _quality(evidence: Evidence) -> str:
    path = style.QUALITY["ssim"].path
    first, second, control = (evidence.estimate(arm, path) for arm in (ORIGINAL, MODIFIED, SAME_PARAMETERS))
    difference = evidence.difference(path)
    if first is None or second is None or difference is None:
        return ""
    verb = "not measurably different" if difference.contains(0) else "worse" if difference.value < 0 else "better"
    reach = f"are {verb}: " if difference.num >= LEAST_SEEDS and difference.known else "reach "
    text = f"Reconstructions by {MODIFIED} {reach}SSIM {decimal(second.value, 3)} against {decimal(first.value, 3)}"
    beside = f"; a plain network with as few parameters reaches {decimal(control.value, 3)}" if control is not None else ""
    return f"{text} ({_difference(difference)}){beside}."


def _difference(estimate: Estimate) -> str:
    text = style.signed(estimate.value, 3)
    if not estimate.known:
        return f"{text} with one seed, so without an interval"
    low, high = (decimal(end, 3) for end in (estimate.low, estimate.high))
    return f"{text}, 95\u00a0% interval {low} to {high} over {estimate.num} seeds"


def _parameters(evidence: Evidence) -> str:
    params = explain_style.find(evidence.explanation, "params") if evidence.explanation is not None else None
    if params is None or not params.shapley or params.end == params.start:
        return ""
    whole = params.end - params.start
    # the largest part of a saving is not what adds most
    name, effect = max(params.shapley.items(), key=lambda item: item[1].value * whole)
    makes, rest = (f"{style.signed(value * 1e-6, 2)} M" for value in (effect.value, whole - effect.value))
    more = f"{decimal(abs(whole) * 1e-6, 2)} M parameters {'fewer' if whole < 0 else 'more'}"
    return (
        f"{capital(MODIFIED)} has {more} ({100 * abs(whole) / params.start:.1f}\u00a0%): the piece that does most, "
        f"{plain(name)}, makes {makes} of it, all others together {rest}."
    )


def _speed(evidence: Evidence) -> str:
    e = evidence.explanation
    ours = headline(e) if e is not None else None
    if e is None or ours is None:
        return ""
    low, high = interval_of(e, ours.place)
    interval = "" if low is None or high is None else f", 95\u00a0% interval {low:.2f} to {high:.2f}"
    text = f"It takes {ours.ratio:.2f} times as long as {ORIGINAL} ({explain_style.place_text(ours.place)}, 144 px{interval})"
    a, b = (e.costs.get(arm, {}).get("macs") for arm in style.PAIR)
    more = f" and does {b / a:.2f} times as many multiply-accumulates" if a and b else ""
    (first, _), (second, _) = (REPORTED[arm].latency_ms[1] for arm in style.PAIR)
    return f"{text}{more}; the paper reports {second / first:.2f} times as long on its GPU, with one image."


def setup_text(evidence: Evidence) -> str:
    """Models, data, images, epochs, seeds and hardware, in one sentence or two."""
    scale, trials = evidence.scale, evidence.trials
    arms = list(dict.fromkeys(t.arm for t in trials))
    seeds = style.seeds_text([len(evidence.of(arm)) for arm in arms])
    run = f"{count(len(arms), 'network')}, {seeds} each: {len(style.complete(trials))} of {len(trials)} trials complete"
    if evidence.hypotheses:
        complete = len(style.complete(evidence.hypotheses))
        run += f"; and {complete} of {len(evidence.hypotheses)} of Toledo and Antonelo's losses and masks"
    texts = {key: text(scale[key]) for key, text in SCALE_TEXTS.items() if key in scale}
    if "num_images" in texts and isinstance(scale.get("num_train"), int):
        texts["num_images"] += f" ({scale['num_train']:,} for training)"
    where = scale.get("hardware") or scale.get("device")
    on = f"on {where}" if where else "hardware unknown"
    return f"**What was run.** {run}. {capital(', '.join(texts.values()) or 'scale unknown')}, {on}."


def paper_scale(evidence: Evidence) -> str:
    """Whether this is the paper's scale; where not, in what it differs."""
    scale, e = evidence.scale, evidence.explanation
    differences = [
        f"{SCALE_TEXTS[key](scale[key])} instead of {SCALE_TEXTS[key](wanted)}" if key in scale else f"{plain(key)} unknown"
        for key, wanted in PAPER_SCALE.items()
        if scale.get(key) != wanted
    ]
    if not differences:
        return "**This is the paper's scale**: its data, image size, number of images, epochs and networks."
    apart = "" if e is None else f"{OF_COST}, about cost and latency, are of the explained pair at {size_text(e)} instead. "
    return f"**This is not the paper's scale**: {joined(differences)}. {apart}Verdicts are about what was run."


def budget(evidence: Evidence) -> str:
    """What the budget gave up, in short; nothing where it gave up nothing."""
    if not evidence.given_up:
        return "Nothing was left out for lack of time."
    return f"Left out for lack of time: {' '.join(evidence.given_up)}"


def why(evidence: Evidence, *names: str) -> str:
    """Why a measurement is missing, for the first of these names that anything says why of."""
    sentences = (*evidence.given_up, *evidence.limits)
    reasons = [evidence.not_computed(name) for name in names]
    reasons += [" ".join(text for text in sentences if plain(name).lower() in text.lower()) for name in names]
    nothing = "no reason was stored." if style.complete(evidence.trials) else "no trial was completed."
    return next(filter(None, reasons), nothing)


def missing(evidence: Evidence, name: str, *names: str) -> str:
    """'Not measured: the probes. Why: ...'"""
    reason = why(evidence, *names, name).strip()
    return f"Not measured: {name}. Why: {reason}{'' if reason.endswith('.') else '.'}"


def failures(evidence: Evidence) -> list[str]:
    """One sentence for each trial that failed or was never finished."""
    trials = (*evidence.trials, *evidence.hypotheses)
    return [f"{t.arm}, seed {t.seed}: {_state(t)}" for t in trials if t.record.state != COMPLETE]


def _state(trial: Trial) -> str:
    state = "failed" if trial.record.state == FAILED else f"not finished ({trial.record.state})"
    return f"{state}: {trial.record.reason}" if trial.record.reason else f"{state}, no reason stored"


def not_computed(evidence: Evidence) -> list[str]:
    """One sentence for each measurement that an analysis names as not computed, with its reason and how many trials it is of."""
    trials = (*evidence.trials, *evidence.hypotheses)
    analysed = [t for t in trials if t.analysis]  # those that failed have a reason, too
    reasons = Counter((str(name), str(reason)) for t in analysed for name, reason in (t.analysis.get("not_computed") or {}).items())
    texts = [f"{plain(name)}: {reason} ({n} of {len(analysed)} analyses)" for (name, reason), n in sorted(reasons.items())]
    bare = sum(not t.analysis for t in style.complete(trials))
    return texts + ([f"{bare} complete trials have no analysis"] if bare else [])


def not_probed(evidence: Evidence) -> list[str]:
    """'Bald (3 positives, at least 20 are needed)' for each attribute without a probe."""
    stored = [t.get("analysis.latent.not_probed") or {} for t in evidence.trials]
    return sorted({f"{plain(name)} ({reason})" for reasons in stored for name, reason in reasons.items()})
