"""Speed in `bench`: static costs, latency and training, each against another way to do the same."""

from __future__ import annotations

import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from ablation.data import Dataset, Split, load_dataset
from ablation.design.compose import VAE, build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec, preset
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.stats import Estimate
from ablation.train.train import train
from studies.bench.naive import naive_train_epoch
from studies.bench.result import Bench, Result

# field of a spec -> the values that a variant's is drawn from
DRAWN: Mapping[str, list[Any]] = {
    "encoder_connectivity": ["plain", "dense", "residual"],
    "decoder_connectivity": ["plain", "dense", "residual"],
    "encoder_conv": ["standard", "separable", "pointwise_first"],
    "decoder_conv": ["standard", "separable", "pointwise_first"],
    "head": ["flatten", "pooled", "bottleneck"],
    "down": ["max", "avg", "strided", "unshuffle"],
    "up": ["nearest", "bilinear", "transposed", "shuffle"],
    "growth_rate": [8, 16, 32],
    "depth": [1, 2],
    "dense_bottleneck": [False, True],
}


def variants(count: int, image_size: int = 144) -> list[ModelSpec]:
    """So many different networks of a 144 px space, drawn evenly over its pieces."""
    draw = random.Random(0)
    specs: dict[str, ModelSpec] = {}
    while len(specs) < count:
        drawn = {name: draw.choice(values) for name, values in DRAWN.items()}
        spec = preset("original").replace(image_size=image_size, **drawn)
        specs.setdefault(spec.network_key, spec)
    return list(specs.values())


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
    limit, ratio = 60 * count / 500, theirs / ours
    detail = f"{len(sample)} variants, building included in both; multiply-accumulates equal on each"
    return [
        Result(f"{count} variants", seconds, "s", f"at most {limit:g}", seconds <= limit),
        Result("peak memory", memory_gb, "GB", "under 1", memory_gb < 1),
        Result("time of fvcore over ours", ratio, "x", "above 1", ratio > 1, detail),
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
    spread = f"copies built apart; half-widths {min(widths):.2f} to {max(widths):.2f} %, median {median(widths):.2f} %"
    ratios_of_runs = "; ".join(f"{r.value:.3f}, {r.low:.3f} to {r.high:.3f}, {r.num} sittings" for r in runs)
    covering, of_pairs = excluding <= 2 and len(widths) == num_copies, f"of {len(pairs)}"
    return [
        Result("intervals of A/A ratios that exclude 1", excluding, f"of {num_copies}", "at most 2", covering, spread),
        Result(
            "intervals of the pair's ratio, from fresh processes, that do not overlap",
            apart,
            of_pairs,
            "0",
            apart == 0,
            ratios_of_runs,
        ),
    ]


def _copies(device: str, size: int, seed: int) -> Estimate:
    """Ratio of two networks that were built apart from one spec."""
    return _ratio(
        {name: build(preset("original").replace(image_size=size), seed=0) for name in ("first", "second")}, device, size, seed
    )


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
    bench.say(f"training: `original` at {size} px, batch 32, {rounds} x {steps} steps of each loop on {bench.device} ...")
    with tempfile.TemporaryDirectory() as name:
        dataset, paths = _files(Path(name), size, steps * protocol.batch_size)
        turns = [_train_in_turn(bench.device, size, protocol, dataset, paths) for _ in range(1 + rounds)]
    ours, plain, difference = zip(*turns[1:], strict=True)  # the first round warms up
    ratio, worst = median(a / b for a, b in zip(ours, plain, strict=True)), max(difference)
    target = 1.3 if bench.device == "cpu" else 5.0
    detail = f"{median(ours):.1f} against {median(plain):.1f} images/s"
    return [
        Result("images per second over the plain loop", ratio, "x", f"at least {target}", ratio >= target, detail),
        Result("largest difference of a step's loss", worst, "relative", "at most 1e-3", worst <= 1e-3),
    ]


def _train_in_turn(device: str, size: int, protocol: Protocol, dataset: Dataset, paths: list[Path]) -> tuple[float, float, float]:
    """One epoch of each loop: images per second of ours and of the plain one, and the largest relative difference of a loss."""
    spec = preset("original").replace(image_size=size)
    split = Split(train=np.arange(len(paths)), validation=np.arange(2), test=np.arange(2))
    losses: list[float] = []
    result = train(build(spec, seed=0), dataset, split, protocol, seed=0, device=device, step_losses=losses)
    model = build(spec, seed=0)
    begin = time.perf_counter()
    plain = naive_train_epoch(model, paths, split.train, protocol, 0, device, image_size=size)
    seconds = time.perf_counter() - begin
    assert result.images_per_second is not None
    return result.images_per_second, len(paths) / seconds, float(np.max(np.abs(np.array(losses) / np.array(plain) - 1)))


def _files(folder: Path, size: int, num_images: int) -> tuple[Dataset, list[Path]]:
    """Rendered faces as JPEG files of CelebA's size, 178 x 218, and the decoded set that our loop reads of them."""
    faces = load_dataset("faces", image_size=144, limit=num_images, cache_dir=folder / "cache")
    paths = []
    for i, image in enumerate(faces.images):
        paths.append(folder / f"{i:06d}.jpg")
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize((178, 218)).save(paths[-1], quality=95)
    return load_dataset("folder", root=folder, image_size=size, limit=num_images, cache_dir=folder / "cache"), paths
