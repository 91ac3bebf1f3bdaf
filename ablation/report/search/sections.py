"""The sections of a search's page, each a list of blocks and plots; empty where there is nothing for it. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from ablation.record.search import REFUSED, STOPPED, SearchResult
from ablation.record.search_confirmed import TEST_LOSS
from ablation.record.trial import FAILED, METRICS, Metric
from ablation.report.explain.plots import Plot
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import capital, count, joined
from ablation.report.kit.page import Block, Bullets, Code, Heading, Missing, Paragraph, literal
from ablation.report.search import effect_plots, plots, tables
from ablation.report.search.axes import finite, loss_axis, losses, places
from ablation.report.search.networks import confirmed_winner, front, name, of_state, spec_toml, states_text, title_of, winner_of

Part = Block | Plot
# networks of the front on the page; all are in proposals.csv
FRONT_SHOWN, REASONS_SHOWN = 12, 6
# how far from the best, in loss
WITHIN = (0.005, 0.01, 0.02, 0.05)
DEPLOYED = "Deployed: convolutions that are several in training are folded into one, before costs and latency are measured. "
EAGER = "Latency is eager, i.e. run by PyTorch as it is written, unless it names another mode. "
SEARCHED = (
    "Lower is better throughout{but}. A search value is what the search itself measured, with one seed: the best of many such "
    "values is partly luck."
)
CONFIRMED = (
    " A confirmed value comes from trainings with fresh seeds and timings in fresh sittings (networks loaded anew), made for these "
    "networks alone{test}. A difference is the chosen network minus the reference, of latency the ratio of both (×); in brackets "
    "stands its 95\u00a0% interval."
)
TEST = "; the test loss is of images that neither training nor any choice had used"


def side_by_side(result: SearchResult) -> list[Part]:
    """The winner beside the reference on every axis."""
    winner = winner_of(result)
    if winner is None:
        return []
    about = literal(f"{winner.label}")
    folded = DEPLOYED if winner.deployed_params not in (None, winner.params) else ""
    start = [Paragraph(f"{capital(name(winner))} is: {about}." if about else f"{capital(name(winner))}.")]
    parts: list[Part] = [*start, tables.axes_table(result, winner)]
    meaning = SEARCHED.format(but="" if result.metric.lower_is_better else f", but for the {result.metric.label}")
    if network := confirmed_winner(result):
        meaning += CONFIRMED.format(test=TEST if losses(network, TEST_LOSS) else "")
    return [*parts, Paragraph(folded + EAGER + meaning)]


def confirmation(result: SearchResult) -> list[Part]:
    """What was confirmed, with which data and seeds, and every verdict."""
    c = result.confirmation
    if c is None:
        return []
    facts = {"Data": c.data, "Protocol": c.protocol, "Timing": c.timing, "Verdicts": c.corrected and f"corrected: {c.corrected}"}
    items = [f"{title}: {literal(text.rstrip('.'))}." for title, text in facts.items() if text]
    parts: list[Part] = [Bullets(items)] if items else []
    if not c.networks:
        return [*parts, Missing("**Not confirmed**: no network of the front was trained again.")]
    if c.verdicts and len(c.networks) > 1:
        parts += [Heading("Verdicts", 3), tables.verdicts_table(result, c)]
    what = "Losses" if result.metric == METRICS["loss"] else capital(result.metric.label)
    parts += [Heading(f"{what} of each seed", 3), tables.seeds_table(c, loss_axis(result))]
    failed = [(n, seed) for n in (c.reference, *c.networks) for seed in n.seeds if seed.reason]
    reasons = [f"{capital(name(n))}, seed {seed.seed}: {literal(seed.reason.rstrip('.'))}." for n, seed in failed]
    parts += [Bullets(reasons)] if reasons else []
    if rates := tables.rates_table(c):
        text = "Each network was trained once with each learning rate; the confirmation uses the best of them. Validation loss:"
        parts += [Heading("Learning rates", 3), Paragraph(text), rates]
    if timings := tables.timings_table(c):
        fastest = "Fastest mode: the quickest of all ways of running that were tried; ratios are to the reference in its own."
        parts += [Heading("Latency", 3), timings]
        parts += [Paragraph(fastest)] if any(n.fastest for n in (c.reference, *c.networks)) else []
    return parts


def everything(result: SearchResult) -> list[Part]:
    """Everything that was trained, and the front."""
    axes = plots.cost_axes(result, places(result))
    drawn = [plot for axis in axes if (plot := plots.front_plot(result, axis)) is not None]
    parts: list[Part] = [Paragraph(f"{capital(states_text(result))}."), *drawn]
    ahead = front(result)
    if not ahead:
        lacking = f"no proposal was trained to the end with {result.metric.noun}, latency and parameters"
        return [*parts, Missing(f"**No front**: {lacking}.")]
    shown = ahead[:FRONT_SHOWN]
    more = f" The first {len(shown)} by {result.metric.noun}:" if len(ahead) > len(shown) else ""
    once = f"{result.metric.noun}, latency and parameters at once"
    text = f"On the front: {count(len(ahead), 'network')}, which no other beats in {once}.{more}"
    return [*parts, Paragraph(text), tables.networks_table(result, shown)]


def drawing(result: SearchResult) -> list[Part]:
    """The spec of the winner, and both networks' stages."""
    winner = winner_of(result)
    parts: list[Part] = []
    if winner is not None and winner.spec:
        what = "the call that makes it" if "callable" in winner.spec else "the fields that differ from the preset `original`"
        text = f"The spec of {name(winner)}, also in `winner.toml`: {what}."
        parts += [Paragraph(text), Code(spec_toml(winner.spec), "toml")]
    drawn = {role: stages for role, stages in result.drawings.items() if stages}
    widest = max((effect_plots.side(s) for stages in drawn.values() for s in stages), default=1.0)
    names = {"reference": result.reference.label, "winner": title_of(winner) if winner else "winner"}
    parts += [effect_plots.drawing_plot(s, names.get(role, role), f"drawing_{role}", widest) for role, s in drawn.items()]
    for role, stages in drawn.items():
        parts += [Heading(f"Stages of {literal(names.get(role, role))}", 3), tables.drawing_table(stages)]
    return parts


def undone(result: SearchResult) -> list[Part]:
    """What each swap between reference and winner does."""
    if not result.undone:
        return []
    chosen = name(winner) if (winner := winner_of(result)) else "the other network"
    text = (
        f"{capital(name(result.reference))} and {chosen} differ in {count(len(result.undone), 'choice')}. Each was set back alone "
        f"in {chosen}, all else as there. What gets worse then is what the choice buys, what gets better is what it costs. Where "
        "choices act together, their effects do not add up to the whole difference."
    )
    if result.metric == METRICS["loss"]:
        text += " All are trained with that network's own learning rate, with which another one may diverge."
    plot = effect_plots.undone_plot(result.undone, loss_axis(result))
    return [Paragraph(text), *([plot] if plot else []), tables.undone_table(result.undone, loss_axis(result))]


def course(result: SearchResult) -> list[Part]:
    """The space, its limits, the sampler, early stops and predictions."""
    space = result.space
    sampled = f", estimated from {space.sample:,} of them" if space.sample else ""
    texts = [f"The space `{space.name}` has {count(len(space.factors), 'factor')} and {space.num_combinations:,} combinations"]
    texts += [f"{space.num_valid:,} of them are different networks that can be built"] if space.num_valid is not None else []
    texts += [f"{space.num_inside:,} of these are inside all limits"] if space.num_inside is not None else []
    facts = {"Data": result.data, "Protocol": result.protocol, "Machine": result.machine, "Budget": result.budget}
    items = [f"{'; '.join(texts)}{sampled}.", *(f"{title}: {literal(text.rstrip('.'))}." for title, text in facts.items() if text)]
    if result.sampler:
        items.append(f"Proposals: sampler `{result.sampler}`. {literal(result.sampler_text)}".strip())
    if result.num_warm:
        items.append(f"It began with {count(result.num_warm, 'trial')} of earlier studies of the same data and protocol.")
    parts: list[Part] = [Bullets(items)]
    if space.factors:
        lines = [[plain(factor), ", ".join(levels)] for factor, levels in space.factors.items()]
        parts.append(tables.table(["factor", "levels"], lines, texts=(0, 1)))
    if limits := tables.limits_table(result):
        parts += [Heading("Limits", 3), limits]
    return [*parts, *_growth(result), *_rungs(result), *_distribution(result), *_prediction(result)]


def _growth(result: SearchResult) -> list[Part]:
    plot = plots.growth_plot(result.growth) if result.growth else None
    if plot is None or result.growth is None:
        return []
    g = result.growth
    text = (
        f"The hypervolume is the volume of all combinations of {result.metric.noun}, latency and parameters that some network of "
        "the front beats: one number that grows with every network that improves the front."
    )
    if g.random:
        reached, rivals = g.reached[-1], [n for n, value in enumerate(g.random, 1) if value >= g.reached[-1]]
        needed = f"would need {rivals[0]} trainings" if rivals else f"would not reach it in {len(g.random)} trainings"
        trained = count(len(g.reached), "training")
        text += f" After {trained} the search reached {reached:.3g}; random proposals {needed} ({g.source})."
    return [Heading("How the front grew", 3), Paragraph(text), plot]


def _rungs(result: SearchResult) -> list[Part]:
    if not result.rungs:
        return []
    text = (
        "At a rung, a training stops where another network that is no slower and no larger is better by more than seeds differ. "
        "A rank correlation of 1 says that the order at the rung is the order at the end."
    )
    return [Heading("Early stops", 3), Paragraph(text), tables.rungs_table(result)]


def _distribution(result: SearchResult) -> list[Part]:
    plot = plots.distribution_plot(result)
    if plot is None:
        return []
    text = "A space is judged by all of its networks, not by the best alone (Radosavovic et al. 2020, RegNet)."
    what = "The losses of" if result.metric == METRICS["loss"] else f"{capital(result.metric.label)} in"
    return [Heading(f"{what} the space", 3), Paragraph(" ".join([text, *_shares(result)])), plot]


def _shares(result: SearchResult) -> list[str]:
    """Shares of networks within some distances of the best, of the space and of those trained."""
    trained, space, metric = plots.trained_losses(result), result.distribution, result.metric
    texts = []
    if space and space.quantiles:
        best = space.quantiles[0][1]
        known_shares, known_losses = zip(*space.quantiles, strict=True)
        lowest = metric.lowest_best
        shares = [float(np.interp(lowest(best) + x, [lowest(loss) for loss in known_losses], known_shares)) for x in WITHIN]
        texts.append(f"Of the whole space ({space.source}): {_within(shares, metric)} of its best, {metric.text(best)}.")
    if trained:
        shares = [sum(abs(loss - trained[0]) <= x for loss in trained) / len(trained) for x in WITHIN]
        ended = count(len(trained), "network")
        texts.append(f"Of the {ended} trained to the end: {_within(shares, metric)} of the best, {metric.text(trained[0])}.")
    return texts


def _within(shares: list[float], metric: Metric) -> str:
    unit = f"\u00a0{metric.unit_of_change}" if metric.unit_of_change else ""
    return joined(f"{100 * share:.2g}\u00a0% within {x * metric.scale:g}{unit}" for share, x in zip(shares, WITHIN, strict=True))


def _prediction(result: SearchResult) -> list[Part]:
    plot = effect_plots.prediction_plot(result)
    parts: list[Part] = [tables.prediction_table(result)] if result.prediction else []
    if plot is None and not parts:
        return []
    text = "Latency was predicted before a network was timed or trained; every network that was trained was timed as well."
    return [Heading("Predicted latency", 3), Paragraph(text), *parts, *([plot] if plot else [])]


def commands(result: SearchResult) -> list[Part]:
    """What to do next, as lines to paste."""
    lines = [f"# {phrase}\n{command}" for phrase, command in result.next_commands.items()]
    return [Code("\n".join(lines), "sh")] if lines else []


def missing(result: SearchResult) -> list[Part]:
    """What was not done, what failed, and what was refused."""
    items = [*result.missing]
    for state, verb in ((FAILED, "failed"), (REFUSED, "refused before training")):
        reasons = Counter(c.reason.rstrip(".") or "no reason was stored" for c in of_state(result, state))
        items += [f"{count(num, 'proposal')} {verb}: {literal(why)}." for why, num in reasons.most_common(REASONS_SHOWN)]
        rest = sum(num for _, num in reasons.most_common()[REASONS_SHOWN:])
        items += [f"{count(rest, 'more proposal')} {verb} for other reasons, all in `proposals.csv`."] if rest else []
    without = [c for c in result.proposals if c.state == "complete" and finite(c.best_loss) is None]
    items += [f"{count(len(without), 'network')} trained to the end without a finite {result.metric.noun}."] if without else []
    if stopped := of_state(result, STOPPED):
        items.append(f"{count(len(stopped), 'training')} stopped early; each keeps its checkpoint and may go on.")
    return [Bullets(items or ["Nothing."])]


def origin(result: SearchResult) -> list[Part]:
    """Command and provenance."""
    items = [f"Command: `{result.command}`"] if result.command else []
    for key, value in result.provenance.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, Mapping | list | tuple) and v is not None)
        if value and len(str(value)) <= 400:
            items.append(f"{capital(plain(key))}: {literal(str(value))}")
    files = "`search.json`, `proposals.csv` (each network), `confirmation.csv` (each verdict), and a CSV file beside each plot"
    return [Bullets([*items, f"All numbers: {files}"])]


# heading, body, and what is missing where the body is empty; without that, the section is left out then
SECTIONS: tuple[tuple[str, Callable[[SearchResult], list[Part]], str], ...] = (
    ("Beside the reference", side_by_side, ""),
    (
        "How it was confirmed", confirmation,
        "**Nothing was confirmed**: no network was trained again with fresh seeds, nor timed afresh.",
    ),
    ("Everything that was trained", everything, ""),
    ("The network", drawing, ""),
    ("Which differences matter", undone, "**Not measured**: what each difference from the reference does."),
    ("How the search went", course, ""),
    ("Next", commands, "No further commands were stored."),
    ("What is missing", missing, ""),
    ("Where the numbers come from", origin, ""),
)  # fmt: skip
