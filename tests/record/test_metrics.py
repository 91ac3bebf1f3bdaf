"""Metrics of one's own, and units that fit small values."""

from __future__ import annotations

from typing import Any

import pytest

from ablation.record.trial import METRICS, fitted_text, fitting, latency_metric, own_metric, own_metrics
from blocks.errors import InputError


def test_shares_are_shown_in_per_cent_and_differ_by_points() -> None:
    accuracy = own_metric("accuracy", unit="%")
    assert accuracy.text(0.9312) == "93.12 %"
    assert (accuracy.unit_of_change, accuracy.best, accuracy.is_share) == ("points", "highest", True)
    error = own_metric("test_error", better="lower", scale=10, digits=1)
    assert (error.label, error.text(0.25), error.best, error.unit_of_change) == ("test error", "2.5", "lowest", "")
    assert list(own_metrics({"b": "lower", "a": {"unit": "dB"}})) == ["b", "a"], "the first is what networks are ranked by"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({}, "at least one metric"),
        ({"a": "up"}, "higher or lower"),
        ({"a": {"bettr": "lower"}}, "better, unit, label, digits, scale"),
        ({"a": {"unit": 3}}, "text"),
        ({"a": {"scale": 0}}, "a positive number"),
        ({"a": {"scale": True}}, "a positive number"),
        ({"a": {"digits": 1.5}}, "from 0 to 9"),
        ({"params": "lower"}, "no name that tables have"),
        ({"a.b": "lower"}, "letters, digits"),
        ({"": "lower"}, "letters, digits"),
    ],
)
def test_wrong_metrics_are_told(about: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        own_metrics(about)


def test_small_networks_get_smaller_units_and_large_ones_keep_theirs() -> None:
    params, macs, ms = METRICS["params"], METRICS["macs"], latency_metric("cpu", 1)
    assert fitted_text(params, 9_352_195) == "9.352 M"
    assert fitted_text(params, 12_345) == "12.345 k"
    assert fitted_text(params, 38) == "38"
    assert fitted_text(macs, 315_904) == "0.316 M"
    assert fitting(params, [38, 2_000_000]).unit == "M", "one unit for all, which the largest decides"
    assert fitted_text(METRICS["bytes_moved"], 512) == "512 bytes"
    assert fitted_text(ms, 12.3456) == "12.35 ms"
    assert fitted_text(ms, 0.0183) == "0.0183 ms"
    assert fitting(ms, []) == ms
