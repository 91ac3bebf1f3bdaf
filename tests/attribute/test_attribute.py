"""Paired effects against records whose effects are known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import product

import pytest

from ablation.attribute.effect import CLUSTERS, PAIRS, SEEDS, SITTINGS
from ablation.attribute.pairing import one_per_trial, paired_effects, usable_value
from ablation.record.trial import METRICS, Record, latency_metric
from ablation.report.study.rows import ratio_of
from blocks.errors import InputError
from tests.fakes import FACTORS, LOSS, MACS, PARAMS, TIMES, failed, fake_record, fake_records, inert_records, waiting

LATENCY = latency_metric("cpu", 1)


def test_additive_effects_are_found_for_every_swap_and_metric() -> None:
    records = fake_records()
    for factor, levels in FACTORS.items():
        for name, table, scale in (("loss", LOSS, 1.0), ("params", PARAMS, 1e-6), ("macs", MACS, 1e-6)):
            for effect in paired_effects(records, factor, METRICS[name]):
                assert effect.metric is METRICS[name]
                assert effect.mean == pytest.approx((table[effect.level_to] - table[effect.level_from]) * scale)
                assert effect.num_pairs == effect.num_networks == 12 // len(levels)


def test_metrics_are_never_mixed_up() -> None:
    """Every metric takes a value of its own, so a mix-up between any two would show."""
    levels = {"a": 0, "b": 1}
    effects = {}
    for n, (name, metric) in enumerate(METRICS.items(), 1):
        section, *rest = metric.path.split(".")
        records = []
        for level, step in levels.items():
            value: dict = {rest[-1]: 100.0 + step * n}
            for key in reversed(rest[:-1]):
                value = {key: value}
            records.append(fake_record({"f": level}, **{section: value}))
        (effects[name],) = paired_effects(records, "f", metric)
    for n, (name, effect) in enumerate(effects.items(), 1):
        assert effect.mean == pytest.approx(n * METRICS[name].scale)


def test_swaps_follow_the_order_of_levels_and_keep_their_sign() -> None:
    records = fake_records()
    swaps = [(e.level_from, e.level_to) for e in paired_effects(records, "connectivity", METRICS["loss"])]
    assert swaps == [("plain", "residual"), ("plain", "dense"), ("residual", "dense")]
    (back,) = paired_effects(records, "head", METRICS["loss"], levels=("pooled", "flatten"))
    assert back.mean == pytest.approx(-LOSS["pooled"])


def test_latency_is_compared_as_a_ratio() -> None:
    (effect,) = [e for e in paired_effects(fake_records(), "connectivity", LATENCY, as_ratio=True) if e.level_to == "residual"]
    assert effect.mean == pytest.approx(TIMES["residual"])
    assert effect.relative == pytest.approx(TIMES["residual"] - 1)
    assert effect.differences == pytest.approx([TIMES["residual"]] * 4)


def test_the_mean_ratio_is_geometric() -> None:
    def timed(level: str, other: str, ms: float) -> Record:
        return fake_record({"f": level, "g": other}, latency={"cpu/1": {"median_ms": ms}})

    records = [timed("a", "x", 1.0), timed("b", "x", 2.0), timed("a", "y", 1.0), timed("b", "y", 8.0)]
    (effect,) = paired_effects(records, "f", LATENCY, as_ratio=True)
    assert effect.mean == pytest.approx(4.0)
    (difference,) = paired_effects(records, "f", LATENCY)
    assert (difference.mean, difference.relative) == (pytest.approx(4.0), pytest.approx(4.0))


def test_seeds_are_paired_with_themselves_and_do_not_pass_for_networks() -> None:
    # the seed shifts every loss by far more than the swap does; pairing by seed cancels it
    records = [
        fake_record({"f": f, "g": g}, seed, training={"best_loss": 0.5 + seed + 0.01 * (f == "b") + 0.02 * (f == "b" and g == "y")})
        for f, g, seed in product("ab", "xy", range(5))
    ]
    (effect,) = paired_effects(records, "f", METRICS["loss"])
    assert (effect.num_pairs, effect.num_networks, effect.num_clusters) == (10, 2, 2)
    assert effect.differences == pytest.approx((0.01, 0.03))
    # two replicates: 12.706 standard errors of 0.01 each way
    assert effect.over == PAIRS
    assert (effect.low, effect.high) == (pytest.approx(0.02 - 0.127062, abs=1e-6), pytest.approx(0.02 + 0.127062, abs=1e-6))


def test_one_pair_of_networks_rests_on_its_seeds() -> None:
    losses = {("a", 0): 0.5, ("b", 0): 0.6, ("a", 1): 0.5, ("b", 1): 0.8}
    records = [fake_record({"f": f}, seed, training={"best_loss": loss}) for (f, seed), loss in losses.items()]
    (effect,) = paired_effects(records, "f", METRICS["loss"])
    reach = 12.7062047 * 0.1
    assert (effect.mean, effect.low, effect.high) == (pytest.approx(0.2), pytest.approx(0.2 - reach), pytest.approx(0.2 + reach))
    assert effect.over == SEEDS
    (single,) = paired_effects(records[:2], "f", METRICS["loss"])
    assert (single.mean, single.low, single.high, single.over) == (pytest.approx(0.1), None, None, "")


def _timed(level: str, context: str, ratios: Sequence[float], **entry: object) -> Record:
    stored = {"ratio": math.prod(ratios) ** (1 / len(ratios)), "sittings": len(ratios), "ratio_by_sitting": list(ratios), **entry}
    return fake_record({"f": level, "g": context}, latency={"cpu/1": stored})


def test_one_pair_of_timed_networks_rests_on_sittings() -> None:
    records = [_timed("a", "x", (1.0, 1.0, 1.0)), _timed("b", "x", (2.0, 2.0 * math.e**0.1, 2.0 * math.e**-0.1))]
    (effect,) = paired_effects(records, "f", ratio_of("cpu/1"), as_ratio=True)
    # three replicates: 4.3027 standard errors of 0.1 / sqrt(3)
    reach = math.exp(4.302653 * 0.1 / math.sqrt(3))
    assert effect.over == SITTINGS
    assert (effect.mean, effect.low, effect.high) == tuple(pytest.approx(x, rel=1e-6) for x in (2.0, 2 / reach, 2 * reach))


@pytest.mark.parametrize(
    "entry",
    [{"sittings": 2}, {"ratio_by_sitting": [1.0, 1.0]}, {"ratio_by_sitting": [1.0, 1.0, 0.0]}, {"sittings": 0}],
    ids=["two sittings", "another number of sittings", "no logarithm", "no whole sitting"],
)
def test_too_few_sittings_give_no_interval(entry: dict[str, object]) -> None:
    records = [_timed("a", "x", (1.0, 1.0, 1.0)), _timed("b", "x", (2.0, 2.1, 1.9), **entry)]
    (effect,) = paired_effects(records, "f", ratio_of("cpu/1"), as_ratio=True)
    assert effect.mean == pytest.approx((2.0 * 2.1 * 1.9) ** (1 / 3))
    assert (effect.low, effect.high, effect.over) == (None, None, "")


@pytest.mark.parametrize(("rounds", "known"), [(2, False), (5, False), (6, True), (100, True)])
def test_of_an_old_record_pairs_give_an_interval_from_six_rounds(rounds: int, known: bool) -> None:
    old = {"median_ms": 1.0, "ratio_low": 0.99, "ratio_high": 1.01, "rounds": rounds}
    records = [
        fake_record({"f": f, "g": g}, latency={"cpu/1": {**old, "ratio": ratio}})
        for (f, g), ratio in {("a", "x"): 1.0, ("b", "x"): 2.0, ("a", "y"): 1.1, ("b", "y"): 2.0}.items()
    ]
    (effect,) = paired_effects(records, "f", ratio_of("cpu/1"), as_ratio=True)
    assert (effect.low is not None) is known
    assert effect.mean == pytest.approx(math.sqrt(2 * 2 / 1.1))
    (alone,) = paired_effects(records[:2], "f", ratio_of("cpu/1"), as_ratio=True)
    assert (alone.low, alone.high) == (None, None), "one sitting says nothing of what loading anew changes"


def test_pairs_that_share_a_network_are_one_replicate() -> None:
    records = [
        fake_record(r.factors, r.seed, intents=r.intents, training={"best_loss": 0.5 + loss})
        for r, loss in zip(inert_records(), (0.0, 0.0, 0.1, 0.2, 0.3, 0.4), strict=True)
    ]
    (effect,) = paired_effects(records, "connectivity", METRICS["loss"])
    # both growths of dense share the plain network of their head
    assert (effect.num_networks, effect.num_clusters, effect.over) == (4, 2, CLUSTERS)
    by_head = [(0.1 + 0.3) / 2, (0.2 + 0.4) / 2]
    reach = 12.7062047 * 0.05
    assert (effect.mean, effect.low) == (pytest.approx(sum(by_head) / 2), pytest.approx(0.25 - reach))


def test_seeds_of_one_cluster_count_where_every_pair_has_them() -> None:
    # a star: plain meets both growths, and one of them lacks a seed
    records = [r for r in inert_records(seeds=(0, 1, 2)) if r.factors["head"] == "flatten"]
    whole, *_ = paired_effects(records, "connectivity", METRICS["loss"])
    assert (whole.over, whole.num_clusters, whole.estimate.num) == (SEEDS, 1, 3)  # type: ignore[union-attr]
    part, *_ = paired_effects([r for r in records if (r.seed, r.factors["growth"]) != (2, "32")], "connectivity", METRICS["loss"])
    assert (part.over, part.estimate.num) == (SEEDS, 2)  # type: ignore[union-attr]


def test_counts_have_a_range_and_never_an_interval() -> None:
    for factor in FACTORS:
        for effect in paired_effects(fake_records(seeds=(0, 1, 2)), factor, METRICS["params"]):
            assert (effect.low, effect.high, effect.over) == (None, None, "")
            assert len(effect.differences) == effect.num_networks


def test_a_share_of_a_negative_mean_is_not_given() -> None:
    records = [fake_record({"f": f}, quality={"reporting": {"ssim": ssim}}) for f, ssim in (("a", -0.2), ("b", -0.1))]
    (effect,) = paired_effects(records, "f", METRICS["ssim"])
    assert (effect.mean, effect.relative) == (pytest.approx(0.1), None)


def test_inert_pairs_are_left_out_and_counted() -> None:
    (effect,) = paired_effects(inert_records(seeds=(0, 1)), "growth", METRICS["loss"])
    assert effect.num_same_network == 2  # plain with either head
    assert effect.num_networks == 2  # dense with either head
    assert effect.num_pairs == 4  # times two seeds


def test_two_networks_that_meet_twice_are_one_pair() -> None:
    # under plain connectivity the heads meet at growth 16 and at growth 32, and are the same two networks
    (effect,) = paired_effects(inert_records(), "head", METRICS["params"])
    assert effect.num_networks == 3
    # both growths of dense are compared with the one plain network of the same head
    (effect,) = paired_effects(inert_records(), "connectivity", METRICS["params"])
    assert (effect.num_networks, effect.num_unpaired) == (4, 0)


def test_incomplete_pairs_are_counted_and_costs_need_no_training() -> None:
    records = fake_records()
    trained = paired_effects(records, "head", METRICS["loss"])[0]
    assert (trained.num_pairs, trained.num_incomplete) == (6, 0)
    records[0], records[5] = waiting(records[0]), dataclasses.replace(records[5], state="failed", reason="out of memory")
    (loss,) = paired_effects(records, "head", METRICS["loss"])
    (params,) = paired_effects(records, "head", METRICS["params"])
    assert (loss.num_pairs, loss.num_incomplete) == (4, 2)
    assert (params.num_pairs, params.num_incomplete) == (5, 1)


def test_a_combination_that_does_not_exist_is_counted_as_unpaired() -> None:
    records = [r for r in fake_records() if r.label != "dense, separable, pooled"]
    (effect,) = paired_effects(records, "head", METRICS["loss"])
    assert (effect.num_pairs, effect.num_incomplete, effect.num_unpaired) == (5, 0, 1)


def test_values_that_are_not_finite_are_missing() -> None:
    records = [fake_record({"f": "a"}), fake_record({"f": "b"}, training={"best_loss": math.nan})]
    (effect,) = paired_effects(records, "f", METRICS["loss"])
    assert (effect.mean, effect.num_pairs, effect.num_incomplete) == (None, 0, 1)
    assert usable_value(failed(records[0]), METRICS["loss"]) is None


def test_of_several_attempts_the_complete_one_counts() -> None:
    record = fake_record({"f": "a"}, number=3)
    attempts = [dataclasses.replace(failed(record), number=2), record, dataclasses.replace(failed(record), number=5)]
    assert one_per_trial(attempts) == [record]
    assert one_per_trial(attempts[::-1]) == [record]


def test_an_unknown_factor_lists_the_known_ones_and_no_records_have_no_effect() -> None:
    with pytest.raises(InputError, match="one of connectivity, conv, head"):
        paired_effects(fake_records(), "colour", METRICS["loss"])
    (effect,) = paired_effects([], "head", METRICS["loss"], levels=("flatten", "pooled"))
    assert (effect.mean, effect.num_pairs) == (None, 0)
