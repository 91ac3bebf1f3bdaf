"""`explain` and `cost` of networks that are no VAEs of ours, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ablation.explain.prepared import Prepared, prepared
from ablation.faster.steps import REWRITES
from ablation.record.explanation import Explanation
from ablation.record.stored import explanation_of
from studies.run import main
from tests.design.test_callable_spec import NETS

SHORT = ["--quick", "--budget", "3", "--batches", "1", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of the user's own."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return tmp_path


def explained(*words: str) -> Explanation:
    assert main(["explain", *words, *SHORT, "--out", "why"]) == 0
    return explanation_of(json.loads(Path("why/explanation.json").read_text()))


def test_arguments_that_differ_are_the_factors(capfd: pytest.CaptureFixture[str]) -> None:
    e = explained("own_nets:make", "own_nets:make(width=16, dense=True)", "--input", "3x8x8")
    assert e.factors == {"width": ("8", "16"), "dense": ("False", "True")}
    params = next(a for a in e.attributions if a.metric == "params")
    # by hand: width alone adds 8 channels to stem and output; the hidden layer has width x width + width
    alone, hidden = 8 * 28 + 8 * 10, (8 * 9, 16 * 17)
    assert params.from_start["width"].value == alone
    assert params.from_start["dense"].value == hidden[0]
    assert params.shapley["dense"].value == sum(hidden) / 2
    assert {a.metric for a in e.attributions} >= {"macs", "bytes_moved", "latency_ms", "peak_bytes"}
    assert {share.name for share in e.decompositions[1].by_part} == {"stem", "hidden", "out", "other"}
    assert "make(width=16, dense=True)" in capfd.readouterr().out
    openvino = next(m for m in e.modes if m.mode == "OpenVINO")
    assert openvino.second_ms is not None or openvino.reason


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_any_module_runs_in_a_runtime_and_not_beside_it(runtime: str) -> None:
    """The outputs are the runtime's own: with an operation of the module replaced afterwards they stay as they were."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ELU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    x = torch.rand(2, 3, 8, 8)
    made = prepared(model, (*REWRITES, runtime), x)
    assert isinstance(made, Prepared)
    assert made.elsewhere is not None
    assert list(made.elsewhere.sessions) == [(2, 3, 8, 8)]
    assert made.elsewhere.num_threads == torch.get_num_threads()
    assert made.max_error < 1e-5
    before = made(x)[0].clone()
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.zero_()
    assert torch.equal(made(x)[0], before)
    assert {kind for kind, _ in made.elsewhere.operations(x)} & {"Conv", "Convolution", "FusedConv"}


def test_different_callables_are_one_swap_and_outputs_may_differ() -> None:
    e = explained("own_nets:make(classes=5)", "own_nets:Net", "--input", "3x8x8")
    assert list(e.factors) == ["whole network"]
    assert any("outputs differ in shape" in limit and "gives 5" in limit for limit in e.limits)
    page = Path("why/explanation.md").read_text()
    # by hand: 3 x 3 x 3 x 8 at 8 x 8 places, and 8 to 5 or 10 classes
    assert f"which alone predict ×{(13824 + 80) / (13824 + 40):.3f} the time: each takes " in page
    assert not [mode.mode for mode in e.modes if mode.mode == "inference only"], "what needs the parts of a VAE is left out"


def test_networks_of_several_inputs_are_explained() -> None:
    e = explained("own_nets:Text", "own_nets:text(width=16)")
    assert e.factors == {"whole network": ("own_nets:Text", "own_nets:text(width=16)")}
    assert [point.reason for point in e.sweep] == ["", ""]
    # a graph of a network that holds its inputs is a constant: timing it would flatter without end
    reasons = {m.mode: m.reason for m in e.modes}
    assert not reasons["folded"]
    assert "The network must be of one input of floats" in reasons["OpenVINO"]
    assert "The network must be of one input of floats" in reasons["ONNX Runtime"]


def test_values_that_steer_are_said() -> None:
    e = explained("own_nets:Branching", "torch.nn:Linear(in_features=4, out_features=6)", "--input", "4")
    assert any("what it does depends on values" in limit for limit in e.limits)
    assert not any("outputs differ" in limit for limit in e.limits)


def test_cost_prints_exact_numbers_of_any_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "own_nets:make", "small", "--input", "3x48x48", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["network"] for row in rows] == ["make", "small"]
    assert int(rows[0]["macs"]) == 48 * 48 * 27 * 8 + 8 * 10
    assert main(["cost", "own_nets:make", "--input", "3x48x48", "--format", "json", "--by", "part"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert sum(row["macs"] for row in parts if row["part"] != "total") == parts[-1]["macs"] == int(rows[0]["macs"])


def test_a_network_that_is_named_twice_stands_once_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "own_nets:make", "own_nets:make", "--input", "3x8x8", "--format", "json"]) == 0
    assert [row["network"] for row in json.loads(capsys.readouterr().out)] == ["make"]


def test_gates_end_with_1_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    net = ["cost", "own_nets:make", "--input", "3x8x8"]
    assert main([*net, "--at-most", "params=314,macs=1M"]) == 0
    capsys.readouterr()
    assert main([*net, "--at-most", "params=313,macs=1M"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "make has 314 parameters, more than the 313 of --at-most"
    large = ["cost", "own_nets:make(width=256)", "--input", "3x48x48", "--budget", "1", "--device", "cpu"]
    assert main([*large, "--slower-than", "own_nets:make(width=1)", "1.1"]) == 1
    assert "more than the 1.1 times of --slower-than" in capsys.readouterr().err
    assert main(["cost", "own_nets:make(width=1)", *large[2:], "--slower-than", "own_nets:make(width=256)", "5"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cost", "NETWORK must be given"),
        ("cost small --input 3x8x8", "--input must be given with a callable"),
        ("cost own_nets:make", "The input must be given for own_nets:make"),
        ("cost own_nets:make small --input 3x8x8", "of one image size or input"),
        ("cost small --at-most latency=3ms", "--at-most must be on one of params, macs"),
        ("cost small --at-most depth=3", "The name of a --at-most must be"),
        ("cost small --slower-than original x", "--slower-than must be a network and a positive number"),
        ("cost small --slower-than small 2", "--slower-than must be another network than the first"),
        ("explain own_nets:make own_nets:make() --input 3x8x8", "must make different networks"),
        ("explain own_nets:make own_nets:gone --input 3x8x8", "a callable of own_nets. Got 'gone'"),
    ],
)
def test_wrong_input_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
