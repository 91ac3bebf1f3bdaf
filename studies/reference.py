"""`reference`: the results that the repository keeps, made by one command for the machine at hand, and the page that lists them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.timing.hardware import hardware_name
from blocks.errors import choices, must_be
from studies.grid import pick_device

ROOT = Path("results/reference")
EXPECTED = ("h200",)
# hardware whose rows say "not measured" until its folder is there


GRID, PAPER = Path("results/reference-grid"), Path("results/reference-paper")


def _table1(device: str, data_root: str) -> list[str]:
    return ["table1", "--device", device]


def _bench(device: str, data_root: str) -> list[str]:
    return ["bench", "--device", device]


def _grid(device: str, data_root: str) -> list[str]:
    """On a CPU the small space, as its 144 px networks would take days; on a GPU every network between the paper's two."""
    size = ["--images", "1500", "--seeds", "3"]
    if device == "cuda":
        size = ["--image-size", "144", "--epochs", "10", "--seeds", "3", "--workers", "4"]
    return ["grid", "--data", "celeba", "--data-root", data_root, "--device", device, "--out", f"{GRID}-{device}", *size]


def _explain(device: str, data_root: str) -> list[str]:
    """On a CPU the paper's pair takes this long until each of its nine factors has an interval of its own."""
    budget = ["--budget", "800"] if device == "cpu" else []
    return ["explain", "original", "modified", "--device", device, *budget]


def _paper(device: str, data_root: str) -> list[str]:
    """On a CPU rendered faces at 48 px; on a GPU the paper's own networks on CelebA at 144 px."""
    data = ["--data", "celeba", "--data-root", data_root] if device == "cuda" else []
    explained = ROOT / hardware_name(device) / "explain"
    known = ["--explained", str(explained)] if (explained / "explanation.json").is_file() else []
    return ["paper", "--device", device, "--out", f"{PAPER}-{device}", *known, *data]


PARTS: dict[str, Callable[[str, str], list[str]]] = {
    "table1": _table1, "bench": _bench, "explain": _explain, "grid": _grid, "paper": _paper,
}  # fmt: skip
STUDIES = {"grid": "grid-celeba", "paper": "paper"}
# parts that are run in a folder of the user's own, and what the folder of their report is called


def run_reference(options: argparse.Namespace) -> int:
    """Make the parts asked for under results/reference/HARDWARE/, and write its README again."""
    from studies.run import main

    device = pick_device(options.device)
    for part in options.parts:
        if part not in PARTS:
            raise must_be("PART", choices(PARTS), part)
    parts = options.parts or list(PARTS)
    needing = [part for part in parts if part == "grid" or (part == "paper" and device == "cuda")]
    if needing and options.data_root is None:
        rule = f"the folder of CelebA, for {' and '.join(needing)}"
        raise must_be("--data-root", rule, None, "Or name the other parts alone.")
    target = ROOT / hardware_name(device)
    code = 0
    for part in parts:
        command = PARTS[part](device, options.data_root)
        kept = target / STUDIES.get(part, part)
        code = max(code, main([*command, *([] if part in STUDIES else ["--out", str(kept)])]))
        if code >= 2:
            return code
        if part in STUDIES:
            code = max(code, main(["report", command[command.index("--out") + 1], "--to", str(kept)]))
    write_index(ROOT)
    return code


def write_index(root: Path) -> Path:
    """The page of all hardware that was measured, with what was not."""
    found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    names = [*found, *(name for name in EXPECTED if name not in found)]
    command = "python -m studies.run reference --device DEVICE --data-root CELEBA"
    lines = ["# Reference results", "", f"Made by `{command}`, which fills what is missing."]
    lines += ["Each folder holds its numbers with seed, data, hardware, packages and command (`provenance.json`).", ""]
    lines += ["| hardware | modified over original, batch 1 | batch 32 | why | grid | the paper's claims | targets of `bench` |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cells(root / name)) + " |")
    path = root / "README.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _cells(folder: Path) -> list[str]:
    ratios = ["not measured", "not measured"]
    stored = folder / "table1" / "provenance.json"
    if stored.is_file():
        table = json.loads(stored.read_text())["ratios"]
        ratios = ["{ratio:.2f} ({low:.2f} to {high:.2f})".format(**table[batch]) for batch in ("1", "32")]
    trials = folder / "grid-celeba" / "trials.csv"
    grid = "not measured"
    if trials.is_file():
        states = pd.read_csv(trials)["state"]
        grid = f"[{int((states == 'complete').sum())} of {len(states)} trials](" + f"{folder.name}/grid-celeba/report.md)"
    bench, reached = folder / "bench" / "bench.json", "not measured"
    if bench.is_file():
        results: list[dict[str, Any]] = json.loads(bench.read_text())["results"]
        reached = f"[{sum(r['met'] for r in results)} of {len(results)} reached]({folder.name}/bench/bench.md)"
    why = "not measured"
    if (folder / "explain" / "explanation.md").is_file():
        why = f"[explained]({folder.name}/explain/explanation.md)"
    return [*ratios, why, grid, _claims(folder), reached]


def _claims(folder: Path) -> str:
    """How many of the paper's claims hold there."""
    ledger = folder / "paper" / "ledger.json"
    if not ledger.is_file():
        return "not measured"
    verdicts: dict[str, Any] = json.loads(ledger.read_text())["verdicts"]
    kinds = [verdict["kind"] for name, verdict in verdicts.items() if name.startswith("C")]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("holds", "fails", "undecided"))
    return f"[{counts}]({folder.name}/paper/paper.md)"
