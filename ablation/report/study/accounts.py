"""Plain sentences on what a study has and lacks: completeness, failures, inert factors, counting conventions. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ablation.machine.hardware import digest_of
from ablation.record.trial import COMPLETE, FAILED, INFEASIBLE, METRICS, RUNNING, STALE, STOPPED, WAITING, Record
from ablation.report.kit.numbers import capital, percent
from ablation.report.kit.page import Block, Heading, Paragraph, Table, literal
from ablation.report.study.rows import INERT, Row, StudyInfo, hardware_of, latency_keys, seeds_text, state_counts
from ablation.report.study.sentences import MOST_NAMED, listed, named
from ablation.report.study.tables import converged, published_reasons

STATES = (COMPLETE, FAILED, RUNNING, WAITING, STALE, STOPPED, INFEASIBLE)
EXPECTED = ("params", "macs", "fvcore_params", "fvcore_flops")


def completeness(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> str:
    """'36 of 36 planned trials are complete: 12 of 12 networks, 3 seeds each.'"""
    counts = state_counts(records, study)
    planned = study.num_planned or sum(counts.values())
    if not planned or not rows:
        return f"None of {planned} planned trials has a record yet." if planned else "No trial has been planned yet."
    networks = sum(bool(row.complete) for row in rows)
    others = [f"{counts[s]} {s}" for s in (*STATES[1:], *(s for s in counts if s not in STATES)) if counts.get(s)]
    rest = f" The others: {', '.join(others)}." if others else ""
    whole = f"{networks} of {len(rows)} networks have results" if networks < len(rows) else f"all {len(rows)} networks have results"
    return f"{counts.get(COMPLETE, 0)} of {planned} planned trials are complete; {whole}, {seeds_text(rows)}.{rest}"


def missing_sentences(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> list[str]:
    """Everything that is not there: trials by state, failures with their reasons, values absent from complete trials."""
    texts, keys = _trials(rows, records, study), latency_keys(records)
    complete = [row for row in rows if row.complete]
    for metric in [*study.metrics.values(), *map(study.metric, (*EXPECTED, *keys))]:
        without = [row for row in complete if len(row.values(metric)) < len(row.complete)]
        if without:
            which = f": {listed(without)}" if len(without) < len(complete) else ""
            why = published_reasons(without) if metric.path.startswith("costs.fvcore") else []
            text = f"{capital(metric.label)} is missing in {len(without)} of {len(complete)} networks with results{which}."
            texts.append(" ".join([text, *why]))
    texts += ["Latency was not measured."] if complete and not keys else []
    for key in keys:
        timed = [row for row in rows if row.values(study.metric(key))]
        if loose := [row for row in timed if converged(row, key) is False]:
            text = f"{capital(study.metric(key).label)} did not reach the precision asked for"
            texts.append(f"{text} in {len(loose)} of {len(timed)} networks: {listed(loose)}.")
    return texts + [literal(str(note)) for note in study.data.get("notes") or ()]


def _trials(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> list[str]:
    trials = [(row, trial) for row in rows for trial in row.trials]
    failures = [(row, trial) for row, trial in trials if trial.state == FAILED]
    texts = [f"Failed: {named(row)}, seed {t.seed}: {literal(t.reason) or 'no reason was stored'}." for row, t in failures]
    for state in (RUNNING, WAITING, STALE, STOPPED, INFEASIBLE):
        names = [f"{named(row)} (seed {t.seed})" for row, t in trials if t.state == state]
        more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        texts += [f"{len(names)} {state}: {'; '.join(names[:MOST_NAMED])}{more}."] if names else []
    lacking = study.num_planned - len({(t.network_key, t.seed) for _, t in trials})
    stored = Counter((r.network_key, r.seed) for r in records if r.state == COMPLETE)
    retried = len({(r.network_key, r.seed) for r in records if r.state in (FAILED, STALE)} & stored.keys())
    twice = sum(n > 1 for n in stored.values())
    counted = {
        "planned trials have no record at all.": lacking,
        "trials failed at first and were completed by a later attempt; the complete one counts.": retried,
        "trials were completed more than once; the latest counts.": twice,
    }
    return texts + [f"{number} {text}" for text, number in counted.items() if number > 0]


def where_trials_ran(rows: Sequence[Row], study: StudyInfo) -> list[Block]:
    """A line for each kind of hardware with the trials that ran there; nothing where there is only one."""
    if not study.hardware:
        return []
    lines = []
    for digest, name in study.hardware.items():
        ran = [[t.seed for t in row.trials if digest_of(t.provenance.get("hardware") or {}) == digest] for row in rows]
        names = [_ran(row, seeds) for row, seeds in zip(rows, ran, strict=True) if seeds]
        more = f"; and {len(names) - MOST_NAMED} more networks" if len(names) > MOST_NAMED else ""
        timed = sum(any(hardware_of(place, study) == name for t in row.trials for place in t.latency) for row in rows)
        lines.append([literal(name), str(sum(map(len, ran))), "; ".join(names[:MOST_NAMED]) + more, str(timed)])
    first = literal(next(iter(study.hardware.values())))
    text = "Latency is measured on each kind of hardware by itself, and no comparison is across kinds. "
    text += f"The latency that optuna-dashboard shows is that of {first}. Where each trial ran is in `trials.csv`."
    headings = ["hardware", "trials run there", "of the networks", "networks timed there"]
    return [Heading("Where trials ran"), Paragraph(text), Table(headings, [False, True, False, True], lines)]


def _ran(row: Row, seeds: Sequence[int]) -> str:
    """'#3', or '#3 (seeds 0, 2)' where other seeds ran elsewhere, or not at all."""
    numbers = f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"
    return f"#{row.number}{numbers if len(seeds) < len(row.trials) else ''}"


def inert_sentences(rows: Sequence[Row], study: StudyInfo) -> list[str]:
    """Which factors do nothing in which networks; such networks were trained once and stand for all their levels."""
    texts = []
    for factor, levels in study.factors.items():
        inert = [row for row in rows if row.level(factor) == INERT]
        if inert and len(levels) > 1:
            text = f"**{literal(factor)}** does nothing in {len(inert)} of {len(rows)} networks"
            texts.append(f"{text}, each trained once per seed for all its levels: {listed(inert)}.")
    return texts or ["Every factor changes every network."]


def counting_sentences(rows: Sequence[Row]) -> list[str]:
    """Where fvcore's counts and ours differ, and why."""
    texts = []
    pairs = [(row.mean(METRICS["macs"]), row.mean(METRICS["fvcore_flops"])) for row in rows]
    shares = [theirs / ours - 1 for ours, theirs in pairs if ours and theirs is not None]
    if shares:
        span = " to ".join(dict.fromkeys(percent(end) for end in (min(shares), max(shares))))
        texts.append(
            f"fvcore's flops differ from our multiply-accumulates by {span} over {len(shares)} networks. One of its flops is one "
            "multiply-accumulate. Ours are those of convolutions and linear layers; its total adds normalisation and upsampling, "
            "and leaves out what does not reach the output it traces."
        )
    params = [(row, row.mean(METRICS["params"]), row.mean(METRICS["fvcore_params"])) for row in rows]
    both = [(row, ours, theirs) for row, ours, theirs in params if ours is not None and theirs is not None]
    unequal = [row for row, ours, theirs in both if ours != theirs]
    if unequal:
        names = "; ".join(f"{named(row)} ({_exact(row)})" for row in unequal[:MOST_NAMED])
        texts.append(f"fvcore's parameters differ from ours in {len(unequal)} of {len(both)} networks: {names}.")
    elif both:
        texts.append(f"fvcore's parameters equal ours in {len(both)} of {len(both)} networks.")
    return texts or ["fvcore's counts were not stored."]


def _exact(row: Row) -> str:
    costs = next(t.costs for t in row.trials if t.costs)
    return f"ours {costs['params']:,}, fvcore's {costs['fvcore_params']:,}"
