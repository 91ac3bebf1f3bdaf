"""The plan of a study of the paper: what is trained, and what a budget gives up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ablation.design.spec import preset
from ablation.measure.costs.static import static_cost
from blocks.errors import InputError
from studies.paper.evidence.collect import collect
from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, POOLED, SAME_PARAMETERS
from studies.paper.folder import HYPOTHESES, MODELS, PIECES, PaperFolder
from studies.paper.plan import Asked, Pace, PaperPlan, arms, first_plan, fit, ladder, pieces, read_plan
from studies.work.progress import parse_budget

PACE = Pace(
    step_s={
        MODELS: {"original": 0.03, "modified": 0.08, "pooled": 0.03, "plain": 0.03},
        PIECES: {str(n): 0.05 for n in range(13)},
        HYPOTHESES: {str(n): 0.06 for n in range(10)},
    }
)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400), (" 2 m ", 120)])
def test_budget_in_seconds(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3m", "m", "5 days", "nan"])
def test_budget_that_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--budget must be a positive time"):
        parse_budget(text)


def test_arms_are_the_papers_models_and_their_controls() -> None:
    first, second = preset("original"), preset("modified")
    networks = arms(first, second)
    params = {name: static_cost(spec).params for name, spec in networks.items()}
    assert tuple(networks) == MAIN_ARMS
    assert params[ORIGINAL] == 9_352_195
    assert params[MODIFIED] == 6_283_267
    assert params[POOLED] == 4_109_315
    assert abs(params[SAME_PARAMETERS] / params[MODIFIED] - 1) < 0.005
    assert networks[SAME_PARAMETERS].encoder_connectivity == "plain"


@pytest.mark.parametrize("names", [("original", "modified"), ("small", "small_modified")])
def test_pieces_and_arms_are_the_whole_factorial(names: tuple[str, str]) -> None:
    first, second = map(preset, names)
    between = pieces(first, second)
    keys = {spec.network_key for spec in between.values()} | {first.network_key, second.network_key}
    assert len(between) == 13
    assert len(keys | {first.replace(head="pooled").network_key}) == 16
    last = between["original with modified's connectivity, modified's convolution, modified's widths"]
    assert last.replace(head=second.head).network_key == second.network_key, "one piece is left to swap"


def test_a_plan_survives_json() -> None:
    plan = first_plan(Asked(quick=True, budget_s=300.0), None)
    assert PaperPlan.from_json(plan.to_json()) == replace(plan, asked=dict(plan.asked))


def test_defaults_follow_the_paper_where_there_is_a_gpu() -> None:
    plan = first_plan(Asked(device="cuda", data="celeba"), 202_599)
    assert (plan.image_size, plan.images, plan.epochs, plan.batch_size) == (144, 20_000, 10, 32)
    assert plan.seeds[MODELS] == 3
    assert plan.full_width
    assert plan.pair == (preset("original"), preset("modified"))
    assert not first_plan(Asked(), None).full_width


def test_fewer_files_than_the_paper_used_are_all_taken() -> None:
    assert first_plan(Asked(data="celeba"), 10_000).images == 10_000
    assert first_plan(Asked(data="celeba", images=500), 10_000).images == 500


def test_each_step_of_the_ladder_costs_less() -> None:
    plans = list(ladder(first_plan(Asked(), None), 2000))
    seconds = [PACE.seconds(plan, 2000) for plan in plans]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == len(seconds)
    assert all(plan.seeds[MODELS] == 3 for plan in plans), "the seeds that a verdict needs are never given up"


def test_an_explanation_that_is_there_takes_no_time() -> None:
    plan = first_plan(Asked(), None)
    lent = replace(PACE, lent=True)
    # 480 s of budget and about 120 s beyond it
    assert PACE.seconds(plan, 2000) - lent.seconds(plan, 2000) == pytest.approx(600)


def test_without_a_budget_nothing_is_given_up() -> None:
    plan = first_plan(Asked(), None)
    assert fit(plan, PACE, 2000) == replace(plan, expected_s=PACE.seconds(plan, 2000))


@pytest.mark.parametrize("minutes", [60, 30, 20, 15])
def test_a_budget_is_kept_with_as_little_given_up_as_possible(minutes: float) -> None:
    plan = first_plan(Asked(budget_s=60.0 * minutes), None)
    fitted = fit(plan, PACE, 2000)
    assert fitted.expected_s is not None
    assert fitted.expected_s <= 60 * minutes
    better = next(p for p in ladder(plan, 2000) if PACE.seconds(p, 2000) <= 60 * minutes)
    assert fitted.seeds == better.seeds
    assert (fitted.images, fitted.epochs) == (better.images, better.epochs)
    assert bool(fitted.given_up) == (better != plan)


def test_what_is_given_up_is_said_with_numbers() -> None:
    plan = first_plan(Asked(budget_s=60.0), None)
    slow = Pace(step_s=PACE.step_s, trial_s=0.0, analysis_s=0.0)
    kept = list(ladder(plan, 2000))[-1]
    fitted = fit(replace(plan, budget_s=slow.seconds(kept, 2000)), slow, 2000)
    assert fitted.given_up == (
        "The budget left out the networks between the two models.",
        "The budget left out the hypotheses about losses and masks.",
        "The budget allowed 300 of 2,000 images.",
        "The budget allowed 2 of 10 epochs.",
    )


def test_a_budget_too_small_for_anything() -> None:
    with pytest.raises(InputError, match="--budget must be at least about") as caught:
        fit(first_plan(Asked(budget_s=30.0), None), PACE, 2000)
    assert "\n" not in str(caught.value)


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(first_plan(Asked(), None).to_json()[:200])
    with pytest.raises(InputError, match=r"plan\.json must be the plan of a study"):
        read_plan(path, Asked())


def test_one_trial_of_a_hypothesis_has_nothing_to_run_beside() -> None:
    alone, together = Pace(step_s={HYPOTHESES: {"L1": 0.1}}), Pace(step_s={HYPOTHESES: {"L1": 0.1}}, gain=4.0)
    one, three = (first_plan(Asked(seeds=number), None) for number in (1, 3))
    assert together.seconds(one, 2000) == alone.seconds(one, 2000)
    assert together.seconds(three, 2000) < alone.seconds(three, 2000)


def test_the_same_command_reads_its_plan_again_and_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert read_plan(path, Asked()) is None
    plan = first_plan(Asked(epochs=4), None)
    path.write_text(plan.to_json())
    assert read_plan(path, Asked(epochs=4)) == plan
    with pytest.raises(InputError, match="--epochs must be 4, with which the study in"):
        read_plan(path, Asked(epochs=5))


def test_what_groups_left_out_is_a_limit_of_the_study(tmp_path: Path) -> None:
    plan = first_plan(Asked(groups=(MODELS, PIECES)), None)
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert collect(PaperFolder(tmp_path)).limits == ("Left out by --groups: the hypotheses about losses and masks.",)
    (tmp_path / "plan.json").write_text(first_plan(Asked(), None).to_json())
    assert collect(PaperFolder(tmp_path)).limits == ()
