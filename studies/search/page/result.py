"""A search as plain values, from its folder and storage, and the files that are made of it. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna

from ablation.design.callable_spec import CallableSpec
from ablation.machine.files import write_atomic
from ablation.machine.hardware import machine_name
from ablation.record.convert import from_plain, to_plain
from ablation.record.search import STOPPED, Candidate, Limit, PredictionError, Rung, SearchedSpace, SearchResult
from ablation.record.search_confirmed import WAITS, Confirmation, Stage, Undone
from ablation.record.trial import FAILED, Metric
from ablation.report.kit.numbers import capital
from ablation.report.search.networks import spec_toml
from ablation.search.confirm import winner as winner_of
from ablation.search.limits import RATIO, limit_text, quantity_of
from ablation.search.samplers import ABOUT
from ablation.search.undone import undone
from studies.engine.config import StudyConfig
from studies.engine.reporting import FACTS
from studies.engine.search.rungs import rank_correlations
from studies.search.candidates import candidates, finalists, spent_s
from studies.search.confirmation import Rates, Stored, best_rate, confirmation_of, data_text, floors, rates_of
from studies.search.folder import CONFIRM, NETWORK, NO_RATE, SWEEP, WHY, WINNER, SearchFolder, arm, level_of, study_of, why_of
from studies.search.page.insight import Drawn, distribution_of, growth_of
from studies.store.latency import stored_noise
from studies.store.storage import open_storage, study_names


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """All that is stored of a search, read once."""

    folder: SearchFolder
    facts: Mapping[str, Any]
    search: Stored
    reference: Candidate
    proposals: tuple[Candidate, ...]
    parts: Mapping[str, Stored]  # "sweep", "confirm", "why-12" -> those that were begun

    @property
    def finalists(self) -> list[Candidate]:
        """The networks that are confirmed, as chosen when the search had ended; none before."""
        chosen = self.facts.get("finalists", ())
        return [candidate for number in chosen for candidate in self.proposals if candidate.number == number]

    @property
    def metric(self) -> Metric:
        """What networks are trained for."""
        return self.search.config.leading

    @property
    def begun(self) -> list[int]:
        """Numbers of the networks whose confirmation has begun, in that order."""
        confirm = self.parts.get(CONFIRM)
        arms = [name.partition(" at ")[0] for name in confirm.config.space["factors"][NETWORK]] if confirm else []
        known = {level_of(candidate): candidate.number for candidate in self.proposals}
        return list(dict.fromkeys(number for name in arms if (number := known.get(name)) is not None))

    @property
    def shows_faces(self) -> bool:
        """Whether its images are rendered, so that they may be shown to anyone."""
        return bool(self.search.config.data.get("name") == "faces")

    def arms(self) -> list[str]:
        """The reference and the finalists as levels of the confirmation."""
        rates = {level: best_rate(losses, self.metric) for level, losses in self.rates().items()}
        return [arm(level, rate) for level, rate in rates.items() if rate is not None]

    @cached_property
    def winner(self) -> Candidate | None:
        """The network that is put beside the reference: the best that was confirmed, before that the best of the front."""
        confirmation = self.confirmation
        number = winner_of(confirmation, self.metric) if confirmation else None
        confirmed = (c for c in self.proposals if c.number == number and number is not None)
        return next(confirmed, None) or next(iter(self.best(1)), None)

    def best(self, num: int) -> list[Candidate]:
        """The best of the front, as it is now."""
        return finalists(self.reference, self.proposals, num, self.metric)

    def rates(self) -> dict[str, Rates]:
        """Level of the reference and of each finalist -> loss by learning rate."""
        config = self.search.config
        rate = NO_RATE if config.own else f"{config.training_protocol().learning_rate:g}"
        own = f"{config.search['reference_rate']:g}" if config.search.get("reference_rate") else rate
        sweep, networks = self.parts.get(SWEEP), [(self.reference, own), *((each, rate) for each in self.finalists)]
        return {level_of(each): rates_of(each, of, sweep) for each, of in networks}

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """Values and verdicts; None where nothing was trained with fresh seeds."""
        rates, confirm = self.rates(), self.parts.get(CONFIRM)
        if confirm is None or best_rate(rates[level_of(self.reference)], self.metric) is None:
            return None
        return confirmation_of(self.reference, self.finalists, rates, confirm, self.facts.get("fastest", {}))


def read_search(folder: SearchFolder, where: str | None = None) -> SearchState | None:
    """What is stored of the search in a folder, or in a storage that is named; None where it has no study yet."""
    facts = folder.read_facts()
    storage, name = open_storage(where or folder.journal, must_exist=True), facts["study"]
    stored = study_names(storage)
    if name not in stored:
        return None
    search = _stored(name, storage)
    reference, proposals = candidates(search.study, search.config, facts)
    begun = {each.removeprefix(study_of(name, "")): each for each in stored if each.startswith(study_of(name, ""))}
    parts = {kind: _stored(each, storage) for kind, each in begun.items() if kind.partition("-")[0] in (SWEEP, CONFIRM, WHY)}
    return SearchState(folder=folder, facts=facts, search=search, reference=reference, proposals=proposals, parts=parts)


def _stored(name: str, storage: optuna.storages.BaseStorage) -> Stored:
    study = optuna.load_study(study_name=name, storage=storage)
    return Stored(study=study, config=StudyConfig.from_dict(study.user_attrs["config"]))


def result_of(state: SearchState) -> SearchResult:
    """The search as its page shows it."""
    facts, config, confirmation = state.facts, state.search.config, state.confirmation
    number, factors = state.winner.number if state.winner else None, {f: list(of) for f, of in config.space["factors"].items()}
    known: Mapping[str, Any] = state.search.study.user_attrs.get(FACTS, {})
    hardware = known.get("provenance", {}).get("hardware", {})
    return SearchResult(
        title=f"Search: {', '.join(config.space['factors'])} {_on(config)}",
        metric=state.metric,
        command=facts.get("command", ""),
        data="" if config.own else data_text(known.get("data", config.data)),
        protocol=_protocol(config),
        device=config.device,
        machine=machine_name(hardware) or config.device,
        reference=state.reference,
        limits=tuple(_limit(limit, state.reference, config.device) for limit in facts.get("limits", ())),
        space=SearchedSpace(**facts["space"]),
        sampler=str(config.search.get("sampler", "")),
        sampler_text=capital(ABOUT.get(str(config.search.get("sampler")), "")),
        budget=facts.get("budget", ""),
        num_warm=facts.get("num_warm", 0),
        seconds=spent_s(state.search.study),
        proposals=state.proposals,
        winner=number,
        confirmation=confirmation,
        undone=undone_of(state, number),
        prediction=tuple(PredictionError(**error) for error in facts.get("prediction", ())),
        rungs=_rungs(state),
        growth=growth_of(state.proposals, factors, state.metric, [Drawn(**each) for each in facts.get("drawn", ())]),
        distribution=distribution_of(state.proposals, factors, state.metric),
        drawings=_drawings(facts.get("drawings", {}), number),
        gallery_reason="" if config.own or state.shows_faces else "The licence of these images does not let them be shown.",
        missing=_missing(state, confirmation),
        next_commands=_next(state, number),
        provenance={**known.get("provenance", {}), "data_fingerprint": config.fingerprint, "seed": config.search.get("seed", 0)},
    )


def undone_of(state: SearchState, number: int | None) -> tuple[Undone, ...]:
    """What undoing the winner's differences changes, as far as it was trained."""
    winner = next((candidate for candidate in state.finalists if candidate.number == number), None)
    rate = best_rate(state.rates()[level_of(winner)], state.metric) if winner is not None else None
    why = state.parts.get(why_of(winner, rate)) if winner is not None and rate is not None else None
    about = state.facts.get("undone", {}).get(str(number))
    if why is None or about is None:
        return ()
    stored = why.records()
    by_level = {level: [r for r in stored if r.factors.get(NETWORK) == level] for level in why.config.space["factors"][NETWORK]}
    whole = by_level.pop(WINNER)
    levels = {factor: tuple(pair) for factor, pair in about["levels"].items()}
    return undone(levels, whole, by_level, about["reasons"], floors(stored_noise(why.study)), state.metric.path)


def write_files(state: SearchState, result: SearchResult, target: Path) -> None:
    """`confirmation.json` and the winner's spec."""
    if result.confirmation is not None:
        write_atomic(target / "confirmation.json", json.dumps(to_plain(result.confirmation), indent=2) + "\n")
    winner = result.candidate(result.winner)
    if winner is not None:
        write_atomic(target / "winner.toml", spec_toml(winner.spec))
    write_atomic(target / "reference.toml", spec_toml(state.reference.spec))


def _limit(stored: Mapping[str, Any], reference: Candidate, device: str) -> Limit:
    """A limit as the page shows it; one that is relative to the reference in native units, as far as the reference was measured."""
    key, value = stored["key"], stored["value"]
    metric, _, batch = quantity_of(key).partition("@")
    place = f"{device}/{batch}" if batch else ""
    times: float | None = None
    if key.partition("@")[0].endswith(RATIO):
        timed = reference.latency.get(place)
        times = (timed.ms if timed else None) if batch else getattr(reference, metric, None)
    text = limit_text(key, value).partition("=")[2]
    return Limit(metric=metric, place=place, text=text, value=value * (times or 1.0), num_excluded=stored["num_excluded"])


def _on(config: StudyConfig) -> str:
    if config.own:
        return f"of {CallableSpec.from_dict(config.space['base']).text}"
    return f"on {config.data['name']} at {config.data['image_size']} px"


def _protocol(config: StudyConfig) -> str:
    if config.own:
        return f"{config.own['train']}, seed 0."
    protocol, own = config.training_protocol(), config.search.get("reference_rate")
    rate = f"{protocol.learning_rate:g}" + (f" (the reference {own:g})" if own else "")
    return f"At most {protocol.epochs} epochs, batch {protocol.batch_size}, Adam {rate}, {protocol.precision}, seed 0."


def _rungs(state: SearchState) -> tuple[Rung, ...]:
    stopped = Counter(candidate.rung for candidate in state.proposals if candidate.state == STOPPED)
    return tuple(
        Rung(epochs=each.epoch, num_stopped=stopped[each.epoch], rank_correlation=each.rho, num=each.num)
        for each in rank_correlations(state.search.study, state.search.config)
    )


def _drawings(stored: Mapping[str, Any], number: int | None) -> dict[str, tuple[Stage, ...]]:
    """Those of the reference and of this winner, as the command noted them."""
    if stored.get("number") != number:
        return {}
    return {name: tuple(from_plain(Stage, stage) for stage in stages) for name, stages in stored["stages"].items()}


def _missing(state: SearchState, confirmation: Confirmation | None) -> tuple[str, ...]:
    """What was not done, in sentences."""
    texts = []
    asked = state.facts.get("asked", {})
    if confirmation is None:
        reason = "--confirm 0 leaves that out" if asked.get("confirm") == 0 else "the search has not got that far"
        texts.append(f"No network was confirmed: {reason}.")
    elif any(seed.reason == WAITS for network in (confirmation.reference, *confirmation.networks) for seed in network.seeds):
        texts.append("The confirmation is not complete: until every seed was trained nothing that training gives is settled.")
    elif asked.get("quick"):
        seeds, noun = asked["confirm_seeds"], state.metric.noun
        texts.append(f"This was a quick search: with {seeds} fresh seeds no {noun} is settled, whatever it is.")
    failed = sum(candidate.state == FAILED for candidate in state.proposals)
    if failed:
        texts.append(f"{failed} of {len(state.proposals)} proposals could not be built or trained.")
    if confirmation is not None and not asked.get("why_seeds"):
        texts.append(f"What each difference of the winner does to the {state.metric.noun} was not trained.")
    return tuple(texts)


def _next(state: SearchState, number: int | None) -> dict[str, str]:
    if number is None:
        return {}
    folder = state.folder.path
    place = Path(folder.name) if folder.is_absolute() else folder  # no path of this machine
    text = "" if state.search.config.own else state.facts["reference"]["text"]  # a call needs its inputs, which the file has
    reference = text or str(place / state.folder.reference.name)
    return {
        "explain why it differs": f"python -m studies.run explain {reference} {place / state.folder.winner.name}",
        "leave with it": f"python -m studies.run export {place}:winner --to exported",
    }
