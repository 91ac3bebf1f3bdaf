"""Networks named by the callable that makes them: reading, identity, inputs, and what is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ablation.design.call_text import is_callable_path
from ablation.design.callable_spec import LEFT_OUT, CallableSpec
from ablation.design.inputs import Input
from ablation.design.network import spec_from_dict
from ablation.measure.costs.static import static_cost
from blocks.errors import InputError

NETS = """
import random
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8, dense=False, **more):
        super().__init__()
        if width == 13:
            raise ValueError("width must not be 13")
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU()) if dense else nn.Identity()
        self.out = nn.Linear(width, more.get("classes", 10))

    def forward(self, x):
        return self.out(self.hidden(self.stem(x).mean((2, 3))))

def make(width=8, dense=False, **more):
    return Net(width, dense, **more)

def needs(width):
    return Net(width)

class Text(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.embedding, self.out = nn.Embedding(50, width), nn.Linear(width + 3, 2)

    def forward(self, ids, numbers):
        return self.out(torch.cat([self.embedding(ids).mean(1), numbers], 1))

    def example_input(self):
        return torch.full((2, 7), 49), torch.rand(2, 3)

def text(width):
    return Text(width)

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 6)

    def forward(self, x):
        return self.out(x) if x.sum() > 0 else x

def three():
    return 3

def changing():
    return nn.Linear(4, random.randint(1, 10**6))

constant = 3
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own, in the folder where the command is run."""
    (tmp_path / "own_nets.py").write_text(NETS)
    (tmp_path / "broken_nets.py").write_text("import missing_package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own_nets", "broken_nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def read(text: str, *inputs: str) -> CallableSpec:
    return CallableSpec.read(text, inputs or ("3x8x8",))


def test_a_call_and_its_positional_and_default_arguments_are_one_network() -> None:
    specs = [read(f"own_nets:make({inner})") for inner in ("16, True", "width=16, dense=True", "dense=True, width=16")]
    assert len({spec.network_key for spec in specs}) == 1
    assert read("own_nets:make(width=8)").network_key == read("own_nets:make").network_key == read("own_nets:make()").network_key
    assert read("own_nets:make(width=9)").network_key != read("own_nets:make").network_key
    assert read("own_nets:make", "3x9x9").network_key != read("own_nets:make").network_key
    assert spec_from_dict(specs[0].to_dict()) == specs[0]


def test_a_changed_file_is_another_network(nets: Path) -> None:
    before = read("own_nets:make").network_key
    (nets / "own_nets.py").write_text(NETS.replace("padding=1", "padding=0"))
    assert read("own_nets:make").network_key == before, "what is loaded is what counts"
    del sys.modules["own_nets"]
    assert read("own_nets:make").network_key != before


def test_weights_come_from_the_seed_and_leave_the_generator_alone() -> None:
    spec, state = read("own_nets:make"), torch.random.get_rng_state()
    first, second, other = (spec.build(seed).state_dict()["out.weight"] for seed in (0, 0, 1))  # type: ignore[operator]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_arguments_that_are_left_out_are_the_callables_own() -> None:
    spec = read("own_nets:make(classes=5)")
    assert spec.arguments == {"classes": 5}
    assert spec.replace(classes=LEFT_OUT) == read("own_nets:make")
    assert spec.code == "from own_nets import make\n\nmodel = make(classes=5)\n"


def test_several_and_whole_inputs_are_those_of_the_module() -> None:
    spec = CallableSpec.read("own_nets:Text")
    assert spec.inputs == (Input((7,), 50), Input((3,)))
    assert spec == CallableSpec.read("own_nets:Text", ("7:50", "3"))
    model, cost = spec.build(seed=0).eval(), static_cost(spec, batch_size=2)
    assert model(torch.zeros(5, 1)).shape == (5, 2)
    assert [name for name, _ in model.named_children()] == ["embedding", "out"]
    assert cost.macs == 2 * 11 * 2
    assert cost.params == 50 * 8 + 11 * 2 + 2


def test_control_flow_that_depends_on_values_is_counted_by_a_run() -> None:
    spec = CallableSpec.read("own_nets:Branching", ("4",))
    cost = static_cost(spec)
    assert (cost.executed, cost.macs, cost.to_dict()["executed"]) == (True, 24, True)
    assert "executed" not in static_cost(read("own_nets:make")).to_dict()
    assert static_cost(nn.Linear(4, 6), input_shape=(4,)).macs == cost.macs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no_nets:make", "importable, as torchvision.models:resnet18 or .* There is no such module"),
        ("broken_nets:make", "importable.*missing_package"),
        ("own_nets:mak", "a callable of own_nets. Got 'mak' instead. Did you mean 'make'"),
        ("own_nets:constant", "a callable that returns a module.*int"),
        ("own_nets:make(", "A network must be written as"),
        ("own_nets:make(width=x)", "numbers, text, true, false, None"),
        ("own_nets:make(**x)", "A network must be written as"),
        ("own_nets:needs", "missing a required argument: 'width'.*It takes"),
        ("own_nets:needs(depth=3)", "The arguments of a network must be those that own_nets:needs takes"),
        ("own_nets:make(width=13)", r"own_nets:make\(width=13\) cannot be made: width must not be 13"),
        ("own_nets:three", "What own_nets:three returns must be a torch.nn.Module. Got 'int'"),
        ("own_nets:changing", "the same network at every call"),
    ],
)
def test_what_makes_no_network_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", ["", "3x", "0x3", "3x-1", "axb", "8:", "8:0", "8:x"])
def test_an_input_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="--input must be sizes without the batch"):
        Input.read(size)


def test_an_input_that_the_network_does_not_take_or_nobody_gave() -> None:
    with pytest.raises(InputError, match=r"a network that runs on 5x8x8 \(its input\). Got 'RuntimeError"):
        read("own_nets:make", "5x8x8")
    with pytest.raises(InputError, match="The input must be given for own_nets:make"):
        CallableSpec.read("own_nets:make")


def test_presets_and_files_are_no_callables() -> None:
    assert not any(map(is_callable_path, ("original", "small,head=pooled", "a.toml", "C:/nets/a.toml", r"C:\nets\a.json")))
