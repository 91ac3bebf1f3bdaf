"""Limits of a search as people write them."""

from __future__ import annotations

import pytest

from ablation.search.limits import broken, check_limits, excess, latency_values, limit_text, num_excluded, parse_limits, with_ratios
from blocks.errors import InputError

BATCHES = (2, 32)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("params=3M", "params", 3e6),
        ("params=1.5e6", "params", 1.5e6),
        ("macs=500M", "macs", 5e8),
        ("macs=0.5x", "macs_ratio", 0.5),
        ("macs=1.5G", "macs", 1.5e9),
        ("elements_written=20k", "elements_written", 2e4),
        ("bytes_moved=0.25x", "bytes_moved_ratio", 0.25),
        (" num_ops = 90 ", "num_ops", 90.0),
        ("latency=0.5x", "latency_ratio@2", 0.5),
        ("latency=12ms", "latency_ms@2", 12.0),
        ("latency=0.5s", "latency_ms@2", 500.0),
        ("latency@32=250us", "latency_ms@32", 0.25),
        ("latency@32=0.25x", "latency_ratio@32", 0.25),
    ],
)
def test_what_a_person_writes_is_one_plain_value(text: str, key: str, value: float) -> None:
    limits = parse_limits([text], BATCHES)
    assert limits == {key: pytest.approx(value, rel=1e-15)}
    check_limits(limits)
    assert parse_limits([limit_text(key, value)], BATCHES) == limits


def test_several_limits_stay_in_order() -> None:
    texts = ["latency@32=0.25x", "params=3M", "latency=0.35x"]
    assert list(parse_limits(texts, BATCHES)) == ["latency_ratio@32", "params", "latency_ratio@2"]
    assert parse_limits([], BATCHES) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["params"], r"--limit must be NAME=VALUE\. Got 'params' instead\. E\.g\. params=3M"),
        (["params<3M"], "--limit must be NAME=VALUE"),
        (["params="], "--limit must be NAME=VALUE"),
        (["param=3M"], r"The name of a --limit must be one of params, macs.*Got 'param' instead\. Did you mean 'params'\?"),
        (["beauty=3"], "The name of a --limit must be one of"),
        (["params=0"], "The value of --limit params=0 must be a positive number. Got '0'"),
        (["params=-3M"], "must be a positive number. Got '-3'"),
        (["params=3..5"], "must be a positive number"),
        (["params=1e999"], "must be a positive number"),
        (["params=3T"], "The unit of --limit params=3T must be x, k, M, G or none. Got 'T'"),
        (["params=3ms"], "The unit of --limit params=3ms must be"),
        (["latency=12"], "The unit of --limit latency=12 must be x, ms, s or us. Got ''"),
        (["latency=3M"], "The unit of --limit latency=3M must be x, ms, s or us"),
        (
            ["latency@16=1x"],
            r"The batch size of --limit latency@16=1x must be one that is timed, 2 or 32\. Got '16' instead\. Limit one",
        ),
        (["latency@=1x"], "The batch size of --limit latency@=1x must be"),
        (["latency@two=1x"], "must be one that is timed"),
        (["params@32=3M"], "params does not depend on the batch size"),
        (["params=3M", "params=3M"], r"--limit must be given once for params\. Got 'params=3M and params=3M'"),
        (["params=3M", "params=0.5x"], "given once for params"),
        (["latency=12ms", "macs=1G", "latency@2=0.5x"], r"given once for latency@2\. Got 'latency=12ms and latency@2=0.5x'"),
    ],
)
def test_wrong_limits_are_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse_limits(texts, BATCHES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "limits", [{"beauty": 1.0}, {"latency": 1.0}, {"latency_ratio": 1.0}, {"latency_ms@x": 1.0}, {"params": 0}, {"params": True}]
)
def test_stored_limits_are_checked_too(limits: dict[str, float]) -> None:
    with pytest.raises(InputError):
        check_limits(limits)


def test_limits_are_held_against_values() -> None:
    """By hand: 3 of 2 million are half too many; 0.3 of 0.4 is a quarter below."""
    limits = {"params": 2e6, "latency_ratio@32": 0.4, "macs_ratio": 1.0, "latency_ms": 9.0}
    check_limits(limits)
    values = with_ratios({"params": 3e6, "macs": 50, "name": 7}, {"params": 6e6, "macs": 100})
    assert values == {"params": 3e6, "macs": 50, "params_ratio": 0.5, "macs_ratio": 0.5}
    assert excess(limits, values) == {"params": 0.5, "macs_ratio": -0.5}  # what was not measured yet is in neither
    latency = latency_values({2: 10.0, 32: 100.0}, {2: 0.5, 32: 0.3})
    assert latency["latency_ms"] == 10.0
    assert excess(limits, latency) == {"latency_ratio@32": pytest.approx(-0.25), "latency_ms": pytest.approx(1 / 9)}
    assert broken(limits, {**values, **latency}) == "params 3e+06 is over the limit 2e+06; latency_ms 10 is over the limit 9"
    assert broken(limits, {"params": 2e6}) == ""  # the limit itself is inside
    assert latency_values({}, {}) == {}


def test_what_a_limit_excludes_is_counted() -> None:
    rows = [{"params": 1.0, "macs": 9.0}, {"params": 3.0, "macs": 9.0}, {"params": 3.0}]
    assert num_excluded({"params": 2.0, "macs": 8.0, "num_ops": 1.0}, rows) == {"params": 2, "macs": 2, "num_ops": 0}
