"""Variants: identity of a network with a protocol, factors of the protocol in a space, and when that is enumerated."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablation.design.protocol import FACTORS, Protocol
from ablation.design.space import Space, load_space
from ablation.design.spec import FIELDS, ModelSpec, preset
from ablation.design.variant import Variant, network_of
from tests.builders import space_file

SPACES = Path(__file__).parents[2] / "studies" / "engine" / "spaces"
SPEC = preset("small")
# a value of every field that a space may vary, other than the default
OTHERS: dict[str, Any] = {
    "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "patience": 1, "ssim_window": "gaussian",
    "ssim_weight": 0.5, "l1_weight": 2, "kl_weight": 0.0, "l2_weight": 1, "mask_weight": 0.1,
    "ssim_size": 9, "kl_mean": True, "clip_norm": 0.5,
}  # fmt: skip


def test_without_changes_the_key_is_the_networks() -> None:
    assert Variant(spec=SPEC).key == Variant.of(SPEC, {}).key == SPEC.network_key == network_of(SPEC.network_key)
    study = Protocol(kl_weight=0.1)
    assert Variant.of(SPEC, {"kl_weight": 0.1}, study).key == SPEC.network_key
    # what is the study's own is a change in another study
    assert Variant.of(SPEC, {"kl_weight": 0.1}) == Variant(spec=SPEC, changes={"kl_weight": 0.1})


def test_keys_are_stable_across_versions() -> None:
    # stored trials refer to these
    assert Variant.of(preset("original"), {"kl_weight": 0.01}).key == "88c8e110265b8a04-41dea716"
    assert Variant.of(preset("original"), {"ssim_window": "gaussian", "l2_weight": 1}).key == "88c8e110265b8a04-997582f7"


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_of_the_protocol_changes_the_variant_and_not_the_network(name: str) -> None:
    variant = Variant.of(SPEC, {name: OTHERS[name]})
    assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]{8}", variant.key)
    assert variant.network_key == network_of(variant.key) == SPEC.network_key
    assert variant.protocol(Protocol()) == Protocol(**{name: OTHERS[name]})
    again = pickle.loads(pickle.dumps(variant))
    assert (again, hash(again), again.key) == (variant, hash(variant), variant.key)


def test_numbers_are_the_same_however_they_are_written() -> None:
    assert Variant.of(SPEC, {"l1_weight": 2, "l2_weight": 0}).key == Variant.of(SPEC, {"l1_weight": 2.0}).key
    order = [Variant.of(SPEC, dict(pairs)).key for pairs in (OTHERS.items(), reversed(OTHERS.items()))]
    assert order[0] == order[1]


def test_factors_of_spec_and_protocol_have_different_names() -> None:
    assert not set(FACTORS) & set(FIELDS)
    assert set(OTHERS) == set(FACTORS)


def test_importing_variants_needs_no_torch() -> None:
    code = "import sys, ablation.design.variant, ablation.design.space; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_space_varies_networks_and_protocol(tmp_path: Path) -> None:
    text = (
        '[base]\npreset = "small"\n[factors]\nhead = ["flatten", "pooled"]\nkl_weight = [1e-3, 0.1]\nssim_window = ["gaussian"]\n'
    )
    space = load_space(space_file(tmp_path, text))
    variants, invalid = space.enumerate()
    assert [v.label for v in variants] == [
        f"{head}, kl_weight {weight}, gaussian" for head in ("flatten", "pooled") for weight in ("0.001", "0.1")
    ]
    assert not invalid
    assert len({v.key for v in variants}) == 4
    assert len({v.network_key for v in variants}) == 2
    assert [dict(v.changes) for v in variants[:2]] == [{"ssim_window": "gaussian"}, {"kl_weight": 0.1, "ssim_window": "gaussian"}]
    assert space.reference() == variants[0].key != SPEC.network_key
    # in a study that is trained so already, the base is there
    study = Protocol(ssim_window="gaussian")
    again = Space.from_dict(space.to_dict(), study)
    assert again.reference() == SPEC.network_key == again.enumerate()[0][0].key
    assert [v.protocol(study) for v in again.enumerate()[0]] == [v.protocol(Protocol()) for v in variants]


def test_one_factor_may_set_fields_of_both(tmp_path: Path) -> None:
    text = "[factors.size]\nsmall = { latent_dim = 8, kl_weight = 0.01 }\nlarge = { latent_dim = 16 }\n"
    small, large = load_space(space_file(tmp_path, text)).enumerate()[0]
    assert (small.spec.latent_dim, small.changes, large.spec.latent_dim, large.changes) == (8, {"kl_weight": 0.01}, 16, {})


def test_the_space_of_losses_is_one_network_in_eight_variants() -> None:
    variants, invalid = load_space(SPACES / "loss.toml", protocol=Protocol(epochs=4, learning_rate=1e-3)).enumerate()
    assert (len(variants), len({v.key for v in variants}), invalid) == (8, 8, [])
    assert {v.network_key for v in variants} == {SPEC.network_key}
    assert variants[0].key == SPEC.network_key


def test_a_space_is_enumerated_once_and_not_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    space, made = load_space(SPACES / "small.toml"), list[ModelSpec]()
    check = ModelSpec.__post_init__
    monkeypatch.setattr(ModelSpec, "__post_init__", lambda spec: (made.append(spec), check(spec))[1])
    lazy = Space(name="s", base=space.base, factors=space.factors)
    assert made == []
    for _ in range(2):
        assert len(lazy.enumerate()[0]) == 12
        assert lazy.reference() == space.reference()
    assert len(made) == lazy.num_combinations() == 16
