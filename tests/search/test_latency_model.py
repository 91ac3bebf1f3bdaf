"""Latency before training: on simulated machines of known truth, what is predicted and how far it says that it may be off."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from ablation.measure.costs.operation import Operation
from ablation.measure.costs.static import static_cost
from ablation.search.latency_model import LEAST_NETWORKS, HeldOut, LatencyModel, TimedNetwork, amounts
from ablation.search.latency_sample import features_of, sample_for_timing
from blocks.errors import InputError

KINDS = {
    "convolution 3x3": "convolution",
    "convolution 5x5": "convolution",
    "convolution 1x1": "pointwise convolution",
    "convolution 3x3 depthwise": "depthwise convolution",
    "native_batch_norm": "normalisation",
    "elu": "activation",
}
# ms a call, byte, element, element in pages mapped anew, the same of copies, macs, and macs where channels are few (four ways)
MACHINE = {
    "convolution 3x3": (0.02, 0.0, 0.0, 0.0, 1e-6, 2e-8, 1e-7, 0.0, 1e-8, 0.0),
    "convolution 5x5": (0.02, 0.0, 0.0, 0.0, 1e-6, 2e-8, 0.0, 0.0, 1e-8, 0.0),
    "convolution 1x1": (0.02, 2e-7, 0.0, 2e-6, 1e-6, 3e-8, 0.0, 0.0, 0.0, 2e-8),
    "convolution 3x3 depthwise": (0.03, 0.0, 0.0, 2e-6, 0.0, 3e-7, 0.0, 0.0, 0.0, 0.0),
    "native_batch_norm": (0.01, 6e-8, 0.0, 2e-6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "elu": (0.01, 0.0, 7e-7, 2e-6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
BETWEEN = 1.07  # of a network over the sum of its operations


def operation(name: str, read: int, written: int, side: int) -> Operation:
    positions, kind = side**2, KINDS[name]
    kernel = int(name[12]) ** 2 if "convolution" in kind else 0
    macs = kernel * positions * written * (1 if "depthwise" in kind else read)
    return Operation(name, kind, macs, 4 * positions * (read + written), positions * written, read, written)


def drawn(rng: np.random.Generator) -> tuple[Operation, ...]:
    """Eight to sixteen layers: one of four convolutions, norm, activation."""
    channels, side, layers = 3, 72, list[Operation]()
    names = [name for name in KINDS if "convolution" in name]
    for _ in range(rng.integers(8, 17)):
        name, width = str(rng.choice(names)), int(rng.choice([16, 24, 32, 48, 64, 96]))
        width = channels if "depthwise" in name else width
        layers.append(operation(name, channels, width, side))
        layers += [operation(name, width, width, side) for name in ("native_batch_norm", "elu")]
        channels, side = width, max(9, side // int(rng.choice([1, 2])))
    return tuple(layers)


def true_ms(one: Operation, peculiarity: float = 0.0) -> float:
    """By the rates, times what is peculiar to the operation and no rate tells: log-normal, the same whenever it runs."""
    own = np.random.default_rng([one.macs, one.bytes_moved, *one.name.encode()]).normal()
    return float(np.dot(MACHINE[one.name], amounts(one)) * np.exp(peculiarity * own))


def timed(
    operations: tuple[Operation, ...], rng: np.random.Generator, peculiarity: float = 0.0, noise: float = 0.0
) -> TimedNetwork:
    ms = np.array([true_ms(one, peculiarity) for one in operations])
    return TimedNetwork(
        ms=float(BETWEEN * ms.sum() * np.exp(noise * rng.normal())),
        operations=operations,
        operation_ms=tuple((ms * np.exp(2 * noise * rng.normal(size=len(ms)))).tolist()),
    )


def campaign(num: int, seed: int, peculiarity: float = 0.1, noise: float = 0.02) -> dict[str, TimedNetwork]:
    rng = np.random.default_rng(seed)
    return {str(number): timed(drawn(rng), rng, peculiarity, noise) for number in range(num)}


def errors(model: LatencyModel, networks: dict[str, TimedNetwork]) -> NDArray[np.float64]:
    return np.array([model.predict(network.operations).ms / network.ms - 1 for network in networks.values()])


def test_nine_of_ten_unseen_networks_are_within_a_tenth_and_the_stated_error_is_theirs() -> None:
    models = [LatencyModel.fit(campaign(50, seed), "0") for seed in range(6)]
    unseen = [HeldOut.of(errors(model, campaign(50, 100 + seed))) for seed, model in enumerate(models)]
    assert all(model.error.num == 50 for model in models)
    assert np.mean([held.within for held in unseen]) >= 0.9
    for name in ("median", "p90", "rms"):
        stated, true = (np.mean([getattr(held, name) for held in those]) for those in ([m.error for m in models], unseen))
        assert 0.8 < stated / true < 1.3, name
    assert abs(np.mean([model.error.within for model in models]) - np.mean([held.within for held in unseen])) < 0.06


def test_without_noise_the_rates_of_the_machine_come_back() -> None:
    model = LatencyModel.fit(campaign(60, 0, peculiarity=0.0, noise=0.0), "0")
    assert model.factor == pytest.approx(BETWEEN, rel=0.01)
    assert np.quantile(np.abs(errors(model, campaign(50, 1, peculiarity=0.0, noise=0.0))), 0.9) < 0.02


def test_two_standard_errors_hold_most_unseen_networks() -> None:
    model, unseen = LatencyModel.fit(campaign(50, 3), "0"), campaign(200, 4)
    predicted = {name: model.predict(network.operations) for name, network in unseen.items()}
    inside = [abs(predicted[name].ms - unseen[name].ms) < 2 * predicted[name].ms_error for name in unseen]
    assert np.mean(inside) > 0.88


def test_ratios_are_to_the_reference_as_it_was_timed() -> None:
    networks = campaign(30, 5)
    predicted = LatencyModel.fit(networks, "7").predict(networks["3"].operations)
    assert predicted.ratio == predicted.ms / networks["7"].ms
    assert predicted.ratio_error == pytest.approx(predicted.ms_error / networks["7"].ms)


def test_the_stated_error_is_not_that_of_the_fit() -> None:
    # each network has an operation of its own kind, which takes most of the time and which no other network tells anything of
    rng, networks = np.random.default_rng(6), dict[str, TimedNetwork]()
    for number in range(30):
        own = Operation(f"own {number}", f"kind {number}", 10**6, 10**6, 10**5, 16, 16)
        ms = float(np.exp(rng.normal()))
        networks[str(number)] = TimedNetwork(ms=ms, operations=(own,) * 20, operation_ms=(ms / 20,) * 20)
    model = LatencyModel.fit(networks, "0")
    assert HeldOut.of(errors(model, networks)).median < 0.2 < 0.35 < model.error.median


def test_the_same_networks_and_seed_make_the_same_model() -> None:
    first, again, other = (LatencyModel.fit(campaign(25, 8), "0", seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.error != other.error  # other folds
    assert first.rates == other.rates


def test_a_model_survives_json() -> None:
    model = LatencyModel.fit(campaign(25, 9), "0")
    read = LatencyModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert read == model
    unseen = drawn(np.random.default_rng(10))
    assert read.predict(unseen) == model.predict(unseen)


def test_an_operation_that_was_timed_takes_what_it_took() -> None:
    # ten times as long as its like
    odd, networks = operation("convolution 3x3", 32, 32, 18), campaign(30, 11, peculiarity=0.0, noise=0.0)
    for name, network in list(networks.items())[:9]:
        slow = (*network.operation_ms, 10 * true_ms(odd))
        networks[name] = TimedNetwork(ms=BETWEEN * sum(slow), operations=(*network.operations, odd), operation_ms=slow)
    known = LatencyModel.fit(networks, "20").operation_ms[odd]
    assert 8 * true_ms(odd) < known <= 10 * true_ms(odd)


def test_large_tensors_cost_a_mapping_more() -> None:
    elements = np.array([2**22, 2**23, 2**23 + 1])
    ones = [Operation("elu", "activation", 0, 8 * int(num), int(num), 8, 8) for num in elements]
    assert [amounts(one)[3] for one in ones] == [0, 0, 2**23 + 1]
    # three channels are computed as sixteen, from a copy that is mapped where the tensor itself is not
    conv = Operation("convolution 3x3", "convolution", 10**6, 4 * (2**22 + 2**20), 2**20, 3, 16)
    assert amounts(conv)[3:5] == (0.0, pytest.approx(2**22 * 16 / 3))


def test_operations_of_one_name_and_two_classes_have_rates_of_their_own() -> None:
    # a mean over positions is quick, one over channels slow
    networks, slow = campaign(30, 15, peculiarity=0.0, noise=0.0), {"pooling": 1e-6, "reduction": 1e-4}
    means = {kind: [Operation("mean", kind, 0, 4000 * n, 10, 16, 16) for n in range(1, 31)] for kind in slow}
    for number, network in enumerate(networks.values()):
        more = [means[kind][number] for kind in slow]
        ms = (*network.operation_ms, *(slow[one.kind] * one.bytes_moved for one in more))
        timed_too = TimedNetwork(ms=sum(ms), operations=(*network.operations, *more), operation_ms=ms)
        networks[str(number)] = timed_too
    model = LatencyModel.fit(networks, "0")
    for kind, rate in slow.items():
        assert model.predict([means[kind][19]]).ms == pytest.approx(model.factor * rate * 80_000, rel=0.1)


def test_what_no_timed_network_has_takes_the_rates_of_its_class_or_of_all() -> None:
    networks = campaign(30, 12, peculiarity=0.0, noise=0.0)
    model = LatencyModel.fit(networks, "0")
    like = operation("convolution 3x3", 32, 64, 36)
    kernel = replace(like, name="convolution 7x7", macs=5 * like.macs)
    assert true_ms(like) < model.predict([kernel]).ms < 10 * true_ms(like)
    strange = replace(operation("elu", 64, 64, 36), name="swirl", kind="elementwise")
    assert 0 < model.predict([strange]).ms < inf


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"ms": nan}, "finite"),
        ({"ms": 0.0}, "not all 0"),
        ({"operation_ms": (inf, 1.0)}, "finite"),
        ({"operation_ms": (-1.0, 1.0)}, "none negative"),
        ({"operation_ms": (1.0,)}, "one time for each of 2"),
    ],
)
def test_times_that_cannot_be(change: dict[str, object], rule: str) -> None:
    operations = (operation("elu", 8, 8, 9), operation("elu", 8, 8, 18))
    values = {"ms": 2.0, "operations": operations, "operation_ms": (1.0, 1.0), **change}
    with pytest.raises(InputError, match=rule):
        TimedNetwork(**values)  # type: ignore[arg-type]


def test_too_few_networks_and_a_reference_that_is_none_of_them() -> None:
    with pytest.raises(InputError, match=r"at least 20\. Got 19"):
        LatencyModel.fit(campaign(LEAST_NETWORKS - 1, 13), "0")
    with pytest.raises(InputError, match="reference must be one of the timed networks"):
        LatencyModel.fit(campaign(LEAST_NETWORKS, 13), "original")


def test_held_out_errors_by_hand() -> None:
    held = HeldOut.of([0.05, -0.2, 0.1, 0.0])
    assert (held.num, held.within, held.median) == (4, 0.75, pytest.approx(0.075))
    assert held.rms == pytest.approx(sqrt((0.0025 + 0.04 + 0.01) / 4))
    assert held.p90 == pytest.approx(0.17)


def test_features_are_those_of_the_count() -> None:
    cost = static_cost(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ELU()), input_shape=(3, 4, 4))
    features = features_of(cost)
    assert sorted(features[features > 0]) == pytest.approx(
        sorted(np.log1p([cost.macs, *(c.bytes_moved for c in cost.by_class.values()), 1, 1]))
    )


def test_a_sample_spreads_and_a_seed_decides_it() -> None:
    rng = np.random.default_rng(0)
    # a crowd and five outliers, which a random draw of eight would nearly always miss
    points = np.vstack([rng.normal(size=(200, 3)), 12 * np.vstack([np.eye(3), -np.eye(3)[:2]])])
    chosen = sample_for_timing(points, 8, seed=1)
    assert set(range(200, 205)) <= set(chosen)
    assert chosen == sample_for_timing(points, 8, seed=1) != sample_for_timing(points, 8, seed=2)
    assert sample_for_timing(points, 3, first=[7])[0] == 7


def test_a_pool_of_equal_networks_and_a_small_one_are_taken_once_each() -> None:
    assert sorted(sample_for_timing(np.ones((4, 2)), 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("features", "num", "first"), [([], 1, []), ([[nan]], 1, []), ([[1.0]], 0, []), ([[1.0]], 1, [1])])
def test_samples_that_cannot_be(features: list[list[float]], num: int, first: list[int]) -> None:
    with pytest.raises(InputError):
        sample_for_timing(features, num, first=first)  # type: ignore[arg-type]
