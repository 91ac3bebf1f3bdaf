"""Joining a search: what its sampler has left is proposed, timed and trained here, once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from ablation.data import load_dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.design.spec import preset
from ablation.measure.latency.compare import compare_latency
from studies.engine import latency_session
from studies.engine.config import StudyConfig
from studies.engine.machines.joined import _progress, join_study, open_joined
from studies.engine.machines.needs import named_pieces
from studies.engine.opened import RunOptions, StudyRun, open_run
from studies.engine.runner import plan_search
from studies.store.queue import trial_state
from studies.store.source import ROLE

FACTORS = {"conv": {"standard": {"conv": "standard"}, "separable": {"conv": "separable"}}, "head": {"pooled": {"head": "pooled"}}}


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyRun:
    """A search whose reference is planned; nothing is proposed by now."""
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))
    dataset = load_dataset("faces", image_size=16, limit=40, seed=0)
    space = Space(name="s", base=preset("small").replace(image_size=16), factors=FACTORS)
    config = StudyConfig(
        name="s",
        space=space.to_dict(),
        data={"name": "faces", "limit": 40, "seed": 0, "image_size": 16},
        fingerprint=dataset.fingerprint,
        protocol=Protocol(epochs=1).to_dict(),
        latency_batches=(1,),
        search={"sampler": "RandomSampler", "num_trials": 2, "reference_seeds": 1},
    )
    options = RunOptions(out=tmp_path / "A", storage=f"sqlite:///{tmp_path}/s.db", study="s")
    run = open_run(config, options, dataset, Console(quiet=True))
    assert plan_search(run) == (0, 3)
    return run


def test_a_search_is_joined(begun: StudyRun, tmp_path: Path) -> None:
    here = RunOptions(out=tmp_path / "B", storage=begun.options.where, study="s")
    run = open_joined(here, Console(quiet=True))
    assert _progress(run) == (3, 0)
    assert join_study(run) == 0
    state = trial_state(run.study, run.config.limits)
    assert (state.complete, state.waiting, state.running) == (3, 0, 0)
    done = [trial for trial in run.study.get_trials() if trial.values]
    assert len({(trial.user_attrs["network_key"], trial.user_attrs["seed"]) for trial in done}) == 3
    assert [ROLE in trial.user_attrs for trial in done] == [True, False, False]
    assert _progress(run) == (3, 3)
    assert list((tmp_path / "B/checkpoints").iterdir()) and not (tmp_path / "A/checkpoints").exists()


def test_pieces_are_those_of_base_levels_and_reference() -> None:
    space = Space(name="s", base=preset("small"), factors={"stages": {"mixed": {"conv": ["standard", "separable"] * 2}}})
    reference = preset("small").replace(head="pooled").to_dict()
    config = StudyConfig(
        name="s", space=space.to_dict(), data={}, fingerprint="", protocol=Protocol().to_dict(), search={"reference": reference}
    )
    pieces = set(named_pieces(config))
    assert {("encoder_conv", "separable"), ("decoder_conv", "separable"), ("head", "flatten"), ("head", "pooled")} <= pieces
