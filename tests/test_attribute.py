"""Paired effects against records whose effects are known."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import numpy as np
import pytest

from ablation.attribute import one_per_trial, paired_effects, usable_value
from ablation.record import METRICS, Record, latency_metric
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
    assert (effect.num_pairs, effect.num_networks) == (10, 2)
    assert effect.differences == pytest.approx((0.01, 0.03))
    assert (effect.low, effect.high) == (pytest.approx(0.01), pytest.approx(0.03))


def test_one_pair_of_networks_is_resampled_over_its_seeds() -> None:
    losses = {("a", 0): 0.5, ("b", 0): 0.6, ("a", 1): 0.5, ("b", 1): 0.8}
    records = [fake_record({"f": f}, seed, training={"best_loss": loss}) for (f, seed), loss in losses.items()]
    (effect,) = paired_effects(records, "f", METRICS["loss"])
    assert (effect.mean, effect.low, effect.high) == (pytest.approx(0.2), pytest.approx(0.1), pytest.approx(0.3))
    (single,) = paired_effects(records[:2], "f", METRICS["loss"])
    assert (single.mean, single.low, single.high) == (pytest.approx(0.1), None, None)


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


def test_intervals_cover_a_known_effect_in_90_to_99_percent_of_300_noisy_studies() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for study in range(300):
        records = [
            fake_record({"f": f, "g": g}, training={"best_loss": 0.5 + 0.03 * (f == "b") + rng.normal(0, 0.01)})
            for f, g in product("ab", "stuvwxyz")
        ]
        (effect,) = paired_effects(records, "f", METRICS["loss"], seed=study)
        assert effect.low is not None
        assert effect.high is not None
        hits += effect.low <= 0.03 <= effect.high
    assert 0.90 <= hits / 300 <= 0.99
