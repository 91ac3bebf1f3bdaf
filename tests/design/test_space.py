"""Spaces: which networks a factorial has, what is inert, what cannot exist, and wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation.design.space import Space, load_space
from ablation.design.spec import preset
from blocks.errors import InputError
from tests.builders import space_file

SPACES = Path(__file__).parents[2] / "studies" / "engine" / "spaces"


def test_inert_factor_collapses_variants() -> None:
    """Growth rate does nothing under plain connectivity: 16 combinations, 4 plain and 8 dense networks."""
    space = load_space(SPACES / "small.toml")
    networks, invalid = space.enumerate()
    assert space.num_combinations() == 16
    assert len(networks) == 12
    assert not invalid
    plain = [n for n in networks if "plain" in n.label]
    assert len(plain) == 4
    assert all(n.inert == ("growth_rate",) and len(n.intents) == 2 for n in plain)
    assert sum(len(n.intents) for n in networks) == 16


def test_paper_space_holds_both_models() -> None:
    space = load_space(SPACES / "paper.toml")
    keys = {n.key for n in space.enumerate()[0]}
    assert len(keys) == 64
    assert {preset("original").network_key, preset("modified").network_key} <= keys
    assert space.reference() == preset("original").network_key


def test_labels_name_every_active_level(tmp_path: Path) -> None:
    space = load_space(
        space_file(tmp_path, '[base]\npreset = "small"\n[factors]\nhead = ["flatten", "bottleneck"]\nhead_channels = [4, 8]\n')
    )
    labels = [n.label for n in space.enumerate()[0]]
    assert labels == ["flatten", "bottleneck, head_channels 4", "bottleneck, head_channels 8"]


def test_combinations_that_cannot_exist_are_named(tmp_path: Path) -> None:
    """Five stages need a multiple of 32: 48 px has only the four-stage variant, 64 px has both."""
    text = '[base]\npreset = "small"\n[factors]\nimage_size = [48, 64]\nencoder_widths = [[8, 16, 32, 64], [8, 8, 8, 8, 8]]\n'
    networks, invalid = load_space(space_file(tmp_path, text)).enumerate()
    assert len(networks) == 3
    assert [i.factors for i in invalid] == [{"image_size": "48", "encoder_widths": "[8, 8, 8, 8, 8]"}]
    assert "multiple of 32" in invalid[0].reason


def test_round_trip() -> None:
    space = load_space(SPACES / "paper.toml")
    again = Space.from_dict(space.to_dict())
    assert [n.key for n in again.enumerate()[0]] == [n.key for n in space.enumerate()[0]]


def test_base_changes_apply() -> None:
    assert load_space(SPACES / "small.toml", image_size=64).base.image_size == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[factors]\nconvv = ['standard']\n", ["convv", "Did you mean"]),
        ("[factors]\nconv = ['standard', 'seperable']\n", ["seperable", "conv", "separable"]),
        ("[factors]\nconv = []\n", ["conv", "list of levels"]),
        ("[factors]\nconv = ['standard', 'standard']\n", ["conv", "all different"]),
        ("[factors]\n", ["factors", "at least one"]),
        ("[base]\npreset = 'huge'\n[factors]\nconv = ['standard']\n", ["huge", "original"]),
        ("[base]\nimage_size = 50\n[factors]\nconv = ['standard']\n", ["50", "multiple of 16", "48 or 64"]),
        ("[facts]\nconv = ['standard']\n", ["facts"]),
        ("[factors\n", ["TOML"]),
        ("[factors]\nimage_size = [48, 50]\n", ["50", "no valid variant"]),
        ("base = 3\n[factors]\nconv = ['standard']\n", ["base", "a table"]),
        ("factors = [1]\n", ["factors", "a table"]),
        ("[factors]\nconv = ['standard', '']\n", ["conv", "level"]),
        ("[factors]\nconv = [1979-05-27]\n", ["conv", "level"]),
        ("[factors]\nconv = ['standard']\nencoder_conv = ['separable']\n", ["encoder_conv", "'conv'"]),
        ("[factors.size]\nsmall = { encoder_width = [8] }\n", ["encoder_width", "Did you mean"]),
        ("[factors]\nkl_weigth = [1]\n", ["kl_weigth", "Did you mean 'kl_weight'"]),
        ("[factors]\nkl_weight = [1, -1]\n", ["'-1'", "no valid variant", "zero or a positive number"]),
        ("[factors]\nlearning_rate = ['fast']\n", ["learning_rate must be a number"]),
        ("[factors]\nssim_window = ['uniform', 'round']\n", ["ssim_window must be one of uniform, gaussian"]),
        ("[factors]\nsplit_seed = [1, 2]\n", ["split_seed", "A key of a spec"]),
        ("[factors]\nprecision = ['bfloat16']\n", ["precision"]),
        ("[factors]\nkl_weight = [1]\n[factors.both]\na = { kl_weight = 2 }\n", ["kl_weight", "Merge the two factors"]),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_space(space_file(tmp_path, text))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_space(tmp_path / "none.toml")
