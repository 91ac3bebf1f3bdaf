"""Latency before training: a model of this machine, from some dozens of timed networks of a space, with its error on others.

The latency of a network is the sum over its operations of what each takes, times one factor for what is spent between them. What an
operation takes is learned from the timed networks, operation by operation (a table of operations with predictions for the rest, as
Cai et al. 2019, ProxylessNAS, section 4.1, and Zhang et al. 2021, nn-Meter, section 5, have it):

- Operations of one name (torch's; a convolution's with its kernel, stride and groups) share rates: ms for a call, a byte, a
  multiply-accumulate and so on (`amounts`), none negative, by least squares that pull them towards the rates of their class, and
  those of a class towards those of all. A name that no timed network has takes the rates of its class, else those of all.
- An operation that was timed n times itself takes the geometric mean of its median and what the rates say, weighted n : 1.

`error` says how far predictions were off for networks that the model did not know: each timed network is left out in one of
NUM_FOLDS folds, and predicted from the others. Nothing is drawn from a random generator but the folds, which a seed decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from math import isfinite, log2, sqrt
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ablation.measure.costs.operation import Operation
from blocks.errors import must_be

LEAST_NETWORKS = 20
NUM_FOLDS = 10
# of the error that is aimed at
TOLERANCE = 0.1
# channels that a convolution on a CPU computes together: fewer take as long
LANES = 16
# weight of what rates are pulled towards, in relation to one operation
RIDGE = 0.2
# no operation takes less, in ms: what a clock shows below that is noise
LEAST_MS = 1e-4
ALL = ""

NUM_AMOUNTS = 8

Floats = NDArray[np.float64]
Times = Mapping[Operation, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class TimedNetwork:
    """What was measured of one network."""

    # ms of an undisturbed call
    ms: float
    operations: tuple[Operation, ...]
    # ms of each operation
    operation_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        times = (self.ms, *self.operation_ms)
        if not all(isfinite(time) and time >= 0 for time in times) or not self.ms or not sum(self.operation_ms):
            raise must_be("Times of a network", "finite, none negative and not all 0", times)
        if len(self.operations) != len(self.operation_ms):
            raise must_be("operation_ms", f"one time for each of {len(self.operations)} operations", len(self.operation_ms))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How far predictions of networks that the model did not know were off, relative to what was measured."""

    num: int
    # share of them within TOLERANCE
    within: float
    # of the absolute error
    median: float
    p90: float
    # square root of the mean square: the relative standard error of a prediction
    rms: float

    @classmethod
    def of(cls, errors: Iterable[float]) -> HeldOut:
        """From relative errors with their signs."""
        size = np.abs(np.array(list(errors)))
        about = {"within": np.mean(size <= TOLERANCE), "median": np.median(size), "p90": np.quantile(size, 0.9)}
        return cls(num=len(size), rms=sqrt(np.mean(size**2)), **{name: float(value) for name, value in about.items()})


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A latency in ms and as a ratio to the reference's, each with the standard error that the model states of itself."""

    ms: float
    ms_error: float
    ratio: float
    ratio_error: float


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Predicts latencies on the machine, and at the batch size, of the networks that it was fitted to.

    >>> from ablation.search.latency_model import LatencyModel, TimedNetwork
    >>> adds = [Operation("add", "elementwise", 0, 3000 * n, 1000 * n, 8, 8) for n in range(1, 25)]
    >>> timed = {str(n): TimedNetwork(ms=1.1 * n, operations=(add,), operation_ms=(1.0 * n,)) for n, add in enumerate(adds, 1)}
    >>> model = LatencyModel.fit(timed, "10")
    >>> new = model.predict([Operation("add", "elementwise", 0, 30000, 10000, 8, 8)] * 2)
    >>> round(new.ms), round(new.ratio), model.error.within
    (22, 2, 1.0)
    """

    # of the reference, as it was timed among the others
    reference_ms: float
    # of a network over the sum of its operations
    factor: float
    # name or class of operations -> ms for one of each of the `amounts`
    rates: Mapping[str, tuple[float, ...]]
    # of those that were timed
    operation_ms: Mapping[Operation, float]
    error: HeldOut
    _known: dict[Operation, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def fit(cls, timed: Mapping[str, TimedNetwork], reference: str, *, seed: int = 0) -> LatencyModel:
        """The model of these networks; InputError where there are fewer than LEAST_NETWORKS, or the reference is not among them."""
        if len(timed) < LEAST_NETWORKS:
            raise must_be("The timed networks", f"at least {LEAST_NETWORKS}", len(timed), "Time more of the space's networks.")
        if reference not in timed:
            raise must_be("reference", "one of the timed networks", reference)
        networks, reference_ms = list(timed.values()), timed[reference].ms
        return cls(reference_ms=reference_ms, error=HeldOut.of(_left_out(networks, seed)), **_fitted(networks))

    def predict(self, operations: Iterable[Operation]) -> Predicted:
        """The latency of a network of these operations."""
        ms = self.factor * sum(map(self._ms, operations))
        ratio, error = ms / self.reference_ms, self.error.rms
        return Predicted(ms=ms, ms_error=ms * error, ratio=ratio, ratio_error=ratio * error)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "reference_ms": self.reference_ms,
            "factor": self.factor,
            "rates": {name: list(rates) for name, rates in self.rates.items()},
            "operation_ms": [[*astuple(operation), ms] for operation, ms in self.operation_ms.items()],
            "error": asdict(self.error),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatencyModel:
        """The inverse of `to_dict`, also after a trip through JSON."""
        return cls(
            reference_ms=values["reference_ms"],
            factor=values["factor"],
            rates={name: tuple(rates) for name, rates in values["rates"].items()},
            operation_ms={Operation(*fields): ms for *fields, ms in values["operation_ms"]},
            error=HeldOut(**values["error"]),
        )

    def _ms(self, operation: Operation) -> float:
        ms = self._known.get(operation)
        if ms is None:
            ms = self._known[operation] = self.operation_ms.get(operation) or _by_rates(self.rates, operation)
        return ms


def amounts(operation: Operation) -> tuple[float, ...]:
    """What the time of an operation may grow with: calls, bytes, elements; multiply-accumulates, also where channels are few."""
    macs, read, written = float(operation.macs), operation.in_channels, operation.out_channels
    few = (macs / read, macs / written, macs * _filled(read), macs * _filled(written))
    return (1.0, float(operation.bytes_moved), float(operation.elements_written), macs, *few)


def _filled(channels: int) -> float:
    """Lanes that are computed for each channel."""
    return -(-channels // LANES) * LANES / channels


def _left_out(networks: Sequence[TimedNetwork], seed: int) -> list[float]:
    """The relative error of each network, predicted from those of the other folds."""
    errors = []
    for fold in np.array_split(np.random.default_rng(seed).permutation(len(networks)), NUM_FOLDS):
        others = _fitted([network for number, network in enumerate(networks) if number not in set(fold.tolist())])
        model = LatencyModel(reference_ms=1.0, error=HeldOut.of([0.0]), **others)
        errors += [model.predict(networks[number].operations).ms / networks[number].ms - 1 for number in fold]
    return errors


def _fitted(networks: Sequence[TimedNetwork]) -> dict[str, Any]:
    """The model's fields but for its error and the reference."""
    times: dict[Operation, list[float]] = {}
    for network in networks:
        for operation, ms in zip(network.operations, network.operation_ms, strict=True):
            times.setdefault(operation, []).append(max(ms, LEAST_MS))
    groups: dict[str, tuple[str, dict[Operation, list[float]]]] = {}
    for operation, measured in times.items():
        groups.setdefault(operation.kind, (ALL, {}))[1][operation] = measured
    for operation, measured in times.items():
        groups.setdefault(operation.name, (operation.kind, {}))[1][operation] = measured
    rates: dict[str, tuple[float, ...]] = {ALL: _rates(times, [0.0] * NUM_AMOUNTS)}
    for name, (parent, group) in groups.items():
        rates[name] = _rates(group, rates[parent])
    return {
        "factor": median(network.ms / sum(network.operation_ms) for network in networks),
        "rates": rates,
        "operation_ms": {operation: _shrunk(measured, _by_rates(rates, operation)) for operation, measured in times.items()},
    }


def _rates(times: Times, expected: Sequence[float]) -> tuple[float, ...]:
    """Rates by least squares, none negative, pulled towards those that are expected.

    Errors count in relation to the square root of a time, between absolute and relative.
    """
    ms: Floats = np.concatenate([np.asarray(measured) for measured in times.values()])
    rows: Floats = np.array([amounts(operation) for operation, measured in times.items() for _ in measured])
    scale = (rows.mean(axis=0) + 1e-12) / ms.mean()  # in shares of the mean time; amounts that are 0 everywhere get no rate
    weights = np.sqrt(ms.mean() / ms)
    pull, towards = RIDGE * np.eye(len(scale)), RIDGE * np.array(expected) * scale
    solved, _ = nnls(
        np.vstack([rows / (scale * ms.mean()) * weights[:, None], pull]), np.concatenate([ms / ms.mean() * weights, towards])
    )
    return tuple((solved / scale).tolist())


def _by_rates(rates: Mapping[str, Sequence[float]], operation: Operation) -> float:
    group = next(rates[name] for name in (operation.name, operation.kind, ALL) if name in rates)
    return max(LEAST_MS, sum(rate * amount for rate, amount in zip(group, amounts(operation), strict=True)))


def _shrunk(measured: Sequence[float], expected: float) -> float:
    num = len(measured)
    return float(2 ** ((num * log2(median(measured)) + log2(expected)) / (num + 1)))
