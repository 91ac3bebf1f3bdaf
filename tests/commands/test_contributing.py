"""CONTRIBUTING.md: what it shows is taken out of it and really run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.record.trial import METRICS, Metric, Record, shown

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def shown_file(name: str) -> str:
    """The only fenced block whose first line is a comment with this name."""
    (text,) = [body for _, body in FENCES if body.startswith(f"# {name}\n")]
    return str(text)


def command(start: str) -> list[str]:
    """The only line of a shell block that starts so, as arguments for this interpreter."""
    lines = [line for kind, body in FENCES if kind == "bash" for line in body.splitlines()]
    (line,) = [line for line in lines if line.startswith(start)]
    return [sys.executable, *shlex.split(line, comments=True)[1:]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("contributing")
    for name in ("my_blocks.py", "my_space.toml"):
        (made / name).write_text(shown_file(name), encoding="utf-8")
    return made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # from the repository's root, as a reader does, with the reader's two files beside it
    path = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_new_piece_keeps_the_contract(folder: Path) -> None:
    done = run(folder, *command("python -m pytest tests/blocks/test_blocks.py"), "-p", "no:cacheprovider", "-vv", "-n", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert re.search(r"\d+ passed", last)
    assert not re.search(r"failed|skipped|error", last)
    tests = set(re.findall(r"::(test_\w+)\[\S*blur\S*\] PASSED", done.stdout))
    assert tests >= {
        "test_shapes_and_type_are_the_familys_and_the_input_stays",
        "test_gradients_reach_input_and_every_parameter",
        "test_save_and_load",
        "test_same_seed_same_weights_and_outputs",
        "test_docstring_of_its_own",
        "test_composes_and_learns_in_a_network",
    }
    # a formula is asked of our own pieces only
    assert "test_number_of_parameters" not in tests


def test_a_broken_piece_fails_the_contract(folder: Path, tmp_path: Path) -> None:
    # without its stride the piece keeps height and width, which the family forbids
    (tmp_path / "my_blocks.py").write_text(shown_file("my_blocks.py").replace("stride=2, ", ""), encoding="utf-8")
    done = run(tmp_path, *command("python -m pytest tests/blocks/test_blocks.py"), "-p", "no:cacheprovider", "-x", "-n", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_shapes_and_type_are_the_familys_and_the_input_stays[cpu-down-blur-1-8x8]" in done.stdout


def test_the_space_makes_two_networks_of_which_one_blurs(folder: Path) -> None:
    code = """
import my_blocks, pathlib, sys, torch
from ablation.design.compose import build
from ablation.design.space import load_space
networks, invalid = load_space(pathlib.Path(sys.argv[1])).enumerate()
assert not invalid
for network in networks:
    model = build(network.spec, seed=0)
    blurs = [m for m in model.modules() if isinstance(m, my_blocks.Blur)]
    print(network.spec.down, len(blurs), *model(torch.rand(1, 3, 48, 48))[0].shape)
# the middle pixel of an impulse at an even place keeps 1/4, and nothing is lost inside
x = torch.zeros(1, 2, 8, 8)
x[:, :, 4, 4] = 1
print(my_blocks.Blur(2)(x)[0, 1, 2, 2].item(), my_blocks.Blur(2)(torch.ones(1, 2, 8, 8))[0, 1, 1:, 1:].unique().item())
"""
    done = run(folder, sys.executable, "-c", code, str(folder / "my_space.toml"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["max 0 1 3 48 48", "blur 4 1 3 48 48", "0.25 1.0"]


def test_an_unknown_plugin_is_told_in_one_line(folder: Path) -> None:
    done = run(folder, sys.executable, "-m", "pytest", "tests/blocks/test_blocks.py", "--plugin", "no_such_module", "-n", "0")
    assert done.returncode == 4
    expected = (
        "ERROR: --plugin must be a module that Python can import. Got 'no_such_module' instead. No module named 'no_such_module'."
    )
    assert done.stderr.strip().splitlines()[-1] == expected


def test_the_commands_go_together(folder: Path) -> None:
    study = command("python -m studies.run grid")
    assert study[3:] == ["grid", "--space", "my_space.toml", "--plugin", "my_blocks"]
    assert (folder / study[5]).is_file()
    assert (folder / f"{study[7]}.py").is_file()


def test_the_metric_is_one_line_of_the_table() -> None:
    (new,) = eval("{" + shown_file("metric") + "}", {"Metric": Metric}).items()
    name, metric = new
    assert name not in METRICS
    record = Record(network_key="0", label="x", seed=0, quality={"reporting": {name: 0.25}})
    assert shown(record, metric) == 0.25
    assert shown(Record(network_key="0", label="x", seed=0), metric) is None


def test_the_layout_names_what_is_there() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("##")[0]
    rooms = re.findall(r"`([\w./]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")))
    assert {"blocks/", "ablation/design/", "studies/store/", "results/", "tests/"} <= set(rooms)
    assert [name for name in rooms if not (ROOT / name).exists() and not (ROOT / "studies" / name).exists()] == []


def test_the_formula_and_the_handle_count(tmp_path: Path) -> None:
    (tmp_path / "my_formula.py").write_text(shown_file("my_formula.py"), encoding="utf-8")
    code = """
import torch
from ablation.measure.costs.published import published_counts
from ablation.measure.costs.static import static_cost
from blocks.errors import InputError
class Bessel(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)
try:
    static_cost(Bessel(), image_size=4)
except InputError as error:
    print(error)
print(published_counts(Bessel(), 4)["fvcore_reason"])
import my_formula
print(static_cost(Bessel(), image_size=4).macs, published_counts(Bessel(), 4)["fvcore_flops"])
"""
    done = run(tmp_path, sys.executable, "-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr
    ours, theirs, counts = done.stdout.splitlines()
    assert "register_op('aten.special_bessel_j0'" in ours
    assert "register_handle('aten::special_bessel_j0'" in theirs
    # 2 x 3 x 4 x 4
    assert counts == "96 96"
