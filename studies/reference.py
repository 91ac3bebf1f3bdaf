"""`reference`: the results that the repository keeps, made by one command for the machine at hand, and the page that lists them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pandas as pd

from ablation.data.sources import check_root
from ablation.machine.device import pick_device
from ablation.machine.hardware import hardware_name
from ablation.measure.latency.result import spanned
from blocks.errors import choices, must_be
from studies.options import ReferenceOptions

ROOT = Path("results/reference")
VERDICTS = {"holds": "hold", "fails": "fail", "undecided": "undecided"}  # kind -> of several claims
EXPECTED = ("h200",)  # hardware whose rows say "not measured" until its folder is there
# folders of studies, one for each machine by its name: two machines' trials are never one study
GRID, PAPER, SEARCH = (Path(f"results/reference-{name}") for name in ("grid", "paper", "search"))


# 2,800 training images; limits a little below what the winner is to reach, 0.35 and 0.25, as a fresh sitting may say otherwise
SEARCHED = (
    *("--space", "search", "--reference", "original", "--images", "4000", "--epochs", "6", "--patience", "6", "--workers", "2"),
    *("--limit", "params=2.5M", "--limit", "latency=0.34x", "--limit", "latency@32=0.24x", "--budget", "75m"),
    *("--rates", "1e-4", "3e-4", "1e-3", "3e-3", "--confirm", "2", "--why-seeds", "1"),
)


# networks of others that are explained against the first: what multiply-accumulates predict, and what is measured
OTHERS = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0")
ANY = "any"


def _any(device: str) -> dict[str, list[str]]:
    """Part -> its command: each pair at batch 1, with both batch sizes side by side, and at 32."""
    first, *others = (f"torchvision.models:{name}" for name in OTHERS)
    budget = {1: "60", 32: "60"} if device == "cuda" else {1: "400", 32: "240"}
    made = {}
    for batch in (1, 32):
        at = ["--batch-size", str(batch), "--batches", *(("1", "32") if batch == 1 else ("32",)), "--budget", budget[batch]]
        for text, name in zip(others, OTHERS[1:], strict=True):
            part = f"{ANY}/{name}{'' if batch == 1 else f'-b{batch}'}"
            made[part] = ["explain", first, text, "--input", "3x224x224", "--device", device, *at]
    return made


def _confirmed_again() -> tuple[str, ...]:
    """On a GPU the winner of the CPU's search against the same reference, on more images: it may be lent for minutes only."""
    winner = ROOT / "cpu-2core-amd-epyc/search/winner.toml"
    return (
        *("--network", str(winner), "--reference", "original", "--images", "10000", "--epochs", "10", "--workers", "4"),
        *("--rates", "3e-4", "1e-3", "3e-3", "--learning-rate", "3e-3", "--reference-rate", "3e-4"),
        *("--confirm", "1", "--why-seeds", "0"),
    )


def commands(device: str, machine: str, data_root: str) -> dict[str, list[str]]:
    """Part -> its command. What answers most comes first, the longest last: a machine may be lent for less time than all takes."""
    cuda, on = device == "cuda", ["--device", device]
    celeba = ["--data", "celeba", "--data-root", data_root]
    explained = ROOT / machine / "explain"
    lent = ["--explained", str(explained)] if (explained / "explanation.json").is_file() else []
    # About 16 minutes on a CPU, 9 on a GPU at most, so that table1 and this fit into 12. A CPU needs this budget for the blocks in
    # which each of the nine factors has an interval of its own. Table 1 has batch 32; an interval at 128 would take half an hour.
    budget = ["--budget", "360"] if cuda else ["--budget", "880", "--batches", "1", "8"]
    # on a CPU the small space, as its 144 px networks would take days; on a GPU every network between the paper's two
    large, small = ["--image-size", "144", "--epochs", "10", "--seeds", "3", "--workers", "4"], ["--images", "1500", "--seeds", "3"]
    of_cpu = [] if cuda else ["runtimes", "precision"]
    return {
        "table1": ["table1", *on],
        "explain": ["explain", "original", "modified", *on, *budget],
        # on a CPU rendered faces at 48 px; on a GPU the paper's own networks on CelebA at 144 px
        "paper": ["paper", *on, "--out", f"{PAPER}-{machine}", *lent, *(celeba if cuda else [])],
        # the CPU's second study: real faces, at the size of the rendered ones, without Toledo and Antonelo's masks
        "paper-celeba": [
            *("paper", *on, "--out", f"{PAPER}-celeba-{machine}", *lent, *celeba),
            *("--images", "2000", "--groups", "models", "pieces"),
        ],
        "bench": ["bench", "static", "space", "latency", "training", "overhead", "kill", *of_cpu, *on],
        "grid": ["grid", *celeba, *on, "--out", f"{GRID}-{machine}", *(large if cuda else small)],
        "search": ["search", *(_confirmed_again() if cuda else SEARCHED), *celeba, *on, "--out", f"{SEARCH}-{machine}"],
        "coverage": ["bench", "coverage", *on],
        "chaos": ["bench", "chaos", "proxy", *on],
        **_any(device),
    }


PARTS = ("table1", "explain", "paper", "paper-celeba", "bench", "grid", ANY, "search", "coverage", "chaos")
# parts that store nothing until they are whole, and the file that shows that they are; the others go on by themselves
ONE_SITTING = {"table1": "provenance.json", "bench": "bench.json", "coverage": "bench.json", "chaos": "bench.json"}
OF_CPU = ("paper-celeba", "chaos")  # parts that a GPU has no share in
# parts that are run in a folder of the user's own, and what the folder of their report is called
STUDIES = {"grid": "grid-celeba", "search": "search", "paper": "paper", "paper-celeba": "paper-celeba"}


def run_reference(options: ReferenceOptions) -> int:
    """Make the parts asked for under results/reference/HARDWARE/, and write its README again."""
    device = pick_device(options.device)
    parts = _parts(options, device)
    needing = [part for part in parts if part in ("grid", "paper-celeba", "search") or (part == "paper" and device == "cuda")]
    rule = f"the folder of CelebA, for {' and '.join(needing)}"
    if needing and options.data_root is None:
        raise must_be("--data-root", rule, None, "Or name the other parts alone.")
    if options.data_root is not None:
        check_root("--data-root", rule if needing else "the folder of CelebA", options.data_root)
    code, machine = 0, hardware_name(device)
    for part in parts:
        kept = ROOT / machine / STUDIES.get(part, part)
        if not options.parts and part in ONE_SITTING and (kept / ONE_SITTING[part]).is_file():
            print(f"{part}: measured before, in {kept}; name it to measure it again")
        else:
            every = commands(device, machine, options.data_root or "")
            for name in [name for name in every if name == part or name.startswith(f"{part}/")]:
                code = max(code, _make(name, every[name], kept.parent / name if part == ANY else kept))
        if code >= 2:
            break
    if ROOT.is_dir():
        write_index(ROOT)
    return code


def _parts(options: ReferenceOptions, device: str) -> list[str]:
    """The parts to make; InputError for one that there is not, or not on this device."""
    for part in options.parts:
        if part not in PARTS:
            raise must_be("PART", choices(PARTS), part)
    if device == "cuda" and "paper-celeba" in options.parts:
        raise must_be("PART", "paper with --device cuda, which is of CelebA at the paper's own size", "paper-celeba")
    return [*options.parts] or [part for part in PARTS if device != "cuda" or part not in OF_CPU]


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
    measured = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    lines = [
        "# Reference results",
        "",
        "Made by `python -m studies.run reference --device DEVICE --data-root CELEBA`, which fills what is missing.",
        "Each folder holds its numbers with seed, data, hardware, packages and command: in `provenance.json` or its own JSON.",
        "",
        "| hardware | modified over original, batch 1 | batch 32 | why | grid | what to build instead "
        "| the paper's claims | targets of `bench` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in [*measured, *(name for name in EXPECTED if name not in measured)]:
        folder = root / name
        cells = [*_ratios(folder), _why(folder), _grid(folder), _search(folder), _claims(folder), _targets(folder)]
        lines.append(f"| {name} | " + " | ".join(cell or "not measured" for cell in cells) + " |")
    path = root / "README.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _ratios(folder: Path) -> list[str]:
    """How many times slower the second model is, at both batch sizes."""
    stored = folder / "table1" / "provenance.json"
    if not stored.is_file():
        return ["", ""]
    ratios = [json.loads(stored.read_text())["ratios"][batch] for batch in ("1", "32")]
    # an interval of an earlier version rests on the rounds of one sitting
    ends = [(ratio.get("low"), ratio.get("high")) if "sittings" in ratio else (None, None) for ratio in ratios]
    return [spanned(ratio["ratio"], low, high, digits=2) for ratio, (low, high) in zip(ratios, ends, strict=True)]


def _why(folder: Path) -> str:
    pages = {"explained": folder / "explain", **{f.name.replace("_", " "): f for f in sorted((folder / ANY).glob("*"))}}
    links = [
        f"[{name}]({(page / 'explanation.md').relative_to(folder.parent)})" for name, page in pages.items()
        if (page / "explanation.md").is_file()
    ]  # fmt: skip
    return ", ".join(links)


def _grid(folder: Path) -> str:
    trials = folder / "grid-celeba" / "trials.csv"
    if not trials.is_file():
        return ""
    states = pd.read_csv(trials)["state"]
    return f"[{int((states == 'complete').sum())} of {len(states)} trials]({folder.name}/grid-celeba/report.md)"


def _search(folder: Path) -> str:
    """What the winner of the search has of the reference's parameters and latency, and its loss beside the reference's."""
    path = folder / "search" / "search.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    number, confirmation = found.get("winner"), found.get("confirmation")
    if confirmation is None or number is None:
        return ""
    verdicts = [verdict for verdict in confirmation["verdicts"] if verdict["number"] == number]
    texts = [f"{v['value'] / 1e6:.2f} M parameters" for v in verdicts if v["metric"] == "params"]
    texts += [f"{v['effect']:.2f} x at {v['place']}" for v in verdicts if v["metric"] == "latency"]
    texts += [f"test loss {v['effect']:+.3f}" for v in verdicts if v["metric"] == "test_loss"]
    return f"[{', '.join(texts)}]({folder.name}/search/search.md)"


def _targets(folder: Path) -> str:
    cells = []
    for part in ("bench", "coverage", "chaos"):
        path = folder / part / "bench.json"
        if path.is_file():
            met = [result["met"] for result in json.loads(path.read_text())["results"] if result["rule"]]
            cells.append(f"{part}: [{sum(met)} of {len(met)} reached]({folder.name}/{part}/bench.md)")
    return "; ".join(cells)


def _claims(folder: Path) -> str:
    """How many of the paper's claims hold there, by study."""
    cells = []
    for study in ("paper", "paper-celeba"):
        path = folder / study / "ledger.json"
        if path.is_file():
            ledger = json.loads(path.read_text())
            kinds = [verdict["kind"] for name, verdict in ledger["verdicts"].items() if name.startswith("C")]
            counts = [(kinds.count(kind), kind, several) for kind, several in VERDICTS.items()]
            text = ", ".join(f"{num} {kind if num == 1 else several}" for num, kind, several in counts)
            cells.append(f"{ledger.get('scale', {}).get('data', study)}: [{text}]({folder.name}/{study}/paper.md)")
    return "; ".join(cells)
