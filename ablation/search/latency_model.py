"""Latency before training: a model of this machine, from some dozens of timed networks of a space, with its error on others.

The latency of a network is the sum over its operations of what each takes, times one factor for what is spent between them. What
an operation takes is learned from the timed networks, operation by operation (a table, as Cai et al. 2019, ProxylessNAS, section
4.1; predictions for the rest, as Zhang et al. 2021, nn-Meter, section 5):

- Operations of one name (torch's; a convolution's with its kernel, stride and groups) and class share rates: ms for a call, a byte,
  a multiply-accumulate and so on (`amounts`), none negative, by least squares that pull them towards the rates of their class, and
  those of a class towards those of all. A name that no timed network has takes the rates of its class, else those of all.
- An operation that was itself timed n times takes the geometric mean of its median and what the rates say, weighted n : DOUBT.

`error` says how far predictions were off for networks that the model did not know: each timed network is left out in one of
NUM_FOLDS folds, and predicted from the others. Nothing is random but the folds, which a seed decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from math import exp, isfinite, log, sqrt
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
# elements of 32 MiB in float32: for larger tensors glibc maps memory anew at every call, whose pages are then faulted in one by one
MAPPED = 2**23
# weight of the rates that others are pulled towards; that of an operation of mean time is 1
PULL = 2.0
# weight of what the rates say of an operation that was timed
DOUBT = 0.5
# no operation takes less, in ms: what a clock shows below that is noise
LEAST_MS = 1e-4
# the name of the rates of all operations together
ALL = ""
NUM_AMOUNTS = 10

Floats = NDArray[np.float64]
Rates = Mapping[str, tuple[float, ...]]
Known = Mapping[Operation, float]
Measured = list[tuple[Operation, float]]


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

    >>> adds = [Operation("add", "elementwise", 0, 3000 * n, 1000 * n, 8, 8) for n in range(1, 25)]
    >>> timed = {str(n): TimedNetwork(ms=1.1 * n, operations=(add,), operation_ms=(1.0 * n,)) for n, add in enumerate(adds, 1)}
    >>> model = LatencyModel.fit(timed, "10")
    >>> new = model.predict([Operation("add", "elementwise", 0, 30000, 10000, 8, 8)] * 2)
    >>> round(new.ms), round(new.ratio), model.error.num
    (22, 2, 24)
    """

    # of the reference, as it was timed among the others
    reference_ms: float
    # of a network over the sum of its operations
    factor: float
    # "class: name" of operations, their class, or ALL -> ms for one of each of the `amounts`
    rates: Rates
    # of those that were timed
    operation_ms: Known
    error: HeldOut

    @classmethod
    def fit(cls, timed: Mapping[str, TimedNetwork], reference: str, *, seed: int = 0) -> LatencyModel:
        """The model of these networks; InputError where there are fewer than LEAST_NETWORKS, or the reference is not among them."""
        if len(timed) < LEAST_NETWORKS:
            raise must_be("The timed networks", f"at least {LEAST_NETWORKS}", len(timed), "Time more of the space's networks.")
        if reference not in timed:
            raise must_be("reference", "one of the timed networks", reference)
        networks = list(timed.values())
        factor, rates, known = _fitted(networks)
        error = HeldOut.of(_left_out(networks, seed))
        return cls(reference_ms=timed[reference].ms, factor=factor, rates=rates, operation_ms=known, error=error)

    def predict(self, operations: Iterable[Operation]) -> Predicted:
        """The latency of a network of these operations."""
        ms = self.factor * _sum(self.rates, self.operation_ms, operations)
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


def amounts(operation: Operation) -> tuple[float, ...]:
    """What the time of an operation may grow with.

    Calls, bytes, elements, those in pages that are mapped anew; multiply-accumulates, also where channels are few.
    """
    macs, read, written = float(operation.macs), operation.in_channels, operation.out_channels
    elements = float(operation.elements_written)
    few = (macs / read, macs / written, macs * _filled(read), macs * _filled(written))
    copies = (operation.bytes_moved / 4 - elements) * _filled(read), elements * _filled(written)
    mapped = (_mapped(elements), sum(map(_mapped, copies)) if macs else 0.0)
    return (1.0, float(operation.bytes_moved), elements, *mapped, macs, *few)


def _mapped(elements: float) -> float:
    return elements if elements > MAPPED else 0.0


def _filled(channels: int) -> float:
    """Lanes that are computed for each channel."""
    return -(-channels // LANES) * LANES / channels


def _left_out(networks: Sequence[TimedNetwork], seed: int) -> list[float]:
    """The relative error of each network, predicted from those of the other folds."""
    errors = []
    for fold in np.array_split(np.random.default_rng(seed).permutation(len(networks)), NUM_FOLDS):
        left_out = set(fold.tolist())
        factor, rates, known = _fitted([network for number, network in enumerate(networks) if number not in left_out])
        errors += [factor * _sum(rates, known, networks[number].operations) / networks[number].ms - 1 for number in left_out]
    return errors


def _fitted(networks: Sequence[TimedNetwork]) -> tuple[float, Rates, Known]:
    """The factor of whole networks, the rates of operations (of all, of each class, of each name), and what timed ones take."""
    pairs = [pair for network in networks for pair in zip(network.operations, network.operation_ms, strict=True)]
    measured = [(operation, max(ms, LEAST_MS)) for operation, ms in pairs]
    rates = {ALL: _rates(measured, (0.0,) * NUM_AMOUNTS)}
    for level in (lambda one: (one.kind, ALL), lambda one: (_name(one), one.kind)):
        groups: dict[tuple[str, str], Measured] = {}
        for operation, ms in measured:
            groups.setdefault(level(operation), []).append((operation, ms))
        rates |= {name: _rates(group, rates[wider]) for (name, wider), group in groups.items()}
    times: dict[Operation, list[float]] = {}
    for operation, ms in measured:
        times.setdefault(operation, []).append(ms)
    known = {operation: _shrunk(those, _by_rates(rates, operation)) for operation, those in times.items()}
    return median(network.ms / _sum(rates, known, network.operations) for network in networks), rates, known


def _rates(measured: Measured, expected: Sequence[float]) -> tuple[float, ...]:
    """Rates by least squares, none negative, pulled towards those that are expected.

    Errors count in relation to the square root of a time, between absolute and relative.
    """
    ms: Floats = np.array([ms for _, ms in measured])
    mean = ms.mean()
    rows: Floats = np.array([amounts(operation) for operation, _ in measured]) / mean
    scale = rows.mean(axis=0) + 1e-12  # amounts that are 0 everywhere get no rate
    weights = np.sqrt(mean / ms)
    left = np.vstack([rows / scale * weights[:, None], PULL * np.eye(len(scale))])
    right = np.concatenate([ms / mean * weights, PULL * np.array(expected) * scale])
    return tuple((nnls(left, right)[0] / scale).tolist())


def _name(operation: Operation) -> str:
    # a mean over positions and one over channels are of different classes
    return f"{operation.kind}: {operation.name}"


def _sum(rates: Rates, known: Known, operations: Iterable[Operation]) -> float:
    """ms of all operations."""
    return sum(known.get(operation) or _by_rates(rates, operation) for operation in operations)


def _by_rates(rates: Rates, operation: Operation) -> float:
    """ms of an operation by the rates of its name, else of its class, else of all."""
    group = rates.get(_name(operation)) or rates.get(operation.kind) or rates[ALL]
    return max(LEAST_MS, sum(rate * amount for rate, amount in zip(group, amounts(operation), strict=True)))


def _shrunk(measured: Sequence[float], expected: float) -> float:
    return exp((len(measured) * log(median(measured)) + DOUBT * log(expected)) / (len(measured) + DOUBT))
