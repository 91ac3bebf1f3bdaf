"""The README's way from a module to a table, its study of digits and its notebook, each run as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from ablation.design.space import read_toml
from studies.run import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_five_lines_lead_from_a_module_to_its_table(tmp_path: Path) -> None:
    block = re.search(r"<!-- five lines -->\n```sh\n(.*?)```", README, flags=re.DOTALL)
    assert block is not None
    lines = block[1].strip().splitlines()
    assert len(lines) == 5
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from studies.run import run; sys.exit(run())"
    script = block[1].replace("python -m studies.run", f'{sys.executable} -c "{path}"')
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "make(width=32, dense=True)" in done.stdout
    # by hand: 3072 x 16 + 16, and 16 x 10 + 10
    assert "49,338" in done.stdout


def test_the_study_of_digits_and_the_file_that_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"```toml\n(network = .*?)```", README, flags=re.DOTALL)
    (tmp_path / "shown.toml").write_text(shown)
    whole = read_toml(ROOT / "examples" / "digits.toml")
    assert {**read_toml(tmp_path / "shown.toml"), "defaults": whole["defaults"]} == whole
    assert whole["defaults"]["seeds"] == 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    words = ["grid", "--space", str(ROOT / "examples" / "digits.toml"), "--seeds", "2", "--latency-budget", "1", "--device", "cpu"]
    assert main([*words, "--out", "digits"]) == 0
    table = pd.read_csv("digits/report/table.csv")
    assert len(table) == 8
    assert (table["num_seeds"] == 2).all()
    assert table["accuracy"].between(0.8, 1).all(), "all learn; chance is 0.1"
    report = Path("digits/report/report.md").read_text()
    assert "separable: false to true" in report
    assert "loss" not in report.lower()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook, run from a copy in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(NOTEBOOK, folder)
    book = nbformat.read(folder / NOTEBOOK.name, 4)
    return NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()


def test_the_notebook_runs_and_shows_what_it_is_stored_with(executed: Any) -> None:
    stored = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(stored)

    def kinds(cell: Any) -> set[str]:
        data = {kind for output in cell.get("outputs", ()) for kind in output.get("data", {})}
        return data | {output["name"] for output in cell.get("outputs", ()) if output.get("name") == "stdout"}

    for now, before in zip(executed.cells, stored.cells, strict=True):
        assert now.source == before.source
        assert kinds(now) == kinds(before)
    assert sum("image/svg+xml" in kinds(cell) for cell in stored.cells) == 2
    counted = [output["data"]["text/plain"] for cell in stored.cells for output in cell.get("outputs", ()) if "data" in output]
    assert "142339" in counted[0], "what is counted is the same anywhere"
    assert counted[0] == next(o["data"]["text/plain"] for c in executed.cells for o in c.get("outputs", ()) if "data" in o)
