"""Plain controls against the budgets they are cut to."""

from __future__ import annotations

import pytest

from ablation.design.spec import ModelSpec, preset
from ablation.explain.controls import find_controls, plain_controls, scaled
from ablation.measure.costs.static import static_cost

PIECES = ("encoder_connectivity", "decoder_connectivity", "encoder_conv", "decoder_conv", "down", "up", "head", "transposed")


@pytest.mark.parametrize(("first", "second"), [("original", "modified"), ("small", "small_modified")])
def test_controls_have_the_parameters_and_the_macs_of_the_second(first: str, second: str) -> None:
    target = static_cost(preset(second))
    same_params, same_macs = find_controls(preset(first), preset(second))
    assert (same_params.name, same_macs.name) == ("same parameters", "same multiply-accumulates")
    assert abs(same_params.params / target.params - 1) <= 0.005
    assert abs(same_macs.macs / target.macs - 1) <= 0.005
    for control in (same_params, same_macs):
        spec = ModelSpec.from_dict(control.spec)
        direct = static_cost(spec)
        assert (control.params, control.macs) == (direct.params, direct.macs)
        # the first's pieces, other widths
        assert all(getattr(spec, name) == getattr(preset(first), name) for name in PIECES)
    assert f"{same_params.params / target.params - 1:+.2%}".lstrip("+-").rstrip("%") in same_params.label
    # the paper's second network has fewer parameters and computes more
    assert sum(same_params.spec["encoder_widths"]) < sum(preset(first).encoder_widths) < sum(same_macs.spec["encoder_widths"])


def test_names_and_specs_are_those_of_the_controls() -> None:
    first, second = preset("small"), preset("small_modified")
    assert [(name, spec.to_dict()) for name, spec in plain_controls(first, second)] == [
        (control.name, dict(control.spec)) for control in find_controls(first, second)
    ]


def test_a_network_is_its_own_control() -> None:
    for _, spec in plain_controls(preset("small"), preset("small")):
        assert spec == preset("small")


def test_a_first_network_that_is_not_plain_is_wired_plainly() -> None:
    first = preset("small_modified")
    for control in find_controls(first, preset("small")):
        assert (control.spec["encoder_connectivity"], control.spec["decoder_connectivity"]) == ("plain", "plain")
        assert control.spec["head"] == "pooled"


def test_widths_scale_together_and_stay_at_least_one() -> None:
    assert scaled(preset("small_modified"), 0.5).encoder_widths == (8, 16, 32, 64)
    assert (scaled(preset("small"), 2).encoder_stem, scaled(preset("small_modified"), 2).encoder_stem) == (0, 16)
    assert scaled(preset("small"), 0.001).decoder_widths == (1, 1, 1, 1)


def test_a_budget_out_of_reach_gives_the_closest_and_says_how_far_off_it_is() -> None:
    """An image of 16 pixels needs at least the parameters of width 1 everywhere."""
    first = ModelSpec(image_size=16, latent_dim=64, encoder_widths=(4, 4), decoder_stem=4, decoder_widths=(4, 4))
    second = first.replace(latent_dim=1, encoder_widths=(1, 1), decoder_stem=1, decoder_widths=(1, 1), head="pooled")
    control = find_controls(first, second)[0]
    assert (control.spec["encoder_widths"], control.spec["decoder_stem"]) == ([1, 1], 1)
    assert control.params > 10 * static_cost(second).params
    assert f"{control.params / static_cost(second).params - 1:+.2%}".rstrip("%") in control.label
