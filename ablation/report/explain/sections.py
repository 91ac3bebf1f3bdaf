"""The sections of an explanation's page, each a list of blocks and plots; empty where nothing was measured for it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ablation.record.attribution import TRAINED, Attribution
from ablation.record.explanation import LIMITING, OTHER, REDUCED, VERSION, Explanation, ModeResult, Remedy
from ablation.report.explain import inside, machine, mechanism, modes, plots, style, sweep, tables, words
from ablation.report.explain.answer import REASONS, headline
from ablation.report.explain.plots import Plot
from ablation.report.kit.numbers import capital, significant, times_span, tiny
from ablation.report.kit.page import Block, Bullets, Code, Heading, Missing, Paragraph

Part = Block | Plot
# interactions on the page; all of them are in attribution.csv
PAIRS_SHOWN = 6
MORE_METRICS = ("elements_written", "bytes_moved", "num_ops", "peak_bytes", *TRAINED)
# words of a limit that tell why these are missing
MISSING_BECAUSE = {("static", "counted"): MORE_METRICS[:3], ("memory",): ("peak_bytes",), ("trained", "loss"): TRAINED}


def _pieces(e: Explanation) -> list[Part]:
    if style.is_whole(e):
        return [Paragraph("The two are made by different callables: the difference is that of the whole networks.")]
    return [plots.waterfall(e, a) for a in e.attributions if a.metric == style.LOG]


def _counts(e: Explanation) -> list[Part]:
    place = style.main_place(e)
    time = style.find(e, "latency_ms", place) or style.find(e, style.LOG, place)
    wanted = {"parameters": style.find(e, "params"), "multiply-accumulates": style.find(e, "macs"), "latency": time}
    known = [a for a in wanted.values() if a is not None]
    if style.is_whole(e):
        return [tables.costs_table(e), *_alone(e)]
    parts: list[Part] = [plots.shapley(e, known, "shapley", _shapley_title(known))] if known else []
    missing = [(f"the attribution of {n}", (f"attribution of {n}", n, "static")) for n, a in wanted.items() if a is None]
    parts += [Missing(words.missing(e, *each)) for each in missing]
    more = [a for name in MORE_METRICS for a in e.attributions if a.metric == name and not a.label]
    more += [a for a in e.attributions if a.label]
    more += [a for a in e.attributions if a.metric == "latency_ms" and a.place != place]
    for at in range(0, len(more), 3):
        stem = f"shapley_more_{at // 3 + 1}" if at else "shapley_more"
        parts.append(plots.shapley(e, more[at : at + 3], stem, "The same for other quantities"))
    for reasons, names in MISSING_BECAUSE.items():
        if names == TRAINED and style.is_own(e):
            continue
        gone = [style.metric_of(name).label for name in names if style.find(e, name) is None]
        if gone:
            parts.append(Missing(words.missing(e, f"the attribution of {', '.join(gone)}", (*gone, *reasons))))
    return parts


def _alone(e: Explanation) -> list[Part]:
    return [Paragraph(text)] if (text := tables.alone(e)) else []


def _shapley_title(attributions: Sequence[Attribution]) -> str:
    """'Shapley values of each piece: parameters exact; latency estimated'."""
    kinds: dict[str, list[str]] = {}
    for a in attributions:
        kinds.setdefault(a.kind, []).append(style.metric_of(a).label)
    return "Shapley values of each piece: " + "; ".join(f"{', '.join(labels)} {kind}" for kind, labels in kinds.items())


def _effects(e: Explanation) -> list[Part]:
    wanted = (style.find(e, style.LOG, style.main_place(e)), style.find(e, "params"), style.find(e, "macs"))
    known = [a for a in wanted if a is not None]
    if style.is_whole(e):
        return [Paragraph("There is one swap, of the whole network; its latency is in the answer.")]
    if not known:
        return []
    meaning = Paragraph(
        f"The only swap: the piece of {e.second} in {e.first}, all else as there. The last swap: what the piece changes when all "
        f"others are swapped already, which makes {e.second}; undoing it in {e.second} changes as much the other way. Where these "
        "differ, pieces interact. Every other quantity is in `attribution.csv`."
    )
    line = headline(e)
    notes = ["Shapley values add up to the whole difference, to rounding, wherever nothing else is said here."]
    notes += [*words.certainty_notes(e), *(words.own_ratio(e, line.ratio, line.place) if line else []), *_noise(e)]
    notes += [f"Left out, for it cannot exist: {name} ({reason})." for name, reason in e.impossible]
    return [meaning, *(part for a in known for part in _one_effect(a)), Heading("How sure this is", 3), Bullets(notes)]


def _one_effect(a: Attribution) -> list[Part]:
    label = "latency, as factors that multiply" if a.metric == style.LOG else style.metric_of(a).label
    place = f" ({style.place_text(a.place)})" if a.place else ""
    parts: list[Part] = [Heading(f"{capital(label)}{place}: {a.kind}", 3), tables.effects_table(a)]
    if any(abs(style.share_of(a, effect) or 0) > 1 for effect in (*a.shapley.values(), *a.interactions.values())):
        parts.append(Paragraph(mechanism.BEYOND))
    if a.interactions:
        shown = min(PAIRS_SHOWN, len(a.interactions))
        parts.append(Paragraph(f"The largest {shown} of {len(a.interactions)} pairwise interactions:"))
        parts.append(tables.interactions_table(a, PAIRS_SHOWN))
    else:
        reason = "they need every combination, and a sample was measured" if a.sampled else "no pair has all combinations"
        parts.append(Paragraph(f"Pairwise interactions {'and the greedy path ' if a.sampled else ''}are not shown: {reason}."))
    path = " → ".join(style.plain(name) for name, _ in a.path)
    return [*parts, *([Paragraph(f"Greedy path, the largest step first: {path}.")] if path else [])]


def _noise(e: Explanation) -> list[str]:
    if not e.noise:
        return ["The A/A noise floor (one network timed against a second copy of itself) was not measured."]
    ends = ("ratio", "low", "high") if e.version >= VERSION else ("ratio",)
    spans = {place: [*(noise[end] for end in ends), None, None][:3] for place, noise in e.noise.items()}
    return [f"A/A on {style.place_text(p)}: one network against itself gave {times_span(*span)}." for p, span in spans.items()]


def _time(e: Explanation) -> list[Part]:
    pair = mechanism.decomposed(e)
    if pair is None:
        return []
    bounds = (
        f"A bound is what a class would take at the machine's bandwidth, at its rate of multiply-accumulates, or for its calls "
        f"alone; the nearest is the largest. It limits a class where it makes {100 * LIMITING:.0f}\u00a0% of its time or more."
    )
    parts: list[Part] = [Missing(words.missing(e, "time by part", ("part", "profil")))]
    if by_part := tables.parts_table(pair):
        parts = [Heading("By part of the network", 3), by_part, *_alone(e)]
    num_blocks = sum(len(d.by_block) for d in pair)
    blocks = f"Times of {num_blocks} blocks are in `time_by_part.csv`." if num_blocks else "Time by block was not measured."
    notes = [f"{d.name}: {note}" for d in e.decompositions for note in d.notes]
    notes += [
        f"Decomposed too, not drawn: {d.name} on {style.place_text(d.place)}, {significant(d.total_ms)} ms."
        for d in e.decompositions
        if d not in pair
    ]
    return [
        Paragraph(mechanism.mechanism(e)), machine.time_by_class(pair), tables.mechanism_table(e, pair), Paragraph(bounds),
        *parts, Paragraph(blocks), *([Bullets(notes)] if notes else []),
    ]  # fmt: skip


def _roofline(e: Explanation) -> list[Part]:
    pair, c = mechanism.decomposed(e), e.calibration
    if pair is None:
        return []
    if c is None:
        return [machine.roofline(e, pair), Missing(words.missing(e, "the machine's bandwidth and rate", ("calibrat",)))]
    threads = f", {c.threads} thread{'' if c.threads == 1 else 's'}" if c.threads else ""
    low, high = machine.bandwidths(share for d in pair for share in d.by_class)
    bandwidth = f"{low:.3g} to {high:.3g} GB/s" if high > low * 1.005 else f"{high:.3g} GB/s"
    return [machine.roofline(e, pair), Paragraph(
        f"The bounds, measured on this machine ({style.place_text(c.place)}{threads}): {bandwidth} (copies that move as much as "
        f"one operation of a class; the table has each class's own), {c.macs_per_s / 1e9:.3g} × 10⁹ multiply-accumulates a second, "
        f"{c.call_us:.3g} µs a small operation."
    )]  # fmt: skip


def _sweep(e: Explanation) -> list[Part]:
    return [sweep.sweep(e), tables.sweep_table(e)] if e.sweep else []


def _modes(e: Explanation) -> list[Part]:
    if not e.modes:
        return []
    drawn: list[Part] = [modes.modes(e)] if any(m.first_ms and m.second_ms for m in e.modes) else []
    note = (
        "Gain: eager time over this mode's. Largest error: against the eager outputs, both with the same noise; of another "
        "function, which takes the latent mean instead of a sample, against that function run eagerly. Preparation (compiling, "
        f"capturing, loading) is no part of latency.{_threads(e)}{_sittings(e)}"
    )
    return [*drawn, tables.modes_table(e), Paragraph(note), Bullets([_mode(m) for m in tables.by_keeping(e)])]


def _threads(e: Explanation) -> str:
    """How many threads the other runtimes used, as they say themselves."""
    nums = sorted({m.num_threads for m in e.modes if m.num_threads})
    return (
        f" Other runtimes used {' or '.join(map(str, nums))} CPU thread{'' if nums == [1] else 's'}, read back from them."
        if nums
        else ""
    )


def _sittings(e: Explanation) -> str:
    """On how many sittings the modes' intervals rest."""
    timed = next((m for m in e.modes if m.sittings is not None), None)
    if timed is None:
        return ""
    if not timed.sittings or timed.second_gain_low is timed.ratio_low is None:
        return f" All were timed together in {timed.rounds} rounds, too few sittings for intervals."
    return (
        f" All were timed together in {timed.rounds} rounds of {timed.sittings} sittings, in each with weights in newly allocated "
        "memory; compiled code stays the same, so intervals do not include what compiling again would change."
    )


def _mode(mode: ModeResult) -> str:
    return f"**{mode.mode}**: {mode.text.rstrip('.')}." + (f" Not usable here: {mode.reason}." if mode.reason else "")


def _inside(e: Explanation) -> list[Part]:
    timed = inside.sentences(e)
    if not timed:
        return []
    table = inside.table(e)
    note = (
        "By each runtime's own profiler, of the networks as they are: the share of a call, and in how many operations. A runtime "
        "merges operations, so that there are fewer than in PyTorch."
    )
    tail: list[Part] = [Missing(words.missing(e, "operations inside the runtimes", ("inside",)))]
    return [Bullets(timed), *([table, Paragraph(note)] if table else tail)]


def _controls(e: Explanation) -> list[Part]:
    if not e.controls:
        return []
    apart = next((c.sittings for c in e.controls if c.sittings), None)
    note = f"Ratios of the plain networks are from {apart} sittings of their own, beside {e.first} and {e.second}."
    return [modes.controls(e), tables.controls_table(e), *([Paragraph(note)] if apart else [])]


def _guidelines(e: Explanation) -> list[Part]:
    if not e.guidelines:
        return []
    items = [
        f"**{g.name}, {g.verdict}**: {g.claim} (held fixed: {g.held_fixed}; {len(g.points)} settings"
        f"{f', {g.rounds} rounds in {g.sittings} sittings' if g.sittings else ''})."
        for g in e.guidelines
    ]
    gone = [name for name in ("G1", "G2", "G3", "G4") if name not in {g.name for g in e.guidelines}]
    items += [f"**{name}**: not measured. {words.limit_on(e, (name, 'guideline'))}" for name in gone]
    return [sweep.guidelines(e), Bullets(items)]


def _remedies(e: Explanation) -> list[Part]:
    if not e.remedies:
        none = "No way of running it has a gain that is settled; all that were tried stand under the other ways of running."
        return [Paragraph(none)] if e.modes else []
    order = "Ranked by what they keep: the same function first, then reduced precision, another function, another network."
    parts: list[Part] = [Paragraph(order)]
    for number, remedy in enumerate(sorted(e.remedies, key=lambda remedy: remedy.rank), start=1):
        gain, kept = times_span(remedy.gain, remedy.gain_low, remedy.gain_high), _kept(remedy)
        text = "" if remedy.text == kept else f" {capital(remedy.text).rstrip('.')}."
        doubt = " Its gain has no interval." if remedy.gain_low is None else " Its interval includes no gain."
        stands = "" if words.gain_stands(remedy) else doubt
        parts += [Paragraph(f"**{number}. {remedy.name}: {gain} as fast** ({kept}).{text}{stands}"), Code(remedy.code)]
    return parts


def _kept(remedy: Remedy) -> str:
    """What a remedy keeps of the network."""
    if remedy.max_error is None:
        return "another network, to be trained"
    within = f"within {tiny(remedy.max_error)}"
    return {
        REDUCED: f"computed in fewer digits, outputs {within}",
        OTHER: f"same weights, another function: the latent mean instead of a sample; {within} of that function run eagerly",
    }.get(remedy.keeps, f"same weights, outputs {within}")


def _limits(e: Explanation) -> list[Part]:
    return [Bullets([*e.limits] or ["None were stated."])]


def _sources(e: Explanation) -> list[Part]:
    facts = {name: value for name, value in e.provenance.items() if not isinstance(value, Mapping | list | tuple)}
    files = "All numbers: `explanation.json`, `attribution.csv`, and a CSV file beside each plot in `plots`."
    return [Bullets([*(f"{style.plain(name).capitalize()}: {value}" for name, value in facts.items()), files])]


_MECHANISM, _TIMED = REASONS["by which mechanism"], REASONS["latency"]
# heading, body, what is missing where the body is empty, and words of the limit that tells why
SECTIONS: tuple[tuple[str, Callable[[Explanation], list[Part]], str, Sequence[str]], ...] = (
    (
        "Which piece made the difference in latency", _pieces, "the attribution of latency to pieces",
        REASONS["which piece made the difference in latency"],
    ),
    ("What each piece adds and saves", _counts, "", ()),
    (
        "Each piece as the only and as the last swap, and interactions", _effects, "main effects and interactions",
        ("attribut", "factorial"),
    ),
    ("By which mechanism: where the time goes", _time, "the decomposition of latency", _MECHANISM),
    ("How far from the machine's limits", _roofline, "the roofline, which needs time by class", ("roofline", *_MECHANISM)),
    ("Against batch size", _sweep, "the batch sweep", ("sweep", "batch siz")),
    ("Other ways of running", _modes, "other ways of running", ("ways of running", "modes", *_TIMED)),
    ("Inside the runtimes that people deploy", _inside, "the runtimes", ("runtime", "ways of running", "modes", *_TIMED)),
    ("Controls: plain networks of the same cost", _controls, "plain networks cut to the same cost", ("control", *_TIMED)),
    ("ShuffleNet V2's guidelines here", _guidelines, "the guidelines' experiments", ("guideline",)),
    ("What to do about {second}", _remedies, "remedies", REASONS["which remedy removes it"]),
    ("Limits of what was measured", _limits, "", ()),
    ("Where the numbers come from", _sources, "", ()),
)  # fmt: skip
