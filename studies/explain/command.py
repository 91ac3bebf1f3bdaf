"""`explain`: which piece made the difference between two networks, by how much, how sure, by which mechanism, and what helps.

Each step stores its answer in the study's folder as soon as it has it; the same command goes on from there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ablation.attribute.factorial import Factorial
from ablation.design.network import spec_from_dict
from ablation.design.spec import ModelSpec
from ablation.machine.device import pick_device
from ablation.machine.files import write_atomic
from ablation.machine.hardware import provenance
from ablation.machine.text import first_line
from ablation.record.convert import to_plain
from ablation.record.explanation import Explanation
from ablation.record.stored import explanation_of
from ablation.report.explain.page import write_explanation
from ablation.report.explain.terminal import print_explanation
from ablation.report.kit.numbers import count
from blocks.errors import InputError, must_be
from studies.engine.config import StudyFolder, prepare_folder
from studies.engine.folder import check_folder, take_folder
from studies.explain.networks import read_networks, short_names
from studies.explain.options import ExplainOptions
from studies.explain.steps import STEPS, Pair
from studies.work.progress import duration, print_line

QUICK_BUDGET_S, BUDGET_S = 40.0, 480.0
# steps that read what others may have added to since
FRESH = ("trained",)


def run_explain(options: ExplainOptions) -> int:
    """Measure what is missing, write the page, print the answer."""
    pair = _pair(options)
    factorial = Factorial.between(*pair.specs)
    out = options.out or _default_folder(pair)
    _check_folder(out, pair)
    take_folder(prepare_folder(out), "explain", **_settings(pair))
    console = Console(stderr=True)
    say = partial(print_line, console)

    expected = duration(pair.budget_s + (20 if pair.quick else 120))
    beside = f", and what batch {', '.join(map(str, pair.batches))} of the sweep take beyond it" if pair.batches else ""
    factors = f"{count(len(factorial.names), 'factor')} ({', '.join(factorial.names)})"
    say(f"Explain   {pair.names[1]} against {pair.names[0]}: {factors}")
    say(f"Variants  {len(factorial.networks)} networks; {len(factorial.impossible)} combinations cannot exist")
    if pair.device != "cpu" and pair.threads != 1:
        say(f"Note: --threads does nothing on {pair.device}: it is for a CPU.")
    say(f"Measures  at {pair.place}, {pair.threads} thread(s), about {expected}{beside}")
    say("          Ctrl-C stops; the same command goes on from the last finished step")
    explanation, paths = explain_pair(pair, factorial, out, options.line, say)
    print(print_explanation(explanation))
    say(f"The page: {next(path for path in paths if path.suffix == '.html')}")
    return 0


def _settings(pair: Pair) -> dict[str, Any]:
    """What makes an explanation another one; a larger budget, or more batches, is the same one measured better."""
    keys = {name: spec.network_key for name, spec in zip(("first", "second"), pair.specs, strict=True)}
    return {**keys, "device": pair.device, "batch_size": pair.batch_size, "quick": pair.quick}


def _check_folder(out: Path, pair: Pair) -> None:
    """InputError where the folder holds another study, or another pair's explanation, of an earlier version too."""
    check_folder(out, "explain", **_settings(pair))
    try:
        specs = list(json.loads((out / "explanation.json").read_text(encoding="utf-8"))["specs"].values())
        keys = [spec_from_dict(spec).network_key for spec in specs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # none yet, or one that is damaged and is written anew
    if keys != [spec.network_key for spec in pair.specs]:
        held = "It holds the explanation of other networks. Name another folder."
        raise must_be("--out", "a folder of one study alone", str(out), held)


def explain_pair(
    pair: Pair, factorial: Factorial, out: Path, command: str, say: Callable[[str], None]
) -> tuple[Explanation, list[Path]]:
    """Every step that is missing in the folder, then the page; the explanation and the files written."""
    steps = _Steps(out, pair, say)
    if pair.device == "cpu":
        torch.set_num_threads(pair.threads)
    for name, step in STEPS.items():
        if not (name == "guidelines" and pair.quick):
            steps.run(name, lambda step=step: step(pair, factorial, steps.results, say))  # type: ignore[misc]
    explanation = steps.explanation(command, factorial)
    return explanation, write_explanation(explanation, out)


def _pair(options: ExplainOptions) -> Pair:
    specs = read_networks((options.first, options.second), options)
    if options.trained is not None and not StudyFolder(options.trained).journal.is_file():
        raise must_be("--trained", "the folder of a study", str(options.trained), "It holds no journal.log.")
    names = short_names((options.first, options.second))
    return Pair(
        names=(names[0], names[1]),
        specs=(specs[0], specs[1]),
        device=pick_device(options.device),
        batch_size=options.batch_size,
        threads=options.threads,
        budget_s=options.budget or (QUICK_BUDGET_S if options.quick else BUDGET_S),
        quick=options.quick,
        trained=options.trained,
        batches=tuple(sorted(set(options.batches))),
    )


def _default_folder(pair: Pair) -> Path:
    """A quick look, another batch or another size has a folder of its own."""
    parts = ["explain", *map(_slug, pair.names), pair.device]
    parts += [f"b{pair.batch_size}"] if pair.batch_size != 1 else []
    first = pair.specs[0]
    parts += [f"{first.image_size}px"] if isinstance(first, ModelSpec) and first.image_size != 144 else []
    return Path("results") / "-".join([*parts, *(["quick"] if pair.quick else [])])


def _slug(text: str) -> str:
    word = Path(text).stem if text.endswith((".toml", ".json")) else text
    return re.sub(r"\W+", "-", word)[:40].strip("-")


class _Steps:
    """Answers of the steps, each stored when it is there; a later call with the same settings reads it again."""

    def __init__(self, folder: Path, pair: Pair, say: Callable[[str], None]) -> None:
        self.folder, self.pair, self.say, self.key = folder / "steps", pair, say, pair.key()
        self.folder.mkdir(exist_ok=True)
        self.begin = time.time()
        self.results: dict[str, dict[str, Any]] = {}

    def run(self, name: str, step: Callable[[], Mapping[str, Any]]) -> None:
        """Do one step, or read what it gave. What cannot be measured here becomes a limit, which the page states."""
        path = self.folder / f"{name}-{self.key}.json"
        stored = self._read(path) if name not in FRESH else None
        if stored is not None:
            self.results[name] = stored
            self.say(f"{name}: measured before")
            return
        begin = time.monotonic()
        self.say(f"{name} ...")
        try:
            values = json.loads(json.dumps(to_plain(step())))
        except (RuntimeError, MemoryError, InputError) as error:
            line = first_line(error)
            self.results[name] = {"limits": [f"{name} was not measured: {line}"]}
            self.say(f"{name}: not measured: {line}")
            return
        self.results[name] = values
        write_atomic(path, json.dumps({"key": self.key, "values": values}))
        self.say(f"{name}: {duration(time.monotonic() - begin)}")

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            stored = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            return None
        return dict(stored["values"]) if stored.get("key") == self.key else None

    def explanation(self, command: str, factorial: Factorial) -> Explanation:
        """All answers in one."""
        first, second = self.pair.names
        bare = Explanation(
            first=first,
            second=second,
            specs={n: s.to_dict() for n, s in zip(self.pair.names, self.pair.specs, strict=True)},
            costs={},
            factors=factorial.levels,
            impossible=factorial.named_impossible,
            device=self.pair.device,
        )
        whole: dict[str, Any] = to_plain(bare)
        for values in self.results.values():
            for field, value in values.items():
                if isinstance(whole[field], dict):
                    whole[field] = {**whole[field], **value}
                elif isinstance(whole[field], list):
                    whole[field] = [*whole[field], *value]
                else:
                    whole[field] = value
        facts = provenance(self.pair.device, self.begin)
        whole["provenance"] = {
            **facts,
            "command": command,
            "seed": 0,
            "threads": self.pair.threads,
            "batch_size": self.pair.batch_size,
        }
        return explanation_of(whole)
