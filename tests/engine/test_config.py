"""What a study is, as it is stored: studies of before later settings existed go on."""

from __future__ import annotations

from typing import Any

import pytest

from ablation import preset
from ablation.design.protocol import LATER, Protocol
from blocks.errors import InputError
from studies.engine.config import StudyConfig, reconcile_config


def stored_config(**changes: Any) -> dict[str, Any]:
    """A study's config as it was stored before the later fields existed."""
    space = {"name": "s", "base": preset("small").to_dict(), "factors": {"head": {"pooled": {"head": "pooled"}}}}
    config = StudyConfig(
        name="s", space=space, data={"name": "faces"}, fingerprint="0", protocol={**Protocol().to_dict(), **changes}
    )
    values = config.to_dict()
    assert set(LATER) <= set(values["protocol"])
    values["protocol"] = {name: value for name, value in values["protocol"].items() if name not in LATER}
    values["space"]["base"] = {k: v for k, v in values["space"]["base"].items() if k not in ("architecture", "mask_width")}
    return values


def test_a_stored_study_without_the_later_settings_goes_on() -> None:
    old = StudyConfig.from_dict(stored_config())
    wanted = StudyConfig(
        name="s", space={**old.space, "base": preset("small").to_dict()}, data={"name": "faces"}, fingerprint="0",
        protocol=Protocol().to_dict(), seeds=2,
    )  # fmt: skip
    assert old.training_protocol() == Protocol()
    assert reconcile_config(old, wanted, "here").seeds == 2
    other = StudyConfig.from_dict({**wanted.to_dict(), "protocol": Protocol(ssim_size=9).to_dict()})
    with pytest.raises(InputError, match=r"another protocol\.ssim_size: it must be 11\. Got 9 instead"):
        reconcile_config(old, other, "here")
