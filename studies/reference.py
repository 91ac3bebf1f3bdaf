"""`reference`: the results that the repository keeps, made by one command for the machine at hand, and the page that lists them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from ablation.data.sources import check_root
from ablation.machine.device import pick_device
from ablation.machine.hardware import hardware_name
from ablation.measure.latency.result import spanned
from blocks.errors import choices, must_be
from studies.bench.command import PARTS as BENCH_PARTS
from studies.options import ReferenceOptions

ROOT = Path("results/reference")
EXPECTED = ("h200",)  # hardware whose rows say "not measured" until its folder is there


# folders of studies, one for each machine by its name: two machines' trials are never one study
GRID, PAPER = Path("results/reference-grid"), Path("results/reference-paper")


def _table1(device: str, data_root: str) -> list[str]:
    return ["table1", "--device", device]


def _bench(device: str, data_root: str) -> list[str]:
    return ["bench", *(part for part in BENCH_PARTS if part != "coverage"), "--device", device]


def _coverage(device: str, data_root: str) -> list[str]:
    return ["bench", "coverage", "--device", device]


def _grid(device: str, data_root: str) -> list[str]:
    """On a CPU the small space, as its 144 px networks would take days; on a GPU every network between the paper's two."""
    size = ["--images", "1500", "--seeds", "3"]
    if device == "cuda":
        size = ["--image-size", "144", "--epochs", "10", "--seeds", "3", "--workers", "4"]
    return [
        "grid",
        "--data",
        "celeba",
        "--data-root",
        data_root,
        "--device",
        device,
        "--out",
        f"{GRID}-{hardware_name(device)}",
        *size,
    ]


def _explain(device: str, data_root: str) -> list[str]:
    """About 16 minutes on a CPU, 9 on a GPU at most, so that table1 and this fit into 12.

    A CPU needs this budget for the blocks in which each of the nine factors has an interval of its own. Table 1 has batch 32; an
    interval at 128 would take half an hour there.
    """
    size = ["--budget", "800", "--batches", "1", "8"] if device == "cpu" else ["--budget", "330"]
    return ["explain", "original", "modified", "--device", device, *size]


def _paper(device: str, data_root: str) -> list[str]:
    """On a CPU rendered faces at 48 px; on a GPU the paper's own networks on CelebA at 144 px."""
    data = ["--data", "celeba", "--data-root", data_root] if device == "cuda" else []
    return ["paper", "--device", device, "--out", f"{PAPER}-{hardware_name(device)}", *_explained(device), *data]


def _paper_celeba(device: str, data_root: str) -> list[str]:
    """The CPU's second study of the paper: real faces, at the size of the rendered ones, without Toledo and Antonelo's masks."""
    size = ["--images", "2000", "--groups", "models", "pieces"]
    data = ["--data", "celeba", "--data-root", data_root]
    return ["paper", "--device", device, "--out", f"{PAPER}-celeba-{hardware_name(device)}", *_explained(device), *data, *size]


def _explained(device: str) -> list[str]:
    """The explanation of the pair, where this machine has one."""
    folder = ROOT / hardware_name(device) / "explain"
    return ["--explained", str(folder)] if (folder / "explanation.json").is_file() else []


# what answers most comes first, the longest last: a machine may be lent for less time than all of it takes
PARTS: dict[str, Callable[[str, str], list[str]]] = {
    "table1": _table1, "explain": _explain, "paper": _paper, "paper-celeba": _paper_celeba, "bench": _bench, "grid": _grid,
    "coverage": _coverage,
}  # fmt: skip
# parts that store nothing until they are whole, and the file that tells that they are; the others go on by themselves
ONE_SITTING = {"table1": "provenance.json", "bench": "bench.json", "coverage": "bench.json"}
# parts that are run in a folder of the user's own, and what the folder of their report is called
STUDIES = {"grid": "grid-celeba", "paper": "paper", "paper-celeba": "paper-celeba"}


def run_reference(options: ReferenceOptions) -> int:
    """Make the parts asked for under results/reference/HARDWARE/, and write its README again."""
    device = pick_device(options.device)
    for part in options.parts:
        if part not in PARTS:
            raise must_be("PART", choices(PARTS), part)
    parts = options.parts or list(PARTS)
    if device == "cuda" and "paper-celeba" in parts:
        if options.parts:
            raise must_be("PART", "paper with --device cuda, which is of CelebA at the paper's own size", "paper-celeba")
        parts.remove("paper-celeba")
    needing = [part for part in parts if part in ("grid", "paper-celeba") or (part == "paper" and device == "cuda")]
    rule = f"the folder of CelebA, for {' and '.join(needing)}"
    if needing and options.data_root is None:
        raise must_be("--data-root", rule, None, "Or name the other parts alone.")
    if options.data_root is not None:
        check_root("--data-root", rule if needing else "the folder of CelebA", options.data_root)
    code = 0
    for part in parts:
        kept = ROOT / hardware_name(device) / STUDIES.get(part, part)
        if not options.parts and part in ONE_SITTING and (kept / ONE_SITTING[part]).is_file():
            print(f"{part}: measured before, in {kept}; name it to measure it again")
        else:
            code = max(code, _make(part, PARTS[part](device, options.data_root), kept))
        if code >= 2:
            break
    if ROOT.is_dir():
        write_index(ROOT)
    return code


def _make(part: str, command: list[str], kept: Path) -> int:
    """Run a part and keep what it gives; the exit code, of a study or of its report."""
    if part not in STUDIES:
        return _run([*command, "--out", str(kept)])
    code = _run(command)
    return code if code >= 2 else max(code, _run(["report", command[command.index("--out") + 1], "--to", str(kept)]))


def _run(command: list[str]) -> int:
    """The exit code of a part in a process of its own, so that nothing of it (profiler, threads, memory) slows the next.

    In a session of its own too: Ctrl-C, or the end of the terminal, reaches it once, through this process, as often as it comes.
    """
    process: subprocess.Popen[bytes] | None = None
    came = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if process:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "studies.run", *command], stdin=subprocess.DEVNULL, start_new_session=True
        )
        if came:  # while it was being started
            pass_on(signal.SIGINT, None)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        return 130  # whatever it made of the signal, as a program that was still being loaded
    return code if code >= 0 else 128 - code


def write_index(root: Path) -> Path:
    """The page of all hardware that was measured, with what was not."""
    found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    names = [*found, *(name for name in EXPECTED if name not in found)]
    command = "python -m studies.run reference --device DEVICE --data-root CELEBA"
    lines = ["# Reference results", "", f"Made by `{command}`, which fills what is missing."]
    lines += [
        "Each folder holds its numbers with seed, data, hardware, packages and command: in `provenance.json` or its own JSON."
    ]
    lines += [""]
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
        # an interval of an earlier version rests on the rounds of one sitting
        ends = [("low", "high") if "sittings" in table[batch] else ("", "") for batch in ("1", "32")]
        ratios = [
            spanned(table[batch]["ratio"], table[batch].get(low), table[batch].get(high), digits=2)
            for batch, (low, high) in zip(("1", "32"), ends, strict=True)
        ]
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
    """How many of the paper's claims hold there, by study."""
    cells = []
    for study in ("paper", "paper-celeba"):
        path = folder / study / "ledger.json"
        if path.is_file():
            ledger = json.loads(path.read_text())
            kinds = [verdict["kind"] for name, verdict in ledger["verdicts"].items() if name.startswith("C")]
            several = {"holds": "hold", "fails": "fail", "undecided": "undecided"}
            counts = ", ".join(
                f"{num} {kind if num == 1 else word}" for kind, word in several.items() for num in (kinds.count(kind),)
            )
            cells.append(f"{ledger.get('scale', {}).get('data', study)}: [{counts}]({folder.name}/{study}/paper.md)")
    return "; ".join(cells) or "not measured"
