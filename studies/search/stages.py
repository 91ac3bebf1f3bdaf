"""The stages of a search: propose and train, sweep learning rates, confirm, undo the winner's swaps. Each resumes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation.design.network import of_pieces
from ablation.design.variant import network_of
from ablation.record.search import Candidate
from ablation.record.trial import COMPLETE
from ablation.report.search.networks import spec_toml
from ablation.search.confirm import losses_of
from ablation.search.limits import LATENCY
from ablation.search.samplers import FREE
from studies.engine.opened import StudyRun
from studies.engine.proposals import describe_of
from studies.engine.runner import INTERRUPTED, run_trials
from studies.engine.search.earlier import earlier_records, store_earlier, stored_earlier
from studies.engine.search.predicted import models_digest, predictor
from studies.engine.search.rungs import no_longer_stopped
from studies.options import SearchOptions
from studies.search import parts
from studies.search.candidates import spent_s
from studies.search.census import Census, drawn_inside, take_census
from studies.search.confirmation import best_rate, expected_s
from studies.search.fastest import fastest_modes
from studies.search.folder import keep_facts, level_of
from studies.search.models import can_be_fitted, fit_models
from studies.search.page.drawing import drawing
from studies.search.page.result import SearchState, read_search
from studies.search.parts import swaps_between
from studies.search.setting import Setting, public_name, training_s
from studies.store.queue import go_on, trial_state
from studies.store.source import propose_until
from studies.work.progress import duration

Say = Callable[[str], None]


CENSUS_BY = "census_by"  # fact: the models of latency by which the stored census was taken
MOST_PREDICTED = 1000  # combinations whose latency is predicted for it


@dataclass(kw_only=True)
class Stages:
    """One search on this machine, and how far it is."""

    setting: Setting
    search: StudyRun
    census: Census
    say: Say
    ended: bool = False  # nothing is left to be done, whatever stages there are

    def take_over(self) -> None:
        """What earlier studies of the same data and protocol have; those that do not fit are named."""
        earlier = earlier_records(map(Path, self.setting.earlier), self.search.config)
        store_earlier(self.search.study, earlier)
        for place, reason in earlier.refused.items():
            self.say(f"--from     {place} is left out: {reason}")
        known = stored_earlier(self.search.study)
        self.setting = replace(self.setting, first_unknown=1 + max((one.record.seed for one in known), default=-1))
        if earlier.records:
            self.say(f"--from     {len(earlier.records)} trials are known already")
        self.setting.folder.note(num_warm=len(known))

    def note_begin(self, options: SearchOptions) -> None:
        """Facts of the search that no study holds."""
        setting, folder = self.setting, self.setting.folder
        spec, limits = setting.reference.to_dict(), setting.config.search.get("limits", {})
        text = public_name(options.reference or "")
        counted = {"space": self.census.facts(setting.space), "limits": limits_plain(limits, self.census)}
        folder.note(
            study=setting.options.study,
            command=options.line,
            reference={"label": text or "reference", "text": text, "key": setting.reference.network_key, "spec": spec},
            **({} if CENSUS_BY in folder.read_facts() else counted),
            budget=options.budget or f"{setting.config.search['num_trials']} trainings",
            asked={"confirm": setting.confirm, "confirm_seeds": setting.confirm_seeds, "why_seeds": setting.why_seeds,
                   "quick": setting.quick, "rates": list(setting.rates)},
        )  # fmt: skip
        folder.reference.write_text(spec_toml(spec), encoding="utf-8")

    def note_end(self) -> None:
        """What only torch can tell: reference and winner stage by stage, and the predicted latency of what was proposed."""
        state, predict = self.state(), predictor(self.search.study, self.search.config)
        best, device = state.winner, self.search.config.device
        if predict is not None:
            known = {c.key: predict(parts.spec_of(c)) for c in state.proposals if c.spec}
            predicted = {key: {f"{device}/{batch}": one.ms for batch, one in by.items()} for key, by in known.items()}
            drawn = state.facts.get("drawn") or drawn_inside(self.setting, predict)
            self.setting.folder.note(predicted=predicted, drawn=drawn)
        stages = {"reference": drawing(self.setting.reference)}
        if best is not None:
            stages["winner"] = drawing(parts.spec_of(best))
        self.setting.folder.note(drawings={"number": best.number if best else None, "stages": stages})

    def keep_facts(self) -> None:
        """What other machines need of them, where they share the storage."""
        if self.setting.options.storage:
            keep_facts(self.search.study, self.setting.folder)

    def state(self) -> SearchState:
        """What is stored by now."""
        state = read_search(self.setting.folder, self.setting.options.storage)
        assert state is not None, "the study was opened"
        return state

    def expect(self, what: str, num: int, networks: Sequence[Candidate]) -> None:
        """Say how long trainings of these networks and the reference will take, by those that were timed."""
        workers, stored = self.setting.options.workers, self.state().search.records()
        keys = {candidate.key for candidate in networks} | {self.setting.reference.network_key}
        seconds = [
            [r.training["seconds"] for r in stored if network_of(r.network_key) == key and r.state == COMPLETE] for key in keys
        ]
        expected = expected_s(seconds, num, workers)
        time_text = f", about {duration(expected)} if all are still to be trained" if expected else ""
        self.say(f"{what}: {num} trainings of each of {len(keys)} networks{time_text}")


def limits_plain(limits: Mapping[str, float], census: Census) -> list[dict[str, Any]]:
    """Limits with how many networks each excludes, None where nobody could count."""
    return [{"key": key, "value": value, "num_excluded": census.num_excluded.get(key)} for key, value in limits.items()]


def predict(stages: Stages) -> int:
    """Time some dozens of networks, so that the latency of all others is known roughly before they are proposed."""
    setting, run = stages.setting, stages.search
    if can_be_fitted(stages.census):
        setting.folder.note(prediction=fit_models(setting, run, stages.say))
        limits, known = setting.config.search.get("limits", {}), predictor(run.study, run.config)
        by = models_digest(run.study, run.config)
        if any(key.startswith(LATENCY) for key in limits) and setting.folder.read_facts().get(CENSUS_BY) != by:
            census = take_census(setting, known, MOST_PREDICTED)
            setting.folder.note(space=census.facts(setting.space), limits=limits_plain(limits, census), **{CENSUS_BY: by})
            stages.say(f"Inside all limits, by predicted latency: {census.num_inside:,} of {census.num_valid:,} networks")
        if setting.config.search.get("sampler") == FREE:
            stages.say("Describing the networks that may be proposed ...")
            describe_of(run.config, run.study, run.folder.path, known).prepare()
    return 0


def search(stages: Stages) -> int:
    """Propose and train until the budget or the number of trainings is reached, then choose what is confirmed."""
    setting, run = stages.setting, stages.search
    left = None if setting.budget_s is None else setting.budget_s - spent_s(run.study)
    asked = {"budget_s": setting.budget_s or 0.0, "trials": setting.config.search["num_trials"]}
    before = setting.folder.read_facts().get("searched", {})
    if before and all(asked[name] <= before[name] for name in asked):
        left = 0.0  # it came to its end, and no more is asked for
    elif back := go_on(run.study, no_longer_stopped(run.study), run.config.limits):
        stages.say(f"{back} trainings that were stopped go on: by what is known now they would not be stopped")
    waiting = trial_state(run.study, run.config.limits).waiting
    if left is None or left > 0 or waiting:
        propose_until(run.study, None if left is None else time.time() + left)
        if run_trials(run) == INTERRUPTED:
            return INTERRUPTED
    state = stages.state()
    complete = [candidate for candidate in state.proposals if candidate.state == COMPLETE]
    best = complete if setting.named else state.best(setting.confirm)
    # those whose confirmation has begun stay: to leave them out later would be a choice by their result
    chosen = [*state.begun, *(candidate.number for candidate in best if candidate.number not in state.begun)]
    setting.folder.note(searched=asked)
    if setting.confirm:
        setting.folder.note(finalists=chosen[: max(setting.confirm, len(state.begun))])
    stages.say(f"Searched  {len(complete)} networks trained to the end in {duration(spent_s(run.study))}")
    stages.ended = not setting.confirm or not chosen
    return 0 if complete else 1


def sweep(stages: Stages) -> int:
    """Give the reference and each finalist the learning rate that suits it."""
    setting, chosen = stages.setting, stages.state().finalists
    rates = parts.swept_rates(setting)
    if not rates:
        return 0
    stages.expect("Sweep of learning rates", len(rates), chosen)
    return _interrupted(run_trials(parts.sweep(setting, chosen, stages.search.console)))  # a rate that diverges is an answer


def confirm(stages: Stages) -> int:
    """Train the reference and the finalists with fresh seeds, and time them in fresh sittings."""
    setting, state, config = stages.setting, stages.state(), stages.setting.config
    rates = {level: rate for level, losses in state.rates().items() if (rate := best_rate(losses, config.leading)) is not None}
    chosen = [each for each in state.finalists if level_of(each) in rates]
    if level_of(state.reference) not in rates or not chosen:
        lost, rates_text = "The reference" if chosen else "No network of the front", ", ".join(f"{r:g}" for r in setting.rates)
        stages.say(f"{lost} could not be trained{f' with any learning rate of {rates_text}' if rates_text else ''}.")
        stages.ended = True
        return 1
    stages.expect("Confirmation", setting.confirm_seeds, chosen)
    if run_trials(parts.confirm(setting, chosen, rates, stages.search.console)) == INTERRUPTED:
        return INTERRUPTED
    held = stages.state().confirmation
    return 0 if held and losses_of(held.reference) and any(map(losses_of, held.networks)) else 1


def modes(stages: Stages) -> int:
    """Time the reference and the finalists each in its own fastest mode; what is known stays."""
    setting, state = stages.setting, stages.state()
    if setting.config.own:
        return 0  # `explain` tries the modes of any two networks
    specs = {level_of(each): of_pieces(parts.spec_of(each)) for each in (state.reference, *state.finalists)}
    known = {place: dict(of) for place, of in state.facts.get("fastest", {}).items()}
    for batch in setting.config.latency_batches:
        place = f"{setting.config.device}/{batch}"
        if set(specs) - set(known.get(place, {})):
            known[place] = fastest_modes(specs, setting.config, place, compile=not setting.quick, say=stages.say)
            setting.folder.note(fastest=known)
    return 0


def why(stages: Stages) -> int:
    """Train the winner with each of its differences from the reference undone."""
    setting, state = stages.setting, stages.state()
    winner = state.winner
    if winner is None or winner not in state.finalists or not setting.why_seeds:
        return 0
    swaps = swaps_between(setting.reference, parts.spec_of(winner))
    known = state.facts.get("undone", {})
    setting.folder.note(undone={**known, str(winner.number): swaps.facts()})
    if not swaps.undone:
        return 0
    what = f"Why: the best without each of {len(swaps.undone)} differences from the reference, {setting.why_seeds} seeds"
    try:
        seconds = training_s(setting, {"winner": parts.spec_of(winner), **swaps.undone})
        total = setting.why_seeds * sum(seconds.values()) / setting.options.workers
        what += f", about {duration(total)} if all are still to be trained"
    except Exception:  # of a network that can't be trained: its trial says why
        pass
    stages.say(what)
    rate = best_rate(state.rates()[level_of(winner)], setting.config.leading)
    assert rate is not None, "it was confirmed"
    return _interrupted(run_trials(parts.why(setting, winner, swaps.undone, rate, stages.search.console)))


def _interrupted(code: int) -> int:
    """Whether a stage was stopped; what fails in it is on the page and ends nothing."""
    return code if code == INTERRUPTED else 0


STAGES: tuple[Callable[[Stages], int], ...] = (predict, search, sweep, confirm, modes, why)
