"""Runtimes in `bench`: what `optimise(model, runtime="auto")` gains for the paper's pair, what fewer digits lose and gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ablation.data import Dataset, Split, load_dataset, split_indices
from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import preset
from ablation.faster.optimise import EAGER, optimise
from ablation.faster.optimised import Optimised
from ablation.faster.steps import REWRITES
from ablation.measure.latency.compare import compare_latency, settled
from ablation.measure.quality.evaluate import evaluate
from ablation.stats import Estimate, mean_estimate
from ablation.train.train import train
from blocks.errors import must_be
from studies.bench.result import Bench, Result

# preset, batch size -> times as fast as eager PyTorch that is aimed at
GAINS: Mapping[tuple[str, int], float] = {("modified", 1): 2.8, ("modified", 8): 4.0, ("original", 1): 3.2}
MOST_ERROR = 1e-5
EXACT = (*REWRITES, "openvino")
# what is judged beside it: name -> step
REDUCED: Mapping[str, str] = {"int8": "int8", "bfloat16": "bf16"}
# what it may lose against float32 of the same weights: metric -> protocol of quality, most
LOSSES: Mapping[str, tuple[str, float]] = {"loss": ("replica", 0.02), "ssim": ("reporting", 0.01), "psnr": ("reporting", 0.2)}
NUM_CALIBRATION = 128


@dataclass(frozen=True)
class _Size:
    """How large the networks are, and how they are trained."""

    image_size: int = 48
    images: int = 1000
    epochs: int = 6
    seeds: int = 3
    budget_s: float = 40.0
    presets: tuple[str, ...] = ("original", "modified")
    gains: Mapping[tuple[str, int], float] = field(default_factory=lambda: GAINS)
    timed_size: int = 144


QUICK = _Size(images=60, epochs=1, seeds=2, budget_s=2.0, presets=("small",), gains={("small", 1): 1.0}, timed_size=48)


def bench_runtimes(bench: Bench) -> list[Result]:
    """What the automatic choice gains over eager PyTorch, same weights, float32, one thread, in sittings of their own."""
    size, results = _size(bench, "runtimes"), list[Result]()
    for (name, batch_size), least in size.gains.items():
        bench.say(f"runtimes: {name} at batch {batch_size} ...")
        model = build(preset(name).replace(image_size=size.timed_size), seed=0).eval()
        with settled(torch.device("cpu"), 1):
            made = optimise(model, runtime="auto", batch_size=batch_size, compile=False, budget_s=size.budget_s)
        times = compare_latency(
            {EAGER: model, "made": made}, batch_size=batch_size, num_threads=1, budget_s=size.budget_s, overrun=not bench.quick
        )
        gain = times.paired(EAGER, "made")
        assert gain is not None
        chosen, eager_ms, made_ms = " + ".join(made.steps) or EAGER, times[EAGER].median_ms, times["made"].median_ms
        detail = f"{chosen}: {made_ms:.2f} against {eager_ms:.2f} ms{_interval(gain)}, {gain.num} sittings"
        met = (gain.low or gain.value) >= least
        place, error = f"{name}, batch {batch_size}", made.max_error
        rule, erring = f"at least {least:g}", f"at most {MOST_ERROR:g}"
        results.append(Result(f"{place}: optimise(runtime='auto') over eager", gain.value, "x", rule, met, detail))
        results.append(Result(f"{place}: its largest error", error, "", erring, error <= MOST_ERROR, chosen))
    return results


def bench_precision(bench: Bench) -> list[Result]:
    """Loss, SSIM and PSNR of trained networks in int8 and bfloat16 against float32, over seeds, and the speed of each."""
    size, results = _size(bench, "precision"), list[Result]()
    data = load_dataset("faces", image_size=size.image_size, limit=size.images)
    protocol = Protocol(epochs=size.epochs, batch_size=32, learning_rate=1e-3)
    split = split_indices(len(data), seed=protocol.split_seed)
    about = f"{size.seeds} seeds, {size.image_size} px, {len(split.train)} rendered faces to train, {len(split.test)} to test"
    for name in size.presets:
        networks = []
        for seed in range(size.seeds):
            bench.say(f"precision: {name}, seed {seed} ...")
            networks.append(_trained(name, size, data, split, protocol, seed))
        exact = [_quality(network["float32"], data, split, protocol) for network in networks]
        for kind in [kind for kind in REDUCED if kind in networks[0]]:
            reduced = [_quality(network[kind], data, split, protocol) for network in networks]
            results += [_lost(f"{name}, {kind}", metric, exact, reduced, about) for metric in LOSSES]
        results += _speeds(name, networks[0], size, bench.quick)
    return results


def _size(bench: Bench, part: str) -> _Size:
    if bench.device != "cpu":
        raise must_be("--device", f"cpu for the part {part}, whose runtimes and rules are a CPU's", bench.device)
    return QUICK if bench.quick else _Size()


def _trained(name: str, size: _Size, data: Dataset, split: Split, protocol: Protocol, seed: int) -> dict[str, Optimised]:
    """A trained network in OpenVINO in each precision that this CPU has; int8 calibrated on images that it was trained on."""
    model = build(preset(name).replace(image_size=size.image_size), seed=seed)
    train(model, data, split, protocol, seed=seed)
    images: Tensor = torch.from_numpy(data.images[sorted(split.train[:NUM_CALIBRATION])]).float() / 255
    made = {"float32": optimise(model, steps=EXACT, batch_size=32)}
    for kind, step in REDUCED.items():
        try:
            made[kind] = optimise(model, steps=(*EXACT, step), calibration=images, batch_size=32, tolerance=math.inf)
        except RuntimeError:  # a CPU without bfloat16
            continue
    return made


def _quality(model: Optimised, data: Dataset, split: Split, protocol: Protocol) -> dict[str, float]:
    whole = evaluate(model, data, split.test, protocol=protocol)
    return {metric: float(whole[kind][metric]) for metric, (kind, _) in LOSSES.items()}


def _lost(
    name: str, metric: str, exact: Sequence[Mapping[str, float]], reduced: Sequence[Mapping[str, float]], about: str
) -> Result:
    """What a precision loses of one metric, the mean over seeds."""
    most, label = LOSSES[metric][1], "test loss" if metric == "loss" else metric.upper()
    pairs = [(before[metric], after[metric]) for before, after in zip(exact, reduced, strict=True)]
    lost = mean_estimate([after - before for before, after in pairs])
    before, after = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    worse = lost.value if metric == "loss" else -lost.value
    detail = f"{before:.4f} in float32, {after:.4f} reduced{_interval(lost, 4)}, {about}"
    return Result(f"{name}: {label} less that in float32", lost.value, "", f"no worse than by {most:g}", worse <= most, detail)


def _speeds(name: str, made: Mapping[str, Optimised], size: _Size, quick: bool) -> list[Result]:
    """Each precision against float32 in the same runtime, at batch 1."""
    times = compare_latency(made, num_threads=1, image_size=size.image_size, budget_s=size.budget_s, overrun=not quick)
    results = []
    for kind in [kind for kind in made if kind != "float32"]:
        gain = times.paired("float32", kind)
        assert gain is not None
        detail = f"OpenVINO, batch 1: {times[kind].median_ms:.2f} against {times['float32'].median_ms:.2f} ms{_interval(gain)}"
        met = (gain.low or gain.value) > 1
        results.append(Result(f"{name}, {kind}: speed over that of float32", gain.value, "x", "above 1", met, detail))
    return results


def _interval(estimate: Estimate, digits: int = 2) -> str:
    """'; 95 % 2.70 to 2.85', or nothing."""
    return f"; 95 % {estimate.low:.{digits}f} to {estimate.high:.{digits}f}" if estimate.known else "; no interval"
