"""Plain sentences on what a study has and lacks: completeness, failures, inert factors, counting conventions. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ablation.record.trial import COMPLETE, FAILED, METRICS, RUNNING, STALE, WAITING, Record
from ablation.report.kit.numbers import percent
from ablation.report.kit.page import literal
from ablation.report.study.rows import INERT, Row, StudyInfo, latency_keys, latency_of, seeds_text, state_counts
from ablation.report.study.sentences import named
from ablation.report.study.tables import converged, published_reasons

STATES = (COMPLETE, FAILED, RUNNING, WAITING, STALE)
EXPECTED = ("loss", "params", "macs", "fvcore_params", "fvcore_flops", "ssim", "psnr", "l1", "ms_ssim", "replica_loss")


def completeness(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> str:
    """'36 of 36 planned trials are complete: 12 of 12 networks, 3 seeds each.'"""
    counts = state_counts(records, study)
    done = counts.get(COMPLETE, 0)
    planned = study.num_planned or sum(counts.values())
    if not planned or not rows:
        return f"None of {planned} planned trials has a record yet." if planned else "No trial has been planned yet."
    networks = sum(bool(row.complete) for row in rows)
    others = [f"{counts[s]} {s}" for s in (*STATES[1:], *(s for s in counts if s not in STATES)) if counts.get(s)]
    rest = f" The others: {', '.join(others)}." if others else ""
    whole = f"{networks} of {len(rows)} networks have results" if networks < len(rows) else f"all {len(rows)} networks have results"
    return f"{done} of {planned} planned trials are complete; {whole}, {seeds_text(rows)}.{rest}"


def missing_sentences(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> list[str]:
    """Everything that is not there: trials by state, failures with their reasons, values absent from complete trials."""
    texts = _trials(rows, records, study)
    complete = [row for row in rows if row.complete]
    for metric in [METRICS[name] for name in EXPECTED] + [latency_of(key) for key in latency_keys(records)]:
        without = [row for row in complete if len(row.values(metric)) < len(row.complete)]
        if without:
            which = f": {_listed([named(row) for row in without])}" if len(without) < len(complete) else ""
            name = f"{metric.label[0].upper()}{metric.label[1:]}"
            why = published_reasons(without) if metric.path.startswith("costs.fvcore") else []
            text = f"{name} is missing in {len(without)} of {len(complete)} networks with results{which}."
            texts.append(" ".join([text, *why]))
    if complete and not latency_keys(records):
        texts.append("Latency was not measured.")
    return texts + _not_converged(rows, latency_keys(records)) + [literal(str(note)) for note in study.data.get("notes") or ()]


def _listed(names: Sequence[str]) -> str:
    """The first eight names, and how many more there are."""
    return "; ".join(names[:8]) + (f"; and {len(names) - 8} more" if len(names) > 8 else "")


def _trials(rows: Sequence[Row], records: Sequence[Record], study: StudyInfo) -> list[str]:
    texts = []
    for row in rows:
        for trial in row.trials:
            if trial.state == FAILED:
                texts.append(f"Failed: {named(row)}, seed {trial.seed}: {literal(trial.reason) or 'no reason was stored'}.")
    for state in (RUNNING, WAITING, STALE):
        waiting = [f"{named(row)} (seed {t.seed})" for row in rows for t in row.trials if t.state == state]
        if waiting:
            texts.append(f"{len(waiting)} {state}: {_listed(waiting)}.")
    seen = {(t.network_key, t.seed) for row in rows for t in row.trials}
    if study.num_planned > len(seen):
        texts.append(f"{study.num_planned - len(seen)} planned trials have no record at all.")
    stored = Counter((r.network_key, r.seed) for r in records if r.state == COMPLETE)
    twice = sum(n > 1 for n in stored.values())
    retried = len({(r.network_key, r.seed) for r in records if r.state in (FAILED, STALE)} & stored.keys())
    if retried:
        texts.append(f"{retried} trials failed at first and were completed by a later attempt; the complete one counts.")
    if twice:
        texts.append(f"{twice} trials were completed more than once; the latest counts.")
    return texts


def _not_converged(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    texts = []
    for key in keys:
        timed = [row for row in rows if row.values(latency_of(key))]
        loose = [row for row in timed if converged(row, key) is False]
        if loose:
            what = f"{latency_of(key).label.capitalize()} did not reach the precision asked for"
            texts.append(f"{what} in {len(loose)} of {len(timed)} networks: {_listed([named(row) for row in loose])}.")
    return texts


def inert_sentences(rows: Sequence[Row], study: StudyInfo) -> list[str]:
    """Which factors do nothing in which networks; such networks were trained once and stand for all their levels."""
    texts = []
    for factor, levels in study.factors.items():
        inert = [row for row in rows if row.level(factor) == INERT]
        if inert and len(levels) > 1:
            names = _listed([named(row) for row in inert])
            what = f"**{literal(factor)}** does nothing in {len(inert)} of {len(rows)} networks"
            texts.append(f"{what}, each trained once per seed for all its levels: {names}.")
    return texts or ["Every factor changes every network."]


def counting_sentences(rows: Sequence[Row]) -> list[str]:
    """Where fvcore's counts and ours differ, and why."""
    texts = []
    pairs = [(row, row.mean(METRICS["macs"]), row.mean(METRICS["fvcore_flops"])) for row in rows]
    shares = [(theirs / ours - 1, row) for row, ours, theirs in pairs if ours and theirs is not None]
    if shares:
        low, high = min(s for s, _ in shares), max(s for s, _ in shares)
        span = percent(low) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"
        texts.append(
            f"fvcore's flops differ from our multiply-accumulates by {span} over {len(shares)} networks. One of its flops is one "
            "multiply-accumulate. Ours are those of convolutions and linear layers; its total adds normalisation and upsampling, "
            "and leaves out what does not reach the output it traces."
        )
    unequal = [row for row in rows if None not in _params(row) and _params(row)[0] != _params(row)[1]]
    both = sum(None not in _params(row) for row in rows)
    if unequal:
        names = "; ".join(f"{named(row)} ({_exact(row)})" for row in unequal[:8])
        texts.append(f"fvcore's parameters differ from ours in {len(unequal)} of {both} networks: {names}.")
    elif both:
        texts.append(f"fvcore's parameters equal ours in {both} of {both} networks.")
    return texts or ["fvcore's counts were not stored."]


def _params(row: Row) -> tuple[float | None, float | None]:
    return row.mean(METRICS["params"]), row.mean(METRICS["fvcore_params"])


def _exact(row: Row) -> str:
    costs = next(t.costs for t in row.trials if t.costs)
    return f"ours {costs['params']:,}, fvcore's {costs['fvcore_params']:,}"
