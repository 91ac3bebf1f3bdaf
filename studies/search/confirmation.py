"""The confirmation of a search, from the studies of its sweep and its fresh seeds. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from ablation.record.search import Candidate
from ablation.record.search_confirmed import WAITS, Confirmation, Confirmed, FastestMode, SeedLoss
from ablation.record.trial import COMPLETE, FAILED, Metric, Record
from ablation.search.confirm import CORRECTED, verdicts
from studies.engine.config import StudyConfig
from studies.engine.reporting import current_records
from studies.search.candidates import sizes, timing
from studies.search.folder import NETWORK, NO_RATE, RATE, arm, level_of
from studies.store.latency import stored_noise


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One study of a search, as it is stored."""

    study: optuna.Study
    config: StudyConfig

    def records(self) -> list[Record]:
        """One for each job, with the latency of the last session."""
        return current_records(self.study, self.config)


Rates = dict[str, float | None]  # learning rate, as written -> validation loss, None where it diverged


def rates_of(candidate: Candidate, search_rate: str, sweep: Stored | None) -> Rates:
    """Loss of a network with each learning rate that it was trained with, seed 0."""
    losses: Rates = {search_rate: candidate.best_loss}
    for record in sweep.records() if sweep else ():
        if record.factors.get(NETWORK) == level_of(candidate) and record.state in (COMPLETE, FAILED):
            loss = record.training.get("best_loss") if record.state == COMPLETE else None
            losses[record.factors[RATE]] = loss if loss is not None and math.isfinite(loss) else None
    return dict(sorted(losses.items(), key=lambda item: float(item[0] or 0)))


def best_rate(losses: Mapping[str, float | None], metric: Metric) -> str | None:
    """The rate of the best loss, or of the like; None where it was trained with none."""
    known = {rate: metric.lowest_best(loss) for rate, loss in losses.items() if loss is not None}
    return min(known, key=lambda rate: known[rate], default=None)


def confirmation_of(
    reference: Candidate,
    finalists: Sequence[Candidate],
    rates: Mapping[str, Rates],
    confirm: Stored,
    fastest: Mapping[str, Mapping[str, Mapping[str, Any] | None]],
) -> Confirmation:
    """Values and verdicts of the reference and the finalists, each with its own best rate.

    `rates`: level -> losses by rate; `fastest`: place -> level -> its fastest mode, plain.
    """
    stored, metric = confirm.records(), confirm.config.leading
    seeds = range(confirm.config.first_seed, confirm.config.first_seed + confirm.config.seeds)
    networks = [_confirmed(each, rates[level_of(each)], stored, seeds, metric) for each in (reference, *finalists)]
    networks[0] = replace(networks[0], number=None)
    levels = [level_of(each) for each in (reference, *finalists)]
    networks = [
        replace(each, fastest={place: FastestMode(**mode) for place, of in fastest.items() if (mode := of.get(level))})
        for level, each in zip(levels, networks, strict=True)
    ]
    first, *rest = networks
    trained = [network for network in rest if network.seeds or network.latency]
    return Confirmation(
        data="" if confirm.config.own else data_text(next((r.data for r in stored if r.data), confirm.config.data)),
        protocol=_protocol(confirm.config, first),
        timing=_timing(confirm.config, stored),
        corrected=CORRECTED,
        reference=first,
        networks=tuple(trained),
        verdicts=verdicts(first, trained, floors(stored_noise(confirm.study)), metric),
    )


def floors(noise: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Place -> the largest ratio of one network to a second copy of itself that its interval allows, as a logarithm.

    >>> round(floors({"cpu/1": {"ratio": 1.0, "low": 0.99, "high": 1.005, "sittings": 5}})["cpu/1"], 5)
    0.01005
    """
    known = {place: floor for place, floor in noise.items() if floor.get("low") and floor.get("high")}
    return {place: max(abs(math.log(floor["low"])), abs(math.log(floor["high"]))) for place, floor in known.items()}


def _confirmed(candidate: Candidate, rates: Rates, stored: Sequence[Record], seeds: Sequence[int], metric: Metric) -> Confirmed:
    rate = best_rate(rates, metric)
    level = arm(level_of(candidate), rate) if rate is not None else None
    ours = sorted((r for r in stored if r.factors.get(NETWORK) == level), key=lambda record: record.seed)
    ended = [record for record in ours if record.state in (COMPLETE, FAILED)]
    first = next((record for record in ours if record.state == COMPLETE), None)
    known = {record.seed: _seed(record, metric) for record in ended}
    waiting = {seed: SeedLoss(seed=seed, reason=WAITS) for seed in seeds} if ours else {}
    latency = next((record.latency for record in ours if record.latency), {})
    return Confirmed(
        number=candidate.number,
        label=candidate.label,
        key=candidate.key,
        spec=candidate.spec,
        rates={} if NO_RATE in rates else rates,
        rate=rate or "",
        search_loss=candidate.best_loss,
        seeds=tuple({**waiting, **known}.values()),
        **(sizes(first.costs) if first else {"params": candidate.params, "macs": candidate.macs}),
        latency={place: timing(entry) for place, entry in latency.items()},
    )


def _seed(record: Record, metric: Metric) -> SeedLoss:
    if record.state != COMPLETE:
        return SeedLoss(seed=record.seed, reason=record.reason)
    validation, test = (_finite(record.get(path)) for path in (metric.path, "quality.replica.loss"))
    return SeedLoss(seed=record.seed, validation=validation, test=test, reason="" if validation is not None else "not finite")


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def data_text(data: Mapping[str, Any]) -> str:
    """Data set, size and split as a sentence."""
    sizes = [f"{data[f'num_{part}']:,} {word}" for part, word in _SPLIT.items() if f"num_{part}" in data]
    return f"{data['name']} at {data['image_size']} px" + (f": {', '.join(sizes)}." if sizes else ".")


_SPLIT = {"train": "images to train", "validation": "to validate", "test": "to test"}


def _protocol(config: StudyConfig, reference: Confirmed) -> str:
    seeds = f"seeds {config.first_seed} to {config.first_seed + config.seeds - 1}, which neither search nor sweep had"
    if config.own:
        return f"{config.own['train']}; {seeds.replace('neither search nor sweep had', 'the search did not have')}."
    protocol = config.training_protocol()
    several = f"of {', '.join(reference.rates)} the learning rate with the lowest validation loss with seed 0, for each network"
    rates = several if len(reference.rates) > 1 else f"learning rate {reference.rate}"
    return f"At most {protocol.epochs} epochs, batch {protocol.batch_size}, Adam; {rates}; {seeds}."


def _timing(config: StudyConfig, stored: Sequence[Record]) -> str:
    entries = [entry for record in stored for entry in record.latency.values() if entry.get("sittings")]
    threads = f", {config.latency_threads} thread(s)" if config.device == "cpu" else ""
    num = min((entry["sittings"] for entry in entries), default=0)
    return f"{num} fresh sittings, networks loaded anew in each{threads}." if num else ""


def expected_s(networks: Sequence[Sequence[float]], num_trainings: int, workers: int) -> float | None:
    """Seconds of a stage with so many trainings of each network, from those that were timed (network -> seconds of each)."""
    if not all(networks):
        return None
    each = [sum(seconds) / len(seconds) for seconds in networks]
    longest = max(each, default=0.0)
    return max(num_trainings * sum(each) / workers, longest)
