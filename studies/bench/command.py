"""`bench`: the suite's own speed and safety, as ratios and counts measured side by side in one run, each beside its target."""

from __future__ import annotations

import json
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from ablation.data import Dataset, Split, load_dataset
from ablation.design.compose import VAE, build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec, preset
from ablation.machine.device import pick_device
from ablation.machine.hardware import provenance
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.stats import Estimate
from ablation.train.train import train
from blocks.errors import choices, must_be
from studies.bench.coverage import FAMILY, LEAST, MOST, QUICK_RUNS, RUNS, Simulated, by_construction, simulate
from studies.bench.naive import naive_train_epoch
from studies.engine.config import prepare_folder
from studies.engine.folder import check_folder, take_folder
from studies.options import BenchOptions


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured ratio or count, with the rule it is held to."""

    part: str
    what: str
    value: float
    unit: str
    rule: str
    met: bool
    detail: str = ""


@dataclass(frozen=True)
class Bench:
    """What every part is given."""

    device: str
    quick: bool
    console: Console
    out: Path
    begin: float = field(default_factory=time.time)

    def say(self, text: str) -> None:
        """A line of progress."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def variants(count: int, image_size: int = 144) -> list[ModelSpec]:
    """So many different networks of a 144 px space, drawn evenly over its pieces."""
    draw = random.Random(0)
    found: dict[str, ModelSpec] = {}
    while len(found) < count:
        spec = preset("original").replace(
            image_size=image_size,
            encoder_connectivity=draw.choice(["plain", "dense", "residual"]),
            decoder_connectivity=draw.choice(["plain", "dense", "residual"]),
            encoder_conv=draw.choice(["standard", "separable", "pointwise_first"]),
            decoder_conv=draw.choice(["standard", "separable", "pointwise_first"]),
            head=draw.choice(["flatten", "pooled", "bottleneck"]),
            down=draw.choice(["max", "avg", "strided", "unshuffle"]),
            up=draw.choice(["nearest", "bilinear", "transposed", "shuffle"]),
            growth_rate=draw.choice([8, 16, 32]),
            depth=draw.choice([1, 2]),
            dense_bottleneck=draw.choice([False, True]),
        )
        found.setdefault(spec.network_key, spec)
    return list(found.values())


def _cost_all(count: int) -> tuple[float, float]:
    """Seconds and peak memory in GB of costing so many variants in a fresh process, imports not counted in the time."""
    specs = variants(count)
    begin = time.perf_counter()
    assert all(static_cost(spec).macs > 0 for spec in specs)
    seconds = time.perf_counter() - begin
    return seconds, peak_memory_gb()


def peak_memory_gb() -> float:
    """The most memory that this process has held. Not getrusage where Linux can say: that starts from what the parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():  # some sandboxes' kernels have the file without this line
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9  # in kilobytes
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def bench_static(bench: Bench) -> list[Result]:
    """500 variants costed; and the ratio to fvcore on the same variants, every 25th of them (fvcore needs minutes for all)."""
    count = 40 if bench.quick else 500
    bench.say(f"static: costing {count} variants at 144 px in a fresh process ...")
    seconds, memory_gb = _in_fresh_process(_cost_all, count)
    sample = variants(count)[:: 10 if bench.quick else 25]
    bench.say(f"static: fvcore on {len(sample)} of them, one after the other with ours ...")
    ours, theirs = 0.0, 0.0
    for spec in sample:
        begin = time.perf_counter()
        cost = static_cost(spec)
        middle = time.perf_counter()
        published = published_cost(build(spec), spec.image_size)
        ours, theirs = ours + middle - begin, theirs + time.perf_counter() - middle
        assert published.conv_linear_flops == cost.macs, spec
    limit = 60 * count / 500
    return [
        Result(part="static", what=f"{count} variants", value=seconds, unit="s", rule=f"at most {limit:g}", met=seconds <= limit),
        Result(part="static", what="peak memory", value=memory_gb, unit="GB", rule="under 1", met=memory_gb < 1),
        Result(
            part="static",
            what="time of fvcore over ours",
            value=theirs / ours,
            unit="x",
            rule="above 1",
            met=theirs > ours,
            detail=f"{len(sample)} variants, building included in both; multiply-accumulates equal on each",
        ),
    ]


def bench_latency(bench: Bench) -> list[Result]:
    """A network against copies of itself that were built apart, and the paper's pair in fresh processes: do intervals cover?"""
    size = 48 if bench.quick else 144
    num_copies, num_runs = (3, 2) if bench.quick else (40, 3)
    bench.say(f"latency: {num_copies} comparisons of `original` with a copy of itself at {size} px on {bench.device} ...")
    ratios = []
    for seed in range(num_copies):
        ratios.append(_copies(bench.device, size, seed))
        if (seed + 1) % 5 == 0:
            bench.say(f"latency: {seed + 1} of {num_copies}, the last {ratios[-1].value:.4f}")
    excluding = sum(not ratio.contains(1.0) for ratio in ratios)
    widths = [100 * (ratio.high - ratio.low) / 2 for ratio in ratios if ratio.low is not None and ratio.high is not None]
    bench.say(f"latency: `modified` over `original` at {size} px in {num_runs} fresh processes ...")
    runs = [_in_fresh_process(_pair_ratio, bench.device, size) for _ in range(num_runs)]
    pairs = list(combinations(runs, 2))
    apart = sum(a.low > b.high or b.low > a.high for a, b in pairs)
    return [
        Result(
            part="latency",
            what="intervals of A/A ratios that exclude 1",
            value=excluding,
            unit=f"of {num_copies}",
            rule="at most 2",
            met=excluding <= 2 and len(widths) == num_copies,
            detail=f"copies built apart; half-widths {min(widths):.2f} to {max(widths):.2f} %, median {median(widths):.2f} %",
        ),
        Result(
            part="latency",
            what="intervals of the pair's ratio, from fresh processes, that do not overlap",
            value=apart,
            unit=f"of {len(pairs)}",
            rule="0",
            met=apart == 0,
            detail="; ".join(f"{r.value:.3f}, {r.low:.3f} to {r.high:.3f}, {r.num} sittings" for r in runs),
        ),
    ]


def _copies(device: str, size: int, seed: int) -> Estimate:
    """Ratio of two networks that were built apart from one spec."""
    first, second = (build(preset("original").replace(image_size=size), seed=0) for _ in range(2))
    return _ratio({"first": first, "second": second}, device, size, seed)


def _pair_ratio(device: str, size: int) -> Estimate:
    return _ratio(
        {name: build(preset(name).replace(image_size=size), seed=0) for name in ("original", "modified")}, device, size, 0
    )


def _ratio(models: Mapping[str, VAE], device: str, size: int, seed: int) -> Estimate:
    """The second model's latency over the first's, batch 1, one thread."""
    first, second = models
    timed = compare_latency(models, device=device, image_size=size, seed=seed, num_threads=1, only_calls=True)
    ratio = timed.paired(second, first)
    assert ratio is not None, timed[second].reason
    return ratio


def _in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def bench_training(bench: Bench) -> list[Result]:
    """Our loop against the plain one: the same model, images, order and noise, taking turns."""
    size, steps, rounds = (48, 4, 2) if bench.quick else (144, 4 if bench.device == "cpu" else 20, 3)
    protocol = Protocol(epochs=1)
    num_images = steps * protocol.batch_size
    spec = preset("original").replace(image_size=size)
    bench.say(f"training: `original` at {size} px, batch 32, {rounds} x {steps} steps of each loop on {bench.device} ...")
    with tempfile.TemporaryDirectory() as name:
        dataset, paths = _files(Path(name), size, num_images)
        split = Split(train=np.arange(num_images), validation=np.arange(2), test=np.arange(2))
        ours, naive, worst = [], [], 0.0
        for round_number in range(-1, rounds):  # the first round warms up
            losses: list[float] = []
            result = train(build(spec, seed=0), dataset, split, protocol, seed=0, device=bench.device, step_losses=losses)
            model = build(spec, seed=0)
            begin = time.perf_counter()
            plain = naive_train_epoch(model, paths, split.train, protocol, 0, bench.device, image_size=size)
            seconds = time.perf_counter() - begin
            if round_number >= 0:
                assert result.images_per_second is not None
                ours.append(result.images_per_second)
                naive.append(num_images / seconds)
                worst = max(worst, float(np.max(np.abs(np.array(losses) / np.array(plain) - 1))))
    ratio = median(a / b for a, b in zip(ours, naive, strict=True))
    target = 1.3 if bench.device == "cpu" else 5.0
    detail = f"{median(ours):.1f} against {median(naive):.1f} images/s"
    return [
        Result(
            part="training",
            what="images per second over the plain loop",
            value=ratio,
            unit="x",
            rule=f"at least {target}",
            met=ratio >= target,
            detail=detail,
        ),
        Result(
            part="training",
            what="largest difference of a step's loss",
            value=worst,
            unit="relative",
            rule="at most 1e-3",
            met=worst <= 1e-3,
        ),
    ]


def _files(folder: Path, size: int, num_images: int) -> tuple[Dataset, list[Path]]:
    """Rendered faces as JPEG files of CelebA's size, 178 x 218, and the decoded set that our loop reads of them."""
    faces = load_dataset("faces", image_size=144, limit=num_images, cache_dir=folder / "cache")
    paths = []
    for i, image in enumerate(faces.images):
        paths.append(folder / f"{i:06d}.jpg")
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize((178, 218)).save(paths[-1], quality=95)
    return load_dataset("folder", root=folder, image_size=size, limit=num_images, cache_dir=folder / "cache"), paths


def bench_overhead(bench: Bench) -> list[Result]:
    """The suite's own time for a whole study whose trials do nothing, over that of trials that take 10 s."""
    from studies.bench.synthetic import run_empty_study

    count = 12 if bench.quick else 60
    bench.say(f"overhead: planning, storing and reporting {count} trials that do nothing ...")
    with tempfile.TemporaryDirectory() as name:
        seconds = run_empty_study(Path(name), count)
    share = 100 * seconds / (10 * count)
    return [
        Result(
            part="overhead",
            what="planning, storage and report of a study",
            value=share,
            unit="% of trials of 10 s",
            rule="at most 1",
            met=share <= 1,
            detail=f"{seconds:.2f} s for {count} trials",
        )
    ]


def bench_kill(bench: Bench) -> list[Result]:
    """4 workers, 3 of them killed at random times, then the same command again: every variant complete exactly once."""
    from studies.bench.synthetic import kill_and_resume

    count = 12 if bench.quick else 48
    bench.say(f"kill: {count} trials, 4 workers, SIGKILL to 3 of them at random times, then the study again ...")
    with tempfile.TemporaryDirectory() as name:
        outcome = kill_and_resume(Path(name), count, num_workers=4, num_killed=3, seed=time.time_ns() % 2**32)
    wrong = outcome["missing"] + outcome["twice"]
    detail = f"{outcome['killed']} workers killed, {outcome['complete']} of {count} complete"
    detail += f", {outcome['twice']} complete twice, {outcome['missing']} lost"
    return [
        Result(
            part="kill",
            what="variants lost or done twice",
            value=wrong,
            unit=f"of {count}",
            rule="0",
            met=wrong == 0 and outcome["killed"] == 3,
            detail=detail,
        )
    ]


def bench_coverage(bench: Bench) -> list[Result]:
    """Every construction that prints a 95 % interval, simulated with known truth; and how often something is settled by chance."""
    runs = QUICK_RUNS if bench.quick else RUNS

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            bench.say(f"coverage: {done} of {total} chunks, {runs:,} simulated measurements of each case")

    groups = by_construction(simulate(runs, bench.out / "cases.csv", progress))
    return [_covered(name, groups[name], runs) for name in sorted(groups)]


def _covered(name: str, rows: list[Simulated], runs: int) -> Result:
    """The lowest and the highest coverage of one construction; or its most false verdicts, where it judges several together."""
    wrong = [(row.false_share, row.case) for row in rows if row.false_share is not None]
    if wrong:
        share, case = max(wrong)
        return Result(
            part="coverage", what=f"{name}, runs with a false verdict", value=100 * share, unit="%", rule="at most 5",
            met=share <= FAMILY, detail=f"{case}; the most of {len(wrong)} cases, {runs:,} runs each",
        )  # fmt: skip
    shares = [(row.coverage, row.case) for row in rows if row.coverage is not None]
    (low, case), (high, _) = min(shares), max(shares)
    without = f"; {len(rows) - len(shares)} cases print no interval" if len(shares) < len(rows) else ""
    return Result(
        part="coverage", what=f"{name}, coverage", value=100 * low, unit="%", rule=f"{100 * LEAST:.0f} to {100 * MOST:.0f}",
        met=low >= LEAST and high <= MOST,
        detail=f"{case}; the least of {len(shares)} cases, the most {high:.1%}; {runs:,} runs each{without}",
    )  # fmt: skip


PARTS: Mapping[str, Callable[[Bench], list[Result]]] = {
    "static": bench_static,
    "latency": bench_latency,
    "training": bench_training,
    "overhead": bench_overhead,
    "kill": bench_kill,
    "coverage": bench_coverage,
}


def run_bench(options: BenchOptions) -> int:
    """Run the parts asked for; print and store each result. Exit code 1 when a full-size target was missed."""
    console = Console(stderr=True)
    for part in options.parts:
        if part not in PARTS:
            raise must_be("PART", choices(PARTS), part)
    bench = Bench(pick_device(options.device), options.quick, console, options.out)
    settings = {"device": bench.device, "quick": bench.quick}
    check_folder(options.out, "bench", **settings)
    take_folder(prepare_folder(options.out), "bench", **settings)
    results: list[Result] = []
    for part in options.parts or PARTS:
        for result in PARTS[part](bench):
            results.append(result)
            print(line(result), flush=True)
    _write(results, bench, options)
    return 0 if all(result.met for result in results) or options.quick else 1


def line(result: Result) -> str:
    """One result as a line of text."""
    verdict = "reached" if result.met else "MISSED"
    detail = f" ({result.detail})" if result.detail else ""
    return f"{result.part:<9} {result.what}: {result.value:.3g} {result.unit}, must be {result.rule}: {verdict}{detail}"


def _write(results: list[Result], bench: Bench, options: BenchOptions) -> None:
    """Results, beside those of parts that were run before and not now, each with its own command and provenance."""
    facts = {"command": options.line, "quick": bench.quick, "provenance": provenance(bench.device, bench.begin)}
    path, mine = options.out / "bench.json", {result.part for result in results}
    before = json.loads(path.read_text()) if path.is_file() else {"results": []}
    common = {name: before[name] for name in facts if name in before}
    kept = [{**common, **result} for result in before["results"] if result["part"] not in mine]
    every = sorted([*kept, *({**asdict(result), **facts} for result in results)], key=lambda r: list(PARTS).index(r["part"]))
    path.write_text(json.dumps({"results": every}, indent=2) + "\n")
    names = [field.name for field in fields(Result)]
    lines = [line(Result(**{name: result[name] for name in names})) for result in every]
    (options.out / "bench.md").write_text("".join(f"- {text}\n" for text in lines))
    bench.say(f"Stored in {path}")
