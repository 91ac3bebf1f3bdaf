"""`explain`: which piece made the difference between two networks, by how much, how sure, by which mechanism, and what helps.

Each step stores its answer in the study's folder as soon as it has it; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ablation.compose import VAE, build
from ablation.costs.memory_estimate import activation_bytes
from ablation.costs.static import static_cost
from ablation.explain.attribution_design import LatencyDesign, latency_design, time_design
from ablation.explain.attribution_latency import attribute_latency, noise_floor
from ablation.explain.attribution_static import attribute_static
from ablation.explain.attribution_trained import attribute_trained
from ablation.explain.attribution_values import attribute
from ablation.explain.calibrate import calibrate
from ablation.explain.controls import find_controls
from ablation.explain.decompose import decompose
from ablation.explain.explanation import Attribution, Calibration, Explanation
from ablation.explain.factorial import Factorial
from ablation.explain.guidelines import guidelines
from ablation.explain.modes import run_modes
from ablation.explain.remedies import SpecGain, rank_remedies
from ablation.explain.sweep import batch_sweep
from ablation.record import COMPLETE
from ablation.report.explain_page import write_explanation
from ablation.report.explain_tables import print_explanation
from ablation.spec import PRESETS, ModelSpec, preset
from ablation.timing.latency import LatencyComparison, compare_latency
from blocks.errors import InputError, must_be
from studies.config import StudyConfig, StudyFolder, prepare_folder
from studies.grid import pick_device
from studies.latency_session import floor_of
from studies.objective import provenance
from studies.progress import duration
from studies.records import records
from studies.storage import open_storage, study_names

TRAINED = ("loss", "ssim", "psnr")
MAX_PEAK_NETWORKS = 300
# networks whose peak memory is estimated; more take the coarse factorial
SHARES = {"latency": 0.45, "modes": 0.25, "sweep": 0.15}
# of the budget; calibration, decomposition and guidelines take what they need, about a minute
QUICK_BUDGET_S, BUDGET_S = 40.0, 480.0
QUICK_BATCHES, BATCHES = (1, 4, 16), (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is explained, and how."""

    names: tuple[str, str]
    specs: tuple[ModelSpec, ModelSpec]
    device: str
    batch_size: int
    threads: int
    budget_s: float
    quick: bool
    trained: Path | None = None

    @property
    def place(self) -> str:
        """Device and batch size, as records write them."""
        return f"{self.device}/{self.batch_size}"

    def models(self) -> tuple[VAE, VAE]:
        """Both networks with the weights of seed 0."""
        return build(self.specs[0], seed=0), build(self.specs[1], seed=0)

    def key(self) -> str:
        """What a stored step must have been made for."""
        facts = {**{k: v for k, v in vars(self).items() if k != "specs"}, "trained": str(self.trained)}
        facts |= {"specs": [spec.to_dict() for spec in self.specs], "torch": torch.__version__}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read_spec(text: str) -> ModelSpec:
    """A spec from 'preset', 'preset,field=value,...' or a TOML or JSON file."""
    if text.endswith((".toml", ".json")):
        path = Path(text)
        if not path.is_file():
            raise must_be("A spec", f"a preset ({', '.join(PRESETS)}) or a file", text, "There is no such file.")
        return (ModelSpec.from_toml if path.suffix == ".toml" else ModelSpec.from_json)(path.read_text(encoding="utf-8"))
    name, *changes = (part.strip() for part in text.split(","))
    fields: dict[str, Any] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise must_be("A change of a preset", "field=value", change, "For example: original,head=pooled.")
        fields[field.strip()] = _value(value.strip())
    return preset(name).replace(**fields)


def _value(text: str) -> Any:
    """A number, true, false or widths such as 32+64+128; else text."""
    if "+" in text:
        return tuple(_value(part) for part in text.split("+"))
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def run_explain(options: argparse.Namespace) -> int:
    """Measure what is missing, write the page, print the answer."""
    pair = _pair(options)
    factorial = Factorial.between(*pair.specs)
    out = prepare_folder(options.out or Path("results") / f"explain-{_slug(pair.names[0])}-{_slug(pair.names[1])}-{pair.device}")
    console = Console(stderr=True)
    say = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
    say(f"Explain   {pair.names[1]} against {pair.names[0]}: {len(factorial.names)} factors ({', '.join(factorial.names)})")
    say(f"Variants  {len(factorial.networks)} networks; {len(factorial.impossible)} combinations cannot exist")
    say(f"Measures  at {pair.place}, {pair.threads} thread(s), about {duration(_expected_s(pair))}")
    say("          Ctrl-C stops; the same command goes on from the last finished step")
    steps = _Steps(out, pair, say)
    if pair.device == "cpu":
        torch.set_num_threads(pair.threads)
    for name, step in STEPS.items():
        if not (name == "guidelines" and pair.quick):
            steps.run(name, lambda step=step: step(pair, factorial, steps))  # type: ignore[misc]
    explanation = steps.explanation(options.line, factorial)
    paths = write_explanation(explanation, out)
    print(print_explanation(explanation))
    say(f"The page: {next(path for path in paths if path.suffix == '.html')}")
    return 0


def _pair(options: argparse.Namespace) -> Pair:
    for flag in ("batch_size", "threads"):
        if getattr(options, flag) < 1:
            raise must_be(f"--{flag.replace('_', '-')}", "a whole number of at least 1", getattr(options, flag))
    if options.budget is not None and not options.budget > 0:
        raise must_be("--budget", "a positive number of seconds", options.budget)
    specs = [read_spec(text) for text in (options.first, options.second)]
    if options.image_size is not None:
        specs = [spec.replace(image_size=options.image_size) for spec in specs]
    if specs[0].image_size != specs[1].image_size:
        sizes = [spec.image_size for spec in specs]
        raise must_be("Both specs", "of one image size", sizes, "Give one with --image-size.")
    names = (options.first, options.second) if options.first != options.second else ("first", "second")
    return Pair(
        names=names,
        specs=(specs[0], specs[1]),
        device=pick_device(options.device),
        batch_size=options.batch_size,
        threads=options.threads,
        budget_s=options.budget or (QUICK_BUDGET_S if options.quick else BUDGET_S),
        quick=options.quick,
        trained=options.trained,
    )


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in Path(text).stem if c)[:40].strip("-")


def _expected_s(pair: Pair) -> float:
    return pair.budget_s + (20 if pair.quick else 120)


class _Steps:
    """Answers of the steps, each stored when it is there; a later call with the same settings reads it again."""

    def __init__(self, folder: Path, pair: Pair, say: Callable[[str], None]) -> None:
        self.folder, self.pair, self.say = folder / "steps", pair, say
        self.folder.mkdir(exist_ok=True)
        self.found: dict[str, dict[str, Any]] = {}

    def run(self, name: str, step: Callable[[], Mapping[str, Any]]) -> None:
        """Do one step, or read what it gave. What cannot be measured here becomes a limit, told on the page."""
        path = self.folder / f"{name}.json"
        stored = self._read(path)
        if stored is not None:
            self.found[name] = stored
            self.say(f"{name}: measured before")
            return
        begin = time.monotonic()
        self.say(f"{name} ...")
        try:
            values = json.loads(json.dumps(step(), default=_plain))
        except (RuntimeError, MemoryError, InputError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self.found[name] = {"limits": [f"{name} was not measured: {line}"]}
            self.say(f"{name}: not measured: {line}")
            return
        self.found[name] = values
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps({"key": self.pair.key(), "values": values}))
        temporary.replace(path)
        self.say(f"{name}: {duration(time.monotonic() - begin)}")

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            stored = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            return None
        return dict(stored["values"]) if stored.get("key") == self.pair.key() else None

    def explanation(self, command: str, factorial: Factorial) -> Explanation:
        """All answers in one."""
        first, second = self.pair.names
        whole: dict[str, Any] = Explanation(
            first=first,
            second=second,
            specs={n: s.to_dict() for n, s in zip(self.pair.names, self.pair.specs, strict=True)},
            costs={},
            factors=factorial.levels,
            impossible=factorial.named_impossible,
            device=self.pair.device,
        ).to_dict()
        limits: list[str] = []
        for values in self.found.values():
            for field, value in values.items():
                if isinstance(whole[field], dict):
                    whole[field] = {**whole[field], **value}
                elif isinstance(whole[field], (list, tuple)):
                    whole[field] = [*whole[field], *value]
                else:
                    whole[field] = value
        facts = provenance(self.pair.device, time.time())
        whole["limits"] = [*whole["limits"], *limits]
        whole["provenance"] = {
            **facts,
            "command": command,
            "seed": 0,
            "threads": self.pair.threads,
            "batch_size": self.pair.batch_size,
        }
        return Explanation.from_dict(whole)


def _plain(value: Any) -> Any:
    """Values of dataclasses for JSON."""
    return asdict(value)


def _static(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """Exact attributions of everything that can be counted."""
    costs = {name: static_cost(spec).to_dict() for name, spec in zip(pair.names, pair.specs, strict=True)}
    counted = factorial if len(factorial.networks) <= MAX_PEAK_NETWORKS and not pair.quick else factorial.coarse()
    shape = (pair.specs[0].in_channels, pair.specs[0].image_size, pair.specs[0].image_size)
    with torch.device("meta"):
        peaks = {key: activation_bytes(build(spec), shape, pair.batch_size) for key, spec in counted.networks.items()}
    peak = attribute(counted.names, counted.values(peaks), metric="peak_bytes", place=pair.place, unit="bytes")
    limits = [] if counted is factorial else ["Peak memory: encoder body and decoder body are one factor each."]
    return {"costs": costs, "attributions": [*attribute_static(factorial), peak], "limits": limits}


def _latency(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """Attribution of the latency, per interleaved round, and the controls beside both networks."""
    settings = _settings(pair)
    models = dict(zip(pair.names, pair.models(), strict=True))
    controls = find_controls(*pair.specs)
    models |= {control.name: build(ModelSpec.from_dict(control.spec), seed=0) for control in controls}
    budget = SHARES["latency"] * pair.budget_s
    beside = compare_latency(models, reference=pair.names[0], budget_s=0.2 * budget, **settings)
    timed = [replace(c, **_timed(beside.models[c.name])) for c in controls]
    call_ms = sum(beside.models[name].median_ms or 0.0 for name in pair.names) / 2
    design = latency_design(factorial, 0.8 * budget, call_ms=call_ms, device=pair.device)

    def tick(done: int, total: int) -> None:
        if total > 3 and done % 5 == 0:
            steps.say(f"latency: group {done + 1} of {total}")

    comparisons = time_design(design, progress=tick, **settings)
    ms, log = attribute_latency(design, comparisons, pair.place)
    return {
        "attributions": [ms, log],
        "controls": timed,
        "noise": {pair.place: floor_of(beside)},
        "factors": {name: pair for name, pair in design.factorial.levels.items() if name not in factorial.levels},
        "limits": [
            *_told(design, comparisons),
            f"Latency: one network against itself over all rounds, {100 * noise_floor(comparisons):.2f} % either way.",
        ],
    }


def _told(design: LatencyDesign, comparisons: Sequence[LatencyComparison]) -> list[str]:
    """What was planned, and what the budget left of it."""
    short = design.shortfall(comparisons)
    return [design.text, *([short] if short else [])]


def _settings(pair: Pair) -> dict[str, Any]:
    threads = {"num_threads": pair.threads} if pair.device == "cpu" else {}
    return {"batch_size": pair.batch_size, "device": pair.device, **threads}


def _timed(latency: Any) -> dict[str, Any]:
    return {name: getattr(latency, name) for name in ("median_ms", "ratio", "ratio_low", "ratio_high")}


def _modes(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """Ways of running both networks, and what helps the second."""
    first, second = pair.models()
    budget = SHARES["modes"] * pair.budget_s
    found = run_modes(first, second, device=pair.device, batch_size=pair.batch_size, budget_s=budget, quick=pair.quick)
    specs = _undone(factorial, steps.found.get("latency", {}))
    return {"modes": found, "remedies": rank_remedies(found, device=pair.device, batch_size=pair.batch_size, specs=specs)}


def _undone(factorial: Factorial, latency: Mapping[str, Any]) -> list[SpecGain]:
    """The second network with one swap undone, where that was timed and makes it faster beyond the noise."""
    logs = [a for a in latency.get("attributions", ()) if a["metric"] == "log_latency"]
    gains: list[SpecGain] = []
    for factor, effect in logs[0]["from_end"].items() if logs else ():
        cell = frozenset(factorial.names) - {factor}
        if effect["verdict"] == "significant" and effect["value"] > 0 and cell in factorial.cells:
            gain = f"undo {factor}", factorial.cells[cell], math.exp(effect["value"])
            known = effect["low"] is not None and effect["high"] is not None
            gains.append((*gain, math.exp(effect["low"]), math.exp(effect["high"])) if known else gain)
    return gains


def _sweep(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """Latency from batch 1 up, and where it begins to grow with the batch."""
    first, second = pair.models()
    batches = QUICK_BATCHES if pair.quick else BATCHES
    budget = SHARES["sweep"] * pair.budget_s
    threads = pair.threads if pair.device == "cpu" else None
    points, knee = batch_sweep(
        first, second, device=pair.device, batches=batches, budget_s=budget, threads=threads, names=pair.names
    )
    return {"sweep": points, "knee": knee}


def _machine(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """What this machine can do, and where each network's time goes."""
    threads = pair.threads if pair.device == "cpu" else None
    calibration: Calibration = calibrate(pair.device, threads=threads, quick=pair.quick)
    parts = [
        decompose(
            model,
            name,
            device=pair.device,
            batch_size=pair.batch_size,
            threads=threads,
            calibration=calibration,
            quick=pair.quick,
        )
        for name, model in zip(pair.names, pair.models(), strict=True)
    ]
    return {"calibration": calibration, "decompositions": parts}


def _guidelines(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """ShuffleNet V2's guidelines on this machine."""
    return {"guidelines": guidelines(pair.device, threads=pair.threads if pair.device == "cpu" else None, quick=pair.quick)}


def _trained(pair: Pair, factorial: Factorial, steps: _Steps) -> Mapping[str, Any]:
    """Loss and quality, where variants between the two were trained."""
    if pair.trained is None:
        return {"limits": ["Loss and quality were not attributed: no trained study was named with --trained."]}
    storage = open_storage(StudyFolder(pair.trained).journal, must_exist=True)
    found: list[Attribution] = []
    limits: list[str] = []
    for name in study_names(storage):
        from optuna import load_study

        study = load_study(study_name=name, storage=storage)
        config = StudyConfig.from_dict(study.user_attrs["config"])
        complete = [r for r in records(study, max_attempts=config.max_attempts) if r.state == COMPLETE]
        for metric in TRAINED:
            try:
                found.append(attribute_trained(factorial, complete, metric))
            except InputError as error:
                limits.append(f"{metric} was not attributed: {error}")
    return {"attributions": found, "limits": limits}


STEPS: dict[str, Callable[[Pair, Factorial, _Steps], Mapping[str, Any]]] = {
    "static": _static,
    "latency": _latency,
    "machine": _machine,
    "modes": _modes,
    "sweep": _sweep,
    "guidelines": _guidelines,
    "trained": _trained,
}
