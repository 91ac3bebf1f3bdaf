"""Networks that callables make, exported: every format on several inputs, loaded again, and what is refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import ablation
from ablation.design.callable_spec import CallableSpec
from ablation.export.any import export_any
from ablation.export.write import Origin
from blocks.errors import InputError
from studies.run import main

NETS = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.embedding, self.conv, self.norm = nn.Embedding(9, width), nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.norm.running_mean.uniform_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, ids, image):
        x = self.norm(self.conv(image)).mean((2, 3))
        return {"sum": x + self.embedding(ids).mean(1), "image": x}

def two(width=4):
    return Two(width)

class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(x) if x.sum() > 0 else self.out(-x)

def branches():
    return Branches()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "any_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "any_nets", raising=False)
    return tmp_path


def exported(*words: str) -> int:
    return main(["export", *words, "--to", "there", "--budget", "0.4", "--latency-batches", "1"])


def test_several_inputs_and_outputs_in_every_format(capfd: pytest.CaptureFixture[str]) -> None:
    assert exported("any_nets:two(width=5)", "--input", "7:9", "--input", "3x8x8") == 0
    names = {path.name for path in Path("there").iterdir()}
    assert names == {
        "model.safetensors", "config.json", "preprocess.json", "parity.json", "README.md", "model.pt2", "model.onnx", "model.xml",
        "model.bin",
    }  # fmt: skip
    parity = json.loads(Path("there/parity.json").read_text())["formats"]
    assert all(each["largest_error"] < 1e-5 and each["latency"]["1"]["ms"] > 0 for each in parity.values())
    assert json.loads(Path("there/preprocess.json").read_text())["inputs"] == [
        {"shape": ["N", 7], "dtype": "int64", "below": 9}, {"shape": ["N", 3, 8, 8], "dtype": "float32"},
    ]  # fmt: skip
    model = ablation.load("there", trust=True)
    ids, image = torch.randint(9, (3, 7)), torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        expected = model(ids, image)
    session = onnxruntime.InferenceSession("there/model.onnx")
    made = session.run(None, {"input": ids.numpy(), "input 1": image.numpy()})
    assert np.allclose(made[0], expected["sum"], atol=1e-5)
    assert np.allclose(made[1], expected["image"], atol=1e-5)
    card = Path("there/README.md").read_text()
    assert "`any_nets:two(width=5)` makes" in card
    assert "It was not trained here" in card
    assert '"input 1": input_1' in card
    assert "largest error" in capfd.readouterr().out


def test_what_a_format_cannot_express_is_left_out_with_its_reason(capfd: pytest.CaptureFixture[str]) -> None:
    assert exported("any_nets:branches", "--input", "4") == 1
    out = capfd.readouterr().out
    assert "torch.export     not written: " in out
    assert "it branches on values of its input" in out
    assert {path.suffix for path in Path("there").iterdir()} == {".safetensors", ".json", ".md"}
    assert ablation.load("there", trust=True).out.in_features == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("any_nets:two", "example_input"),
        ("any_nets:gone --input 3", "a callable of any_nets"),
        ("any_nets:branches --input 4 --int8", "--int8 must be left out"),
        ("any_nets:branches --input 4 --sample", "--sample must be left out"),
        ("any_nets:branches --input 4 --image-size 3", "--image-size must be left out"),
        ("small --input 4", "--input must be left out"),
        ("nowhere:3", "There is no such folder"),
    ],
)
def test_wrong_input_is_one_line(words: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exported(*words.split()) == 2
    err = capfd.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("there").exists()


def test_an_export_whose_callable_is_gone_says_so() -> None:
    spec = CallableSpec.read("any_nets:two", ["7:9", "3x8x8"])
    origin = Origin(name="two", trained=False, source="here")
    export_any(spec, spec.build_plain(0).eval(), "there", origin, plain=True, batches=(1,), budget_s=0.3)
    Path("any_nets.py").unlink()
    del sys.modules["any_nets"]
    with pytest.raises(InputError, match="trust=True where you know who wrote"):
        ablation.load("there")
    with pytest.raises(InputError, match="no such module"):
        ablation.load("there", trust=True)
