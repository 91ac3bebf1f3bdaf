"""Limits of a search: read as a person writes them, kept as plain values, and held against what is counted and timed. No torch.

A limit is kept under one key, which is also the name of Optuna's constraint:

- `params`, `macs`, `elements_written`, `bytes_moved`, `num_ops`: the largest static cost; with `_ratio` behind it, times the
  reference;
- `latency_ms@32`: the largest median at batch size 32; `latency_ratio@32`: times the reference, by the paired ratio of one
  interleaved session, never by dividing milliseconds. Studies of earlier versions have `latency_ms`, at their first batch size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from blocks.errors import choices, must_be, near

COSTS = ("params", "macs", "elements_written", "bytes_moved", "num_ops")
LATENCY, LATENCY_MS, LATENCY_RATIO = "latency", "latency_ms", "latency_ratio"
RATIO = "_ratio"
_UNITS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_MILLISECONDS = {"ms": 1.0, "s": 1e3, "us": 1e-3}
_LIMIT = re.compile(r"(?P<name>[^=@]+?)(@(?P<batch>[^=]*))?=(?P<number>[-+0-9.eE]+?)(?P<unit>[A-Za-z]*)")
EXAMPLES = "E.g. params=3M, macs=0.5x, latency=12ms or latency@32=0.25x; x is times the reference."


def parse_limits(texts: Sequence[str], batch_sizes: Sequence[int]) -> dict[str, float]:
    """Limits by key from `NAME=VALUE` or `latency@BATCH=VALUE`; `batch_sizes` are those that are timed, the first the default.

    InputError for what is no limit, a value that is not positive, a batch size that is not timed, and a quantity with two limits.

    >>> parse_limits(["params=3M", "macs=0.5x", "latency=12ms", "latency@32=0.25x"], (1, 32))
    {'params': 3000000.0, 'macs_ratio': 0.5, 'latency_ms@1': 12.0, 'latency_ratio@32': 0.25}
    """
    limits: dict[str, float] = {}
    texts_by_quantity: dict[str, str] = {}
    for text in texts:
        key, value = _parse(text, batch_sizes)
        quantity = quantity_of(key)
        if quantity in texts_by_quantity:
            both = f"{texts_by_quantity[quantity]} and {text}"
            raise must_be("--limit", f"given once for {quantity}", both, "Keep the one that you mean; the smaller holds for both.")
        limits[key], texts_by_quantity[quantity] = value, text
    return limits


def _parse(text: str, batch_sizes: Sequence[int]) -> tuple[str, float]:
    """Key and value of one limit."""
    match = _LIMIT.fullmatch(text.replace(" ", ""))
    if match is None:
        raise must_be("--limit", "NAME=VALUE", text, EXAMPLES)
    name, batch, unit = match["name"], match["batch"], match["unit"]
    if name not in (*COSTS, LATENCY):
        raise must_be("The name of a --limit", choices((*COSTS, LATENCY)), name, near(name, (*COSTS, LATENCY), EXAMPLES))
    if name != LATENCY and batch is not None:
        raise must_be(f"--limit {text}", f"without @{batch}, since {name} does not depend on the batch size", f"@{batch}")
    number = _positive(match["number"], text)
    if name == LATENCY:
        return _latency(number, unit, _batch(batch, text, batch_sizes), text)
    if unit == "x":
        return name + RATIO, number
    if unit not in _UNITS:
        raise must_be(f"The unit of --limit {text}", "x, k, M, G or none", unit, EXAMPLES)
    return name, number * _UNITS[unit]


def _latency(number: float, unit: str, batch: int, text: str) -> tuple[str, float]:
    if unit == "x":
        return f"{LATENCY_RATIO}@{batch}", number
    if unit not in _MILLISECONDS:
        raise must_be(f"The unit of --limit {text}", "x, ms, s or us", unit, EXAMPLES)
    return f"{LATENCY_MS}@{batch}", number * _MILLISECONDS[unit]


def _positive(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -inf
    if not 0 < value < inf:
        raise must_be(f"The value of --limit {text}", "a positive number", number, EXAMPLES)
    return value


def _batch(batch: str | None, text: str, batch_sizes: Sequence[int]) -> int:
    if batch is None:
        return batch_sizes[0]
    if not batch.isdigit() or int(batch) not in batch_sizes:
        remedy = "Limit one of those, or have this one timed too with --latency-batches."
        timed = " or ".join(map(str, batch_sizes))
        raise must_be(f"The batch size of --limit {text}", f"one that is timed, {timed}", batch, remedy)
    return int(batch)


def check_limits(limits: Mapping[str, float]) -> None:
    """InputError for a key that is no limit's, and for a value that is not positive."""
    for key, value in limits.items():
        name, _, batch = key.partition("@")
        costs = (*COSTS, *(cost + RATIO for cost in COSTS))
        is_latency = name in (LATENCY_MS, LATENCY_RATIO) and (batch.isdigit() if "@" in key else name == LATENCY_MS)
        if not is_latency and key not in costs:
            raise must_be("A limit of a search", f"on one of {', '.join(costs)}, latency_ms@BATCH, latency_ratio@BATCH", key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < inf:
            raise must_be(f"The limit on {key}", "a positive number", value)


def quantity_of(key: str) -> str:
    """What a key limits, whether absolutely or relative to the reference.

    >>> quantity_of("latency_ratio@32"), quantity_of("macs_ratio"), quantity_of("params")
    ('latency@32', 'macs', 'params')
    """
    name, at, batch = key.partition("@")
    return (LATENCY if name in (LATENCY_MS, LATENCY_RATIO) else name.removesuffix(RATIO)) + at + batch


def limit_text(key: str, value: float) -> str:
    """A limit as a person writes it, of which `parse_limits` makes the same again.

    >>> limit_text("latency_ratio@32", 0.25), limit_text("params", 3e6), limit_text("latency_ms@1", 12)
    ('latency@32=0.25x', 'params=3M', 'latency@1=12ms')
    """
    name = key.partition("@")[0]
    if name.endswith(RATIO) or name == LATENCY_MS:
        return f"{quantity_of(key)}={value:.12g}{'x' if name.endswith(RATIO) else 'ms'}"
    unit = next((unit for unit in ("G", "M", "k") if value >= _UNITS[unit]), "")
    return f"{key}={value / _UNITS[unit]:.12g}{unit}"


def num_params(costs: Mapping[str, Any]) -> float:
    """The parameters of a network as limits and fronts count them: in the form that is trained, before it is folded.

    >>> num_params({"params": 3, "training_params": 5}), num_params({"params": 3})
    (5, 3)
    """
    return costs.get("training_params", costs["params"])


def with_ratios(costs: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Static costs of a network, and beside each its ratio to the reference's, by the keys of limits; parameters as `num_params`.

    >>> with_ratios({"params": 2, "macs": 30}, {"params": 4, "macs": 10})
    {'params': 2, 'macs': 30, 'params_ratio': 0.5, 'macs_ratio': 3.0}
    """
    own, other = ({**{name: c[name] for name in COSTS if name in c}, "params": num_params(c)} for c in (costs, reference))
    return {**own, **{name + RATIO: value / other[name] for name, value in own.items() if other.get(name)}}


def latency_values(ms: Mapping[int, float], ratios: Mapping[int, float]) -> dict[str, float]:
    """Latencies by batch size, the first one first, by the keys of limits; `latency_ms` is the first batch size's.

    >>> latency_values({1: 12.0}, {1: 0.5})
    {'latency_ms@1': 12.0, 'latency_ratio@1': 0.5, 'latency_ms': 12.0}
    """
    values = {f"{LATENCY_MS}@{batch}": value for batch, value in ms.items()}
    values |= {f"{LATENCY_RATIO}@{batch}": value for batch, value in ratios.items()}
    return {**values, LATENCY_MS: next(iter(ms.values()))} if ms else values


def excess(limits: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Limit -> by which part of it a network is over (positive) or under, for the limits of which there are values.

    >>> excess({"params": 2e6, "latency_ratio@1": 0.5}, {"params": 3e6})
    {'params': 0.5}
    """
    return {key: values[key] / limit - 1 for key, limit in limits.items() if key in values}


def broken(limits: Mapping[str, float], values: Mapping[str, float]) -> str:
    """Which limits a network breaks, as one reason; empty where it breaks none.

    >>> broken({"params": 2e6}, {"params": 3e6})
    'params 3e+06 is over the limit 2e+06'
    """
    over = [key for key, share in excess(limits, values).items() if share > 0]
    return "; ".join(f"{key} {values[key]:.6g} is over the limit {limits[key]:.6g}" for key in over)


def num_excluded(limits: Mapping[str, float], rows: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """Limit -> how many of these networks break it; a network that breaks several counts for each.

    >>> num_excluded({"params": 2, "macs": 9}, [{"params": 3, "macs": 10}, {"params": 1, "macs": 10}])
    {'params': 1, 'macs': 2}
    """
    counts = dict.fromkeys(limits, 0)
    for row in rows:
        for key, share in excess(limits, row).items():
            counts[key] += share > 0
    return counts
