"""Claims about arithmetic and time: C1 to C6 and C21, from explanations and timed steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ablation.record.explanation import Explanation
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED
from studies.paper.rules.numbers import plain
from studies.paper.rules.verdict import Verdict
from tests.fake_evidence import fake_evidence
from tests.fake_explanation import fake_explanation
from tests.paper.worlds import CASES, attributed, number_of, of, on_gpu, stated, steps, timed


def test_a_training_step_s_ratio_is_of_sittings() -> None:
    verdict = of("C21", fake_evidence())
    assert "batch 32 on cpu, over 5 sittings" in verdict.sentence
    assert "2 threads only. The paper: 144 px" in verdict.scope
    for sittings in (None, 1, 2):
        old = of("C21", fake_evidence(**steps(1.9, sittings=sittings)))
        assert old.kind == UNDECIDED and "×1.90 the time" in old.sentence and "which takes 3 sittings" in old.sentence
        assert old.evidence[0].low is None


MOVING = "share of added time, moving bytes"


def ends_of(verdict: Verdict) -> tuple[float, float | None, float | None]:
    number = number_of(verdict, MOVING)
    return number.value, number.low, number.high


def test_moving_bytes_must_make_what_the_rule_states() -> None:
    bound = stated("C5", r"at least (\d+) % of the added") / 100
    for share, kind in ((bound + 0.02, HOLDS), (bound - 0.12, FAILS), (bound - 0.02, UNDECIDED)):
        changes = timed(5.8, gain=2.0)
        changes["explanation"] = traffic(changes["explanation"], share)
        verdict = of("C5", fake_evidence(**changes))
        assert verdict.kind == kind, verdict.sentence
        assert number_of(verdict, MOVING).value == pytest.approx(share)


def test_moving_bytes_is_refuted_by_its_upper_bound_alone() -> None:
    explanation = timed(5.8, gain=2.0)["explanation"]
    for limit, kind, high in (("macs", FAILS, 0.35), ("calls", FAILS, 0.35), ("bytes", UNDECIDED, 1.0)):
        verdict = of("C5", fake_evidence(explanation=traffic(explanation, 0.3, limited_by=limit)))
        assert verdict.kind == kind, verdict.sentence
        assert ends_of(verdict) == pytest.approx((0.3, 0.3, high))


def test_concatenation_counts_in_the_upper_bound_whatever_limits_it() -> None:
    first, second = traffic(timed(5.8, gain=2.0)["explanation"], 0.6).decompositions
    classes = tuple(replace(s, bytes_bound_ms=0.0, limited_by="calls") for s in second.by_class)
    explanation = replace(timed(5.8, gain=2.0)["explanation"], decompositions=(first, replace(second, by_class=classes)))
    assert of("C5", fake_evidence(explanation=explanation)).kind == UNDECIDED


@pytest.mark.parametrize(
    ("gain", "share", "kind", "words"),
    [
        (2.0, 0.6, HOLDS, "Concatenation itself is a cause; moving bytes is most of it. Without"),
        (1.01, 0.6, FAILS, "is not a cause; moving bytes is most of it. The claim names both, and fails by concatenation."),
        (1.01, 0.2, FAILS, "fails by concatenation and re-reading."),
        (2.0, 0.2, FAILS, "is a cause; moving bytes is not most of it. The claim names both, and fails by re-reading."),
        (1.01, 0.48, FAILS, "whether re-reading is, is not settled. The claim names both, and fails by concatenation."),
    ],
)
def test_the_sentence_says_which_half_fails(gain: float, share: float, kind: str, words: str) -> None:
    verdict = of("C5", fake_evidence(explanation=traffic(timed(5.8, gain=gain, half=0.002)["explanation"], share)))
    assert verdict.kind == kind and words in verdict.sentence, verdict.sentence


def test_connectivity_s_share_of_the_slowdown_by_hand() -> None:
    # 0.83 + 0.52 of weights that add up to 1.761
    weights = (0.83, 0.52, 0.12, 0.09, -0.018, 0.055, 0.004, 0.16)
    number = number_of(of("C5", fake_evidence()), "share of the slowdown, connectivity")
    assert number.value == pytest.approx(1.35 / sum(weights))
    assert number.low is None, "its interval would divide by a fixed slowdown"


def traffic(explanation: Explanation, share: float, unplaced: float = 0.05, limited_by: str = "macs") -> Explanation:
    """Two decompositions in which moving bytes makes this share of 100 added ms, and some could not be placed."""
    first, second = explanation.decompositions
    one, other = second.by_class[0], next(s for s in second.by_class if s.name == "concatenation")
    moving = replace(other, ms=100 * share, bytes_bound_ms=1000.0)
    working = replace(one, ms=100 * (1 - share - unplaced), bytes_bound_ms=0.0, limited_by=limited_by)
    nothing = replace(first, total_ms=0.0, by_class=(), residual_ms=0.0)
    all_of_it = replace(second, total_ms=100.0, by_class=(moving, working), residual_ms=100 * unplaced)
    return replace(explanation, decompositions=(nothing, all_of_it))


def test_bounds_of_moving_bytes_allow_for_both_networks() -> None:
    explanation = timed(5.8, gain=2.0)["explanation"]
    first, second = explanation.decompositions
    one = next(s for s in second.by_class if s.name == "concatenation")

    def network(like: Any, total: float, bytes_ms: float, bound: float) -> Any:
        rest = replace(one, name="convolution", ms=total - bytes_ms, bytes_bound_ms=0.0, limited_by="macs")
        moving = replace(one, ms=bytes_ms, bytes_bound_ms=bound, limited_by="bytes")
        return replace(like, total_ms=total, residual_ms=0.0, by_class=(moving, rest))

    both = (network(first, 100.0, 30.0, 10.0), network(second, 200.0, 60.0, 20.0))
    # of 100 ms: from 20 - 30 to 60 - 10
    verdict = of("C5", fake_evidence(explanation=replace(explanation, decompositions=both)))
    assert ends_of(verdict) == pytest.approx((0.1, -0.1, 0.5))


def test_the_noise_of_one_network_against_itself_counts() -> None:
    noisy = {"cpu/1": {"ratio": 1.0, "low": 0.9, "high": 1.15}}
    explanation = replace(timed(1.1, half=0.01)["explanation"], noise=noisy)
    assert of("C2a", fake_evidence(explanation=explanation)).kind == UNDECIDED
    assert of("C2a", fake_evidence(**timed(1.1, half=0.01))).kind == HOLDS
    faster = attributed("log_latency", 0.01, "cuda", connectivity=0.9, conv=-0.1)["explanation"]
    assert of("C6", fake_evidence(explanation=faster)).kind == FAILS
    noisy = {"cuda/1": noisy["cpu/1"]}
    assert of("C6", fake_evidence(explanation=replace(faster, noise=noisy))).kind == HOLDS  # not faster beyond the noise


def test_slower_and_by_that_factor_are_two_verdicts() -> None:
    near, far = (fake_evidence(**timed(ratio, half=0.11)) for ratio in (5.75, 3.2))
    assert [of(name, near).kind for name in ("C2a", "C2b")] == [HOLDS, HOLDS]
    assert [of(name, far).kind for name in ("C2a", "C2b")] == [HOLDS, FAILS]
    assert of("C2a", far).sentence.startswith("Slower: at batch 1 `modified` takes ×3.20 (3.09 to 3.31)")
    assert of("C2b", far).sentence.startswith("Not by that factor: at batch 1 `modified` takes ×3.20 (3.09 to 3.31)")
    assert "batch 8" in of("C2a", far).sentence and "batch 128" in of("C2a", far).sentence
    assert of("C2b", fake_evidence(**timed(5.8, half=0.8))).kind == UNDECIDED, "the interval reaches beyond the paper's own spread"


def test_the_total_is_told_beside_the_convolution_s_own_effect() -> None:
    verdict = of("C4", fake_evidence())
    assert verdict.kind == HOLDS and "×1.66" in verdict.sentence
    values = {n.name: n.value for n in verdict.evidence}
    shapley, alone = (values[f"macs of connectivity, {name}"] for name in ("Shapley value", "alone in `original`"))
    assert alone == pytest.approx(0.8 * shapley, rel=1e-6)
    assert f"adds {plain(shapley * 1e-6)} M (Shapley value; {plain(alone * 1e-6)} M alone in `original`)" in verdict.sentence


def test_a_cpu_neither_confirms_nor_refutes_what_is_said_of_accelerators() -> None:
    faster: dict[str, Any] = {"connectivity": 0.9, "conv": -0.1}
    for effect in (0.1, -0.1):
        verdict = of("C6", fake_evidence(**attributed("log_latency", 0.01, **{**faster, "conv": effect})))
        assert verdict.kind == UNDECIDED and "Not settled by a CPU" in verdict.sentence and "On cpu at batch 1" in verdict.sentence
    both = attributed("log_latency", 0.01, "cuda", **faster)["explanation"]
    cpu = next(a for a in attributed("log_latency", 0.01, **faster)["explanation"].attributions if a.metric == "log_latency")
    two = fake_evidence(explanation=replace(both, attributions=(*both.attributions, cpu)))
    assert of("C6", two).kind == FAILS and "by a CPU" not in of("C6", two).sentence


def test_the_ways_to_fix_the_rest_have_their_names() -> None:
    base = fake_explanation(limits=("Latency: 9 of 256 networks timed, along 2 pairs of random orderings. More.", "Other."))
    verdict = of("C6", fake_evidence(explanation=base))
    names = ("Shapley value", "alone in `original`", "in `modified`")
    assert [n.name for n in verdict.evidence] == [f"latency by the convolution kind, {name}, cpu/1" for name in names]
    assert "by Shapley value" in verdict.sentence and "undone" not in verdict.sentence
    assert verdict.sentence.endswith("Latency: 9 of 256 networks timed, along 2 pairs of random orderings.")
    assert "orderings" not in of("C6", fake_evidence()).sentence


def test_coarse_attributions_are_not_taken_for_pieces() -> None:
    for metric, claim in (("log_latency", "C6"), ("params", "C3"), ("macs", "C4")):
        verdict = of(claim, fake_evidence(**attributed(metric, encoder=-1.0, decoder=-1.0, head=-0.1)))
        assert verdict.kind == UNDECIDED and "given to wholes, not to the pieces in them: encoder; decoder." in verdict.sentence


def test_a_ratio_without_an_interval_is_undecided() -> None:
    explanation = timed(3.0)["explanation"]
    modes = tuple(replace(m, ratio_low=None, ratio_high=None) for m in explanation.modes)
    assert of("C2a", fake_evidence(explanation=replace(explanation, modes=modes))).kind == UNDECIDED


def test_counts_at_another_size_are_not_the_paper_s() -> None:
    costs = {name: {**values, "input_shape": [3, 48, 48]} for name, values in fake_explanation().costs.items()}
    verdict = of("C1", fake_evidence(explanation=fake_explanation(costs=costs)))
    assert verdict.kind == UNDECIDED and "48 px" in verdict.sentence


@pytest.mark.parametrize("claim_id", ["C2a", "C2b", "C5", "C6"])
def test_an_interval_from_one_sitting_is_none(claim_id: str) -> None:
    holds = CASES[claim_id][0]["explanation"]
    for sittings in (0, 1, 2):
        verdict = of(claim_id, fake_evidence(explanation=on_gpu(holds, sittings)))
        assert verdict.kind == UNDECIDED and "takes 3 sittings" in verdict.sentence
        assert all(n.low is None for n in verdict.evidence if n.name != "share of added time, moving bytes")
