"""The converter: what is stored is read again as it was, at any depth, and anything else is refused with one kind of error."""

import json
import subprocess
import sys

import pytest

from ablation.record.attribution import Attribution, Effect
from ablation.record.convert import from_plain, to_plain
from ablation.record.explanation import Explanation
from ablation.record.trial import Record
from tests.fake_explanation import fake_explanation

RECORD = Record(
    network_key="k", label="a, b", seed=1, intents=({"head": "pooled"},), latency={"cpu/1": {"ms_by_sitting": (1, 2.5)}}
)


@pytest.mark.parametrize("value", [RECORD, fake_explanation(), Effect(value=3), fake_explanation().attributions[0]])
def test_everything_comes_back_after_a_trip_through_json(value: object) -> None:
    plain = to_plain(value)
    again = from_plain(type(value), json.loads(json.dumps(plain)))
    assert to_plain(again) == plain == json.loads(json.dumps(plain))
    assert type(again) is type(value)


def test_numbers_stay_as_they_are_stored() -> None:
    read = from_plain(Effect, {"value": 3, "low": 2.0})
    assert json.dumps(to_plain(read)).startswith('{"value": 3, "low": 2.0, "high": null')


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (Effect, {"value": 1.0, "sure": True}, "Extra fields in constructor for Effect: sure"),
        (Effect, {}, "no Effect: 'value' is missing"),
        (Record, [], "no Record: "),
        (Attribution, {**to_plain(fake_explanation().attributions[0]), "shapley": 3}, "no Attribution: "),
        (Explanation, {"first": "a"}, "no Explanation: 'second' is missing"),
    ],
)
def test_anything_else_is_refused(kind: type, values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_plain(kind, values)


def test_reading_needs_no_torch() -> None:
    code = "import sys, ablation.record.stored, ablation.record.trial; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
