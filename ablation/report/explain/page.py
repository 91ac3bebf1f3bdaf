"""Writes what `explain` found: a self-contained page, Markdown, plots with their numbers, and the JSON of it all. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation.record.attribution import Attribution
from ablation.record.convert import to_plain
from ablation.record.explanation import KEEPS, LIMITING, OTHER, REDUCED, SAME, VERSION, Explanation, ModeResult, Remedy
from ablation.record.stored import explanation_of
from ablation.report.explain import machine, mechanism, modes, plots, sweep, tables, words
from ablation.report.explain import style as look
from ablation.report.explain.names import with_shown_names
from ablation.report.explain.plots import Plot
from ablation.report.kit.page import Answer, Block, Bullets, Code, Drawn, Heading, Missing, Paragraph, to_html, to_markdown

PLOTS = "plots"
# interactions on the page; all of them are in attribution.csv
PAIRS_SHOWN = 6
_PIECES, _MECHANISM = "which piece made the difference in latency", "by which mechanism"
MORE_METRICS = ("elements_written", "bytes_moved", "num_ops", "peak_bytes", "loss", "ssim", "psnr")

# words of a limit that tell why these are missing
MISSING_BECAUSE = {("static", "counted"): MORE_METRICS[:3], ("memory",): ("peak_bytes",), ("trained", "loss"): MORE_METRICS[4:]}


def write_explanation(explanation: Explanation, folder: Path) -> list[Path]:
    """Everything that was found, into `folder` (made if need be): returns the files written.

    explanation.html (needs no other file and no network), explanation.md, explanation.json (read again by
    `ablation.record.stored.explanation_of`; one that an earlier version wrote there stays as it is), attribution.csv,
    time_by_part.csv,
    plots/NAME.svg, NAME_narrow.svg (for phones) and NAME.csv.
    What was not measured is said on the page, with the reason.
    """
    folder = Path(folder)
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    stored, explanation = explanation, with_shown_names(explanation)
    blocks = _blocks(explanation)
    files = _draw([block for block in blocks if isinstance(block, Plot)], folder / PLOTS)
    placed = [_drawn(block) if isinstance(block, Plot) else block for block in blocks]
    pages = {
        "explanation.html": to_html(placed, folder, _title(explanation)),
        "explanation.md": to_markdown(placed),
        "explanation.json": json.dumps(to_plain(stored), indent=1) + "\n",
    }
    if explanation.version < VERSION and (folder / "explanation.json").is_file():
        pages["explanation.json"] = (folder / "explanation.json").read_text(encoding="utf-8")
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    more = [tables.write_attribution_csv(explanation, folder / "attribution.csv")]
    more += [tables.write_blocks_csv(explanation, folder / "time_by_part.csv")] if explanation.decompositions else []
    return [*(folder / name for name in pages), *more, *files]


def read_explanation(folder: Path) -> Explanation:
    """What `write_explanation` wrote into this folder."""
    return explanation_of(json.loads((Path(folder) / "explanation.json").read_text(encoding="utf-8")))


def _draw(found: Sequence[Plot], folder: Path) -> list[Path]:
    """Each plot in both shapes, and its numbers. (PNG would take a third of the time again, and nothing here needs it.)"""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from ablation.report.kit.plot_style import styled

    files = []
    with styled():
        for plot in found:
            for stem, width in ((plot.stem, plots.WIDE), (f"{plot.stem}_narrow", plots.NARROW)):
                figure = plot.draw(width)
                FigureCanvasSVG(figure).print_svg(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None})
                files.append(folder / f"{stem}.svg")
            files.append(tables.write_lines(folder / f"{plot.stem}.csv", plot.headings, plot.lines))
    return files


def _drawn(plot: Plot) -> Drawn:
    stem = f"{PLOTS}/{plot.stem}"
    return Drawn(f"{stem}.svg", f"{stem}_narrow.svg", f"{stem}.csv", plot.alt)


def _title(explanation: Explanation) -> str:
    return f"Why {explanation.second} differs from {explanation.first}"


def _blocks(explanation: Explanation) -> list[Block | Plot]:
    """The page from top to bottom."""
    blocks: list[Block | Plot] = [Heading(_title(explanation), 1), Answer(words.answer(explanation))]
    blocks += [Paragraph(f"**Earlier version.** {note}")] if (note := words.earlier(explanation)) else []
    for section in (_pieces, _counts, _effects, _time, _roofline, _sweep, _modes, _controls, _guidelines, _remedies, _limits):
        blocks += section(explanation)
    return blocks


def _pieces(e: Explanation) -> list[Block | Plot]:
    found = [a for a in e.attributions if a.metric == look.LOG]
    head = Heading("Which piece made the difference in latency")
    if not found:
        return [head, Missing(words.missing(e, "the attribution of latency to pieces", words.REASONS[_PIECES]))]
    return [head, *(plots.waterfall(e, a) for a in found)]


def _counts(e: Explanation) -> list[Block | Plot]:
    place = look.main_place(e)
    time = look.find(e, "latency_ms", place) or look.find(e, look.LOG, place)
    wanted = {"parameters": look.find(e, "params"), "multiply-accumulates": look.find(e, "macs"), "latency": time}
    found = [a for a in wanted.values() if a is not None]
    blocks: list[Block | Plot] = [Heading("What each piece adds and saves")]
    blocks += [plots.shapley(e, found, "shapley", _shapley_title(found))] if found else []
    blocks += [
        Missing(words.missing(e, f"the attribution of {n}", (f"attribution of {n}", n, "static")))
        for n, a in wanted.items()
        if a is None
    ]
    more = [a for name in MORE_METRICS for a in e.attributions if a.metric == name]
    more += [a for a in e.attributions if a.metric == "latency_ms" and a.place != place]
    for at in range(0, len(more), 3):
        stem = "shapley_more" if at == 0 else f"shapley_more_{at // 3 + 1}"
        blocks.append(plots.shapley(e, more[at : at + 3], stem, "The same for other quantities"))
    for words_of_limit, names in MISSING_BECAUSE.items():
        gone = [look.metric_of(name).label for name in names if look.find(e, name) is None]
        if gone:
            blocks.append(Missing(words.missing(e, f"the attribution of {', '.join(gone)}", (*gone, *words_of_limit))))
    return blocks


def _shapley_title(found: Sequence[Attribution]) -> str:
    """'Shapley values of each piece: parameters exact; latency estimated'."""
    kinds: dict[str, list[str]] = {}
    for a in found:
        kinds.setdefault(a.kind, []).append(look.metric_of(a.metric).label)
    return "Shapley values of each piece: " + "; ".join(f"{', '.join(labels)} {kind}" for kind, labels in kinds.items())


def _effects(e: Explanation) -> list[Block | Plot]:
    blocks: list[Block | Plot] = [Heading("Each piece as the only and as the last swap, and interactions")]
    place = look.main_place(e)
    found = [a for a in (look.find(e, look.LOG, place), look.find(e, "params"), look.find(e, "macs")) if a is not None]
    if not found:
        return [*blocks, Missing(words.missing(e, "main effects and interactions", ("attribut", "factorial")))]
    blocks.append(Paragraph(
        f"The only swap: the piece of {e.second} in {e.first}, all else as there. The last swap: what the piece changes when all "
        f"others are swapped already, which makes {e.second}; undoing it in {e.second} changes as much the other way. Where these "
        "differ, pieces interact. Every other quantity is in `attribution.csv`."
    ))  # fmt: skip
    for a in found:
        blocks += [*_one_effect(a)]
    adds = "Shapley values add up to the whole difference, to rounding, wherever nothing else is said here."
    return [*blocks, _small("How sure this is"), Bullets([adds, *words.certainty_notes(e), *_noise(e), *_impossible(e)])]


def _small(text: str) -> Heading:
    return Heading(text, 3)


def _one_effect(a: Attribution) -> list[Block]:
    metric = look.metric_of(a.metric)
    label = "latency, as factors that multiply" if a.metric == look.LOG else metric.label
    where = f" ({look.place_text(a.place)})" if a.place else ""
    blocks: list[Block] = [_small(f"{label[0].upper()}{label[1:]}{where}: {a.kind}"), tables.effects_table(a)]
    if any(abs(look.share_of(a, effect) or 0) > 1 for effect in (*a.shapley.values(), *a.interactions.values())):
        blocks.append(Paragraph(mechanism.BEYOND))
    if a.interactions:
        shown = min(PAIRS_SHOWN, len(a.interactions))
        blocks += [
            Paragraph(f"The largest {shown} of {len(a.interactions)} pairwise interactions:"),
            tables.interactions_table(a, PAIRS_SHOWN),
        ]
    else:
        why = "they need every combination, and a sample was measured" if a.sampled else "no pair has all combinations"
        blocks.append(Paragraph(f"Pairwise interactions {'and the greedy path ' if a.sampled else ''}are not shown: {why}."))
    path = " → ".join(look.plain(name) for name, _ in a.path)
    return [*blocks, *([Paragraph(f"Greedy path, the largest step first: {path}.")] if path else [])]


def _noise(e: Explanation) -> list[str]:
    if not e.noise:
        return ["The A/A noise floor (one network timed against a second copy of itself) was not measured."]
    ends = [(place, n["ratio"], *((n["low"], n["high"]) if e.version >= VERSION else (None, None))) for place, n in e.noise.items()]
    return [f"A/A on {look.place_text(place)}: one network against itself gave {look.times_span(*span)}." for place, *span in ends]


def _impossible(e: Explanation) -> list[str]:
    return [f"Left out, for it cannot exist: {name} ({reason})." for name, reason in e.impossible]


def _time(e: Explanation) -> list[Block | Plot]:
    head, pair = Heading("By which mechanism: where the time goes"), mechanism.decomposed(e)
    if pair is None:
        return [head, Missing(words.missing(e, "the decomposition of latency", words.REASONS[_MECHANISM]))]
    blocks: list[Block | Plot] = [
        head,
        Paragraph(mechanism.mechanism(e)),
        machine.time_by_class(e, pair),
        tables.mechanism_table(e),
        Paragraph(
            f"A bound is what a class would take at the machine's bandwidth, at its rate of multiply-accumulates, or for its calls "
            f"alone; the nearest is the largest. It limits a class where it makes {100 * LIMITING:.0f}\u00a0% of its time or more."
        ),
    ]
    parts = tables.parts_table(e)
    blocks += (
        [_small("By part of the network"), parts] if parts else [Missing(words.missing(e, "time by part", ("part", "profil")))]
    )
    num_blocks = sum(len(d.by_block) for d in pair)
    blocks.append(
        Paragraph(f"Times of {num_blocks} blocks are in `time_by_part.csv`." if num_blocks else "Time by block was not measured.")
    )
    others = [d for d in e.decompositions if d not in pair]
    notes = [f"{d.name}: {note}" for d in e.decompositions for note in d.notes]
    notes += [f"Decomposed too, not drawn: {d.name} on {look.place_text(d.place)}, {look.number(d.total_ms)} ms." for d in others]
    return [*blocks, *([Bullets(notes)] if notes else [])]


def _roofline(e: Explanation) -> list[Block | Plot]:
    head, pair = Heading("How far from the machine's limits"), mechanism.decomposed(e)
    if pair is None:
        return [
            head,
            Missing(words.missing(e, "the roofline, which needs time by class", ("roofline", *words.REASONS[_MECHANISM]))),
        ]
    blocks: list[Block | Plot] = [head, machine.roofline(e, pair)]
    if e.calibration is None:
        return [*blocks, Missing(words.missing(e, "the machine's bandwidth and rate", ("calibrat",)))]
    c = e.calibration
    threads = f", {c.threads} thread{'' if c.threads == 1 else 's'}" if c.threads else ""
    used = machine.bandwidths(share for d in pair for share in d.by_class)
    bandwidth = f"{used[0]:.3g} to {used[1]:.3g} GB/s" if used[1] > used[0] * 1.005 else f"{used[1]:.3g} GB/s"
    text = f"{bandwidth} (copies that move as much as one operation of a class; the table has each class's own)"
    text += f", {c.macs_per_s / 1e9:.3g} × 10⁹ multiply-accumulates a second, {c.call_us:.3g} µs a small operation"
    return [*blocks, Paragraph(f"The bounds, measured on this machine ({look.place_text(c.place)}{threads}): {text}.")]


def _sweep(e: Explanation) -> list[Block | Plot]:
    head = Heading("Against batch size")
    if not e.sweep:
        return [head, Missing(words.missing(e, "the batch sweep", ("sweep", "batch siz")))]
    return [head, sweep.sweep(e), tables.sweep_table(e)]


def _modes(e: Explanation) -> list[Block | Plot]:
    head = Heading("Other ways of running")
    if not e.modes:
        return [head, Missing(words.missing(e, "other ways of running", ("ways of running", "modes", *words.REASONS["latency"])))]
    blocks: list[Block | Plot] = [head]
    blocks += [modes.modes(e)] if any(m.first_ms and m.second_ms for m in e.modes) else []
    note = (
        "Gain: eager time over this mode's. Largest error: against the eager reconstruction, both with the same noise; of another "
    )
    note += "function, which takes the latent mean instead of a sample, against that function run eagerly. Preparation (compiling, "
    note += f"capturing) is no part of latency.{_sittings(e)}"
    return [*blocks, tables.modes_table(e), Paragraph(note), Bullets([_mode(m) for m in tables.by_keeping(e)])]


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


def _controls(e: Explanation) -> list[Block | Plot]:
    head = Heading("Controls: plain networks of the same cost")
    if not e.controls:
        return [head, Missing(words.missing(e, "plain networks cut to the same cost", ("control", *words.REASONS["latency"])))]
    apart = next((c.sittings for c in e.controls if c.sittings), None)
    note = f"Ratios of the plain networks are from {apart} sittings of their own, beside {e.first} and {e.second}." if apart else ""
    return [head, modes.controls(e), tables.controls_table(e), *([Paragraph(note)] if note else [])]


def _guidelines(e: Explanation) -> list[Block | Plot]:
    head = Heading("ShuffleNet V2's guidelines here")
    if not e.guidelines:
        return [head, Missing(words.missing(e, "the guidelines' experiments", ("guideline",)))]
    items = [
        f"**{g.name}, {g.verdict}**: {g.claim} (held fixed: {g.held_fixed}; {len(g.points)} settings"
        f"{f', {g.rounds} rounds in {g.sittings} sittings' if g.sittings else ''})."
        for g in e.guidelines
    ]
    names = {g.name for g in e.guidelines}
    items += [f"**{n}**: not measured. {look.limit_on(e, (n, 'guideline'))}" for n in ("G1", "G2", "G3", "G4") if n not in names]
    return [head, sweep.guidelines(e), Bullets(items)]


def _remedies(e: Explanation) -> list[Block | Plot]:
    blocks: list[Block | Plot] = [Heading(f"What to do about {e.second}")]
    if not e.remedies:
        return [*blocks, Missing(words.missing(e, "remedies", words.REASONS["which remedy removes it"]))]
    order = "Ranked by what they keep: the same function first, then reduced precision, another function, another network."
    blocks.append(Paragraph(order))
    for number, remedy in enumerate(sorted(e.remedies, key=_rank), start=1):
        gain = look.times_span(remedy.gain, remedy.gain_low, remedy.gain_high)
        doubt = " Its interval includes no gain." if remedy.gain_low is not None else " Its gain has no interval."
        stands = "" if words.gain_stands(remedy) else doubt
        kept = _kept(remedy)
        text = "" if remedy.text == kept else f" {remedy.text[:1].upper()}{remedy.text[1:].rstrip('.')}."
        blocks += [Paragraph(f"**{number}. {remedy.name}: {gain} as fast** ({kept}).{text}{stands}"), Code(remedy.code)]
    return blocks


def _rank(remedy: Remedy) -> tuple[int, float]:
    """As `ablation.explain.remedies.rank`, which needs torch."""
    kinds = (*KEEPS, None)
    kept = None if remedy.max_error is None else remedy.keeps if remedy.keeps in KEEPS else SAME
    return kinds.index(kept), -remedy.gain


def _kept(remedy: Remedy) -> str:
    """What a remedy keeps of the network."""
    if remedy.max_error is None:
        return "another network, to be trained"
    within = f"within {look.tiny(remedy.max_error)}"
    return {
        REDUCED: f"weights rounded to bfloat16, outputs {within}",
        OTHER: f"same weights, another function: the latent mean instead of a sample; {within} of that function run eagerly",
    }.get(remedy.keeps, f"same weights, outputs {within}")


def _limits(e: Explanation) -> list[Block | Plot]:
    items = [*e.limits] or ["None were stated."]
    made = [
        f"{look.plain(name).capitalize()}: {value}"
        for name, value in e.provenance.items()
        if not isinstance(value, Mapping | list | tuple)
    ]
    files = "All numbers: `explanation.json`, `attribution.csv`, and a CSV file beside each plot in `plots`."
    return [Heading("Limits of what was measured"), Bullets(items), Heading("Where the numbers come from"), Bullets([*made, files])]
