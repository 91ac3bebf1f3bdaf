"""Modes and remedies: every mode is accounted for, ratios are paired, failures are marked, the code can be pasted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ablation.design.compose import VAE, build
from ablation.design.spec import preset
from ablation.explain.modes import EAGER, MODES, Mode, _judged, _result, run_modes
from ablation.explain.prepared import prepared
from ablation.explain.remedies import rank_remedies, spec_remedies
from ablation.faster.optimise import example, optimise
from ablation.faster.runtimes import RUNTIMES, openvino_core
from ablation.faster.steps import check_steps
from ablation.measure.latency.interleave import Run
from ablation.measure.latency.result import LatencyComparison, summarise
from ablation.record.explanation import KEEPS, OTHER, REDUCED, SAME, ModeResult
from blocks.errors import InputError

FIRST = build(preset("small").replace(image_size=32), seed=0)
SECOND = build(preset("small_modified").replace(image_size=32), seed=0)


def test_every_mode_has_steps_that_exist() -> None:
    for mode in MODES.values():
        if mode.runtime is None:
            check_steps(mode.steps, torch.device("cuda"))
        elif RUNTIMES[mode.runtime].devices != ("cuda",):
            check_steps(mode.steps, torch.device("cpu"))
    assert {mode.runtime for mode in MODES.values()} - {None} == set(RUNTIMES)
    assert next(iter(MODES)) == EAGER
    assert MODES[EAGER].steps == ()


def test_a_quick_run_accounts_for_every_mode() -> None:
    results = run_modes(FIRST, SECOND, budget_s=4, quick=True, rounds=(3, 6), sittings=1)
    assert [result.mode for result in results] == list(MODES)
    for result in results:
        mode = MODES[result.mode]
        if mode.needs_cuda:
            assert result.reason == "needs a CUDA device"
        elif mode.runtime == "tensorrt":
            assert result.reason == "does not run on cpu"
        elif mode.slow:
            assert "quick" in result.reason
        elif mode.runtime and result.reason:
            assert result.reason == "left out: 50% of the 4 s were spent before it could be prepared"
        else:
            assert result.reason == ""
            assert result.max_error is not None
            assert result.max_error < (5e-2 if "bf16" in mode.steps else 1e-5)
        assert (result.ratio is None) == bool(result.reason)
        # one sitting: values, no interval
        assert (result.ratio_low, result.second_gain_low, result.keeps in KEEPS) == (None, None, True)
    eager = results[0]
    assert (eager.first_gain, eager.second_gain, eager.max_error) == (1.0, 1.0, 0.0)


def test_a_failing_mode_is_marked_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", unusable)
    results = {r.mode: r for r in run_modes(FIRST, SECOND, names=["compiled", "folded"], budget_s=600, rounds=(2, 3), sittings=1)}
    assert list(results) == [EAGER, "folded", "compiled"]
    assert results["compiled"].reason == "RuntimeError: no working C++ compiler"
    assert results["compiled"].ratio is None
    assert results["folded"].ratio is not None


def test_a_spent_budget_leaves_compiling_out_and_says_so() -> None:
    results = {r.mode: r for r in run_modes(FIRST, SECOND, names=["folded", "compiled"], budget_s=0.01, rounds=(2, 2), sittings=1)}
    assert "left out: 50% of the 0.01 s" in results["compiled"].reason


def test_every_mode_says_what_it_keeps() -> None:
    assert {name for name, mode in MODES.items() if mode.keeps == OTHER} == {"inference only"}
    assert {name for name, mode in MODES.items() if mode.keeps == REDUCED} == {
        name for name in MODES if {"bf16", "int8"} & set(name.split())
    }


def compared(ms: list[float], sittings: int = 3) -> LatencyComparison:
    """Eager and folded, first and second each, on a machine whose speed changes from round to round and from load to load."""
    rounds, rng = 6 * sittings, np.random.default_rng(0)
    speed = rng.uniform(1, 30, (rounds, 1))
    loads = np.repeat(np.exp(rng.normal(0, 0.01, (sittings, 5))), 6, axis=0)
    names = [f"{mode}: {which}" for mode in (EAGER, "folded") for which in ("first", "second")]
    run = Run(samples={"call": speed * loads * np.array([*ms, ms[0]])}, sittings=np.repeat(np.arange(sittings), 6).tolist())
    return summarise(names, names[0], run, target_half_width=0.01, provenance={})


def test_ratios_and_gains_are_paired_by_round_with_intervals_over_sittings() -> None:
    times = compared([1.0, 6.0, 1.0, 2.0])
    result = _result("folded", (FIRST, SECOND), "", times)
    assert (result.ratio, result.first_gain, result.second_gain) == pytest.approx((2, 1, 3), rel=0.03)
    assert result.ratio_low is not None
    assert result.ratio_high is not None
    # two loads of 1 % each over three sittings: 0.8 %, times 4.3
    assert 0.002 < result.ratio_high / result.ratio_low - 1 < 0.2
    assert (result.rounds, result.sittings, result.keeps) == (18, 3, SAME)
    bare = _result("folded", (FIRST, SECOND), "", compared([1.0, 6.0, 1.0, 2.0], sittings=2))
    assert (bare.ratio_low, bare.second_gain_low, bare.rounds) == (None, None, 12)
    eager = _result(EAGER, (FIRST, SECOND), "", times)
    assert (eager.second_gain, eager.second_gain_low) == (1.0, None)


def test_verdicts_are_corrected_over_all_modes() -> None:
    times = compared([1.0, 6.0, 1.0, 2.0], sittings=5)
    eager, folded = _judged([_result(name, (FIRST, SECOND), "", times) for name in (EAGER, "folded")], times)
    assert (eager.ratio_verdict, folded.ratio_verdict, folded.gain_verdict) == ("settled", "settled", "settled")
    assert eager.gain_verdict == ""
    times = compared([1.0, 1.0, 1.0, 1.0], sittings=5)
    results = _judged([_result(name, (FIRST, SECOND), "", times) for name in (EAGER, "folded")], times)
    assert "settled" not in {m.ratio_verdict for m in results} | {results[1].gain_verdict}


def test_a_prepared_network_is_loaded_anew_for_every_sitting() -> None:
    """Its weights lie elsewhere, it computes the same, and what was compiled stays."""
    made = optimise(SECOND, steps=["fold", "channels_last"])
    x = example(SECOND, 2)
    torch.manual_seed(0)
    before, where = made(x), [tensor.data_ptr() for tensor in made.parameters()]
    strides = [tensor.stride() for tensor in made.parameters()]
    with torch.inference_mode():  # as compare_latency does
        assert copy.deepcopy(made) is made
    torch.manual_seed(0)
    after = made(x)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    moved = [tensor.data_ptr() for tensor in made.parameters()]
    assert all(a != b for a, b in zip(where, moved, strict=True))
    assert strides == [tensor.stride() for tensor in made.parameters()]
    assert not any(tensor.is_inference() for tensor in made.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"names": ["fast"]}, "A mode must be one of eager"), ({"budget_s": 0}, "budget_s"), ({"device": "cuda:99"}, "GPU")],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_modes(FIRST, SECOND, **arguments)  # type: ignore[arg-type]


def test_networks_for_other_images() -> None:
    with pytest.raises(InputError, match="the same for both"):
        run_modes(FIRST, build(preset("small")))
    with pytest.raises(InputError, match="input_shape"):
        run_modes(FIRST, torch.nn.Identity())


def head(width: int) -> nn.Module:
    """A network that is no VAE and takes no image: the rules reach its sequence."""
    return nn.Sequential(nn.Conv2d(5, width, 3), nn.BatchNorm2d(width), nn.ELU(), nn.AvgPool2d(2), nn.Conv2d(width, 2, 1)).eval()


def test_any_module_runs_in_the_modes_that_need_no_vae() -> None:
    names = ["inference only", "channels_last", "bf16", "folded", "reordered", "folded + reordered", "compiled"]
    results = {
        r.mode: r for r in run_modes(head(4), head(8), input_shape=(5, 9, 7), names=names, budget_s=60, rounds=(2, 3), sittings=1)
    }
    assert [r.mode for r in results.values() if r.reason] == ["inference only"]
    assert "must be a VAE" in results["inference only"].reason
    for name in names[1:]:
        assert results[name].ratio is not None
        assert 0 <= (results[name].max_error or 0.0) < (5e-2 if name == "bf16" else 1e-5)
    folded = prepared(head(4), MODES["folded"].steps, torch.rand(1, 5, 9, 7))
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    where = next(folded.parameters()).data_ptr()
    assert copy.deepcopy(folded) is folded
    assert next(folded.parameters()).data_ptr() != where


def test_a_module_that_takes_a_vector_keeps_its_outputs() -> None:
    made = prepared(nn.Sequential(nn.Linear(6, 3), nn.ELU()).eval(), ["channels_last", "bf16"], torch.rand(2, 6))
    assert made.errors.keys() == {"output 0"}
    assert made(torch.rand(2, 6)).dtype == torch.float32


def mode(name: str, gain: float | None, low: float | None = None) -> ModeResult:
    return ModeResult(
        mode=name,
        text=MODES[name].text,
        keeps=MODES[name].keeps,
        second_gain=gain,
        second_gain_low=low,
        second_gain_high=gain,
        max_error=1e-6,
    )


def test_remedies_are_ranked_by_gain_and_those_without_are_left_out() -> None:
    modes = [
        mode(EAGER, 1.0, 1.0),
        mode("folded", 1.1, 1.05),
        mode("bf16", 1.02, 0.9),
        mode("reordered", 1.6, 1.5),
        mode("compiled", None),
    ]
    specs = [("plain decoder", preset("small"), 1.3)]
    doubtful = ModeResult(**{**vars(mode("folded", 1.1, 1.05)), "gain_verdict": "not settled"})
    assert rank_remedies([doubtful]) == (), "its own interval is above 1, but not once corrected over all modes"
    assert [r.name for r in rank_remedies(modes, specs=specs)] == ["reordered", "folded", "plain decoder"]


def test_remedies_are_ranked_by_what_they_keep() -> None:
    modes = [mode("inference only", 5.0, 4.0), mode("bf16", 4.0, 3.0), mode("folded", 1.1, 1.05), mode("reordered", 1.6, 1.5)]
    remedies = rank_remedies(modes, specs=[("plain decoder", preset("small"), 9.0)])
    assert [r.name for r in remedies] == ["reordered", "folded", "bf16", "inference only", "plain decoder"]
    assert [r.keeps for r in remedies] == [SAME, SAME, REDUCED, OTHER, ""]


def quick_to_prepare(mode: Mode) -> bool:
    return bool(mode.steps) and mode.runtime != "tensorrt" and not mode.needs_cuda and (not mode.slow or "int8" in mode.steps)


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if quick_to_prepare(mode)])
def test_the_code_of_a_mode_can_be_pasted(name: str) -> None:
    [remedy] = rank_remedies([mode(name, 2.0, 1.9)])
    assert ("calibration" in remedy.code) == ("int8" in name)
    space: dict[str, object] = {"model": FIRST, "x": example(FIRST, 1)}
    if name == "OpenVINO + bf16" and "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(RuntimeError, match="this CPU does not compute in bfloat16"):
            exec(remedy.code, space)
        return
    exec(remedy.code, space)
    reconstruction, made = space["reconstruction"], space["fast"]
    assert isinstance(reconstruction, torch.Tensor)
    assert reconstruction.shape == (1, 3, 32, 32)
    assert set(made.steps) == set(MODES[name].steps)  # type: ignore[attr-defined]


def test_the_code_of_a_spec_builds_it() -> None:
    spec = preset("small_modified").replace(decoder_connectivity="plain")
    [remedy] = spec_remedies([("plain decoder", spec, 1.5, 1.4, 1.6)])
    space: dict[str, object] = {}
    exec(remedy.code, space)
    assert isinstance(space["model"], VAE)
    assert space["model"].spec == spec
    assert (remedy.gain, remedy.gain_low, remedy.gain_high, remedy.max_error) == (1.5, 1.4, 1.6, None)
