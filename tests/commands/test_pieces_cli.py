"""A grid with a piece of a user's own that cannot work, as a command: reported at the start, tried once, and the others go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablation import load
from ablation.design.space import load_space
from ablation.design.spec import ModelSpec
from ablation.machine.cores import num_cores, num_threads
from blocks import ACTIVATIONS
from blocks.errors import InputError
from studies.engine.config import StudyFolder
from studies.run import main
from studies.store.storage import open_storage, open_study
from studies.work.stopping import PARENT, StopRequest
from tests.tiny_grid import BASE

PIECE = '''
import torch
from torch import nn
from blocks import ACTIVATIONS


class Own(nn.ELU):
    """A piece for a test."""

{body}


@ACTIVATIONS.register("own")
def own():
    """A piece for a test."""
    return Own()
'''
GRID = ["grid", "--space", "space.toml", "--plugin", "own_piece", "--images", "40", "--epochs", "1", "--device", "cpu"]
GRID += ["--latency-budget", "1", "--latency-batches", "1", "--out", "results/own"]


@pytest.fixture
def place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(ACTIVATIONS, "_pieces", dict(ACTIVATIONS._pieces))
    monkeypatch.setattr(ACTIVATIONS, "_uses", dict(ACTIVATIONS._uses))
    space = BASE + '[factors]\nactivation = ["elu", "own"]\n'
    (place / "space.toml").write_text("\ufeff" + space, encoding="utf-8")  # as Windows editors write it
    yield place
    sys.modules.pop("own_piece", None)


def run(place: Path, body: str) -> int:
    (place / "own_piece.py").write_text(PIECE.format(body=body))
    return main(GRID)


def states() -> list[str]:
    study = open_study(open_storage(StudyFolder(Path("results/own")).journal), "own")
    return [trial.state.name for trial in study.get_trials()]


BROKEN = {
    "shape": ("    def forward(self, x):\n        return x[..., 1:] if x.dim() == 4 else x", ""),
    "nan": ("    def forward(self, x):\n        return x * float('nan')", "not finite"),
    "type": ("    def forward(self, x):\n        return x + None", "TypeError"),
    "counter": (
        "    n = 0\n\n    def forward(self, x):\n        self.n += self.training\n        return x * (1 + self.n)",
        "Register it as a buffer",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_piece_that_cannot_work_is_reported_at_the_start_and_recorded_once(
    place: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    body, words = BROKEN[name]
    assert run(place, body) == 1
    output = capfd.readouterr().err
    warning = next(line for line in output.splitlines() if "cannot be trained" in line)
    assert words in warning
    assert output.index(warning) < output.index("latency cpu/1")
    assert "Traceback" not in output
    assert sorted(states()) == ["COMPLETE", "FAIL"]
    assert main(GRID) == 1
    assert sorted(states()) == ["COMPLETE", "FAIL"]
    assert (place / "results/own/report/gallery.png").is_file()
    assert "Failed:" in (place / "results/own/report/report.md").read_text()


def test_lazy_layers_and_values_in_a_constructor_are_handled(place: Path) -> None:
    body = "    def __init__(self):\n        super().__init__(alpha=torch.linspace(1, 2, 3)[0].item())\n        "
    body += "self.scale = nn.LazyBatchNorm2d()\n\n    def forward(self, x):\n        "
    body += "return super().forward(self.scale(x) if x.dim() == 4 else self.scale(x[..., None, None])[..., 0, 0])"
    assert run(place, body) == 0
    assert states() == ["COMPLETE", "COMPLETE"]


def test_no_network_that_works_is_bad_input(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "space.toml").write_text(BASE + '[factors]\nactivation = ["own"]\n')
    assert run(place, BROKEN["nan"][0]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: No network of the study can be trained.")
    assert states() == []


# --- what surrounds a command


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3), ("4,2", 4), (" 2 , 1", 2), *((text, None) for text in ("", "0", "-1", "two", "1.5", ",", "²"))],
)
def test_any_number_of_threads_is_understood(monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert num_threads() == (expected or num_cores())
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() == num_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 30)
    assert num_threads() <= 1024


@pytest.mark.parametrize("text", ["", "x", "-3", "1.5"])
def test_a_parent_that_is_no_number_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PARENT, text)
    assert not StopRequest()()


def test_a_byte_order_mark_is_read_over(place: Path) -> None:
    (place / "marked.toml").write_text("\ufeff[factors]\nconv = ['standard']\n", encoding="utf-8")
    assert load_space(place / "marked.toml").factors.keys() == {"conv"}
    spec = ModelSpec()
    assert ModelSpec.from_toml("\ufeff" + spec.to_toml()) == ModelSpec.from_json("\ufeff" + spec.to_json()) == spec


NAMELESS = [("size", '""'), ("size", '" "'), ('""', "x")]
CONV = '[factors]\nconv = ["standard"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((f"[factors.{factor}]\n{level} = {{ latent_dim = 3 }}\n", "text") for factor, level in NAMELESS),
        *((f"name = {name}\n{CONV}", "name must be text") for name in ("3", '""')),
    ],
)
def test_names_without_text_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_space(tmp_path / "space.toml")
    assert "\n" not in str(caught.value)


def test_a_network_with_a_piece_of_a_user_s_own_is_exported(place: Path) -> None:
    (place / "own_piece.py").write_text(PIECE.format(body="    def forward(self, x):\n        return super().forward(x) + 0.1 * x"))
    arguments = ["export", "small,image_size=16,activation=own", "--to", "made", "--plugin", "own_piece"]
    assert main([*arguments, "--budget", "0.3", "--latency-batches", "1"]) == 0
    made = {path.name for path in Path("made").iterdir()}
    assert {"model.pt2", "model.onnx", "model.xml", "model.safetensors"} <= made
    config = json.loads(Path("made/config.json").read_text())
    assert config["plugins"] == ["own_piece"]
    assert load("made").spec.activation == "own"
    ACTIVATIONS._pieces.pop("own")
    with pytest.raises(InputError, match="Import first what registers its pieces: own_piece"):
        load("made")
