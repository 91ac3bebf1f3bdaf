"""Invented records with known effects, for the tests of reports. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ablation.record.trial import COMPLETE, FAILED, WAITING, Record
from ablation.report.study.rows import StudyInfo

FACTORS: dict[str, tuple[str, ...]] = {
    "connectivity": ("plain", "residual", "dense"),
    "conv": ("standard", "separable"),
    "head": ("flatten", "pooled"),
}
# what each level adds to the loss, multiplies the latency by, and adds in parameters and multiply-accumulates
LOSS = {
    "pointwise_first": 0.006,
    "shuffle": -0.004,
    "bilinear": 0.003,
    "bottleneck": 0.012,
    "plain": 0.0,
    "residual": -0.02,
    "dense": 0.05,
    "standard": 0.0,
    "separable": 0.01,
    "flatten": 0.0,
    "pooled": 0.03,
}
TIMES = {
    "pointwise_first": 1.4,
    "shuffle": 1.1,
    "bilinear": 1.04,
    "bottleneck": 1.01,
    "plain": 1.0,
    "residual": 1.25,
    "dense": 3.0,
    "standard": 1.0,
    "separable": 1.5,
    "flatten": 1.0,
    "pooled": 0.996,
}
PARAMS = {
    "pointwise_first": -520_000,
    "shuffle": 900_000,
    "bottleneck": -4_000_000,
    "plain": 0,
    "residual": 40_000,
    "dense": -300_000,
    "standard": 0,
    "separable": -500_000,
    "flatten": 0,
    "pooled": -5_242_880,
}
MACS = {
    "pointwise_first": -310_000_000,
    "shuffle": 90_000_000,
    "bottleneck": -4_000_000,
    "plain": 0,
    "residual": 9_000_000,
    "dense": 700_000_000,
    "standard": 0,
    "separable": -300_000_000,
    "flatten": 0,
    "pooled": -5_300_000,
}


def fake_record(factors: Mapping[str, str], seed: int = 0, noise: float = 0.0, **changes: Any) -> Record:
    """A complete trial whose numbers follow from its levels by the tables above; unknown levels have no effect."""
    levels = list(factors.values())
    wobble = noise * math.sin(37.0 * seed + sum(map(ord, "".join(levels))))
    loss = 0.55 + sum(LOSS.get(x, 0.0) for x in levels) + wobble
    times = math.prod(TIMES.get(x, 1.0) for x in levels)
    params = 9_352_195 + sum(PARAMS.get(x, 0) for x in levels)
    macs = 664_900_000 + sum(MACS.get(x, 0) for x in levels)
    values: dict[str, Any] = {
        "network_key": "-".join(levels),
        "label": ", ".join(levels),
        "seed": seed,
        "state": COMPLETE,
        "number": seed,
        "factors": dict(factors),
        "intents": (dict(factors),),
        "costs": _costs(params, macs),
        "latency": {"cpu/1": _latency(1.8, times), "cpu/32": _latency(26.0, times**0.9)},
        "training": _training(loss, seed),
        "quality": {
            "replica": {"loss": loss + 0.002, "ssim": 1 - loss},
            "reporting": {"ssim": 1 - loss, "psnr": 30 - 20 * loss, "l1": loss / 10, "ms_ssim": 1 - loss / 2},
        },
        "data": {"name": "faces", "num_train": 1400, "num_validation": 300, "num_test": 300},
    }
    return Record(**{**values, **changes})


def _costs(params: int, macs: int) -> dict[str, Any]:
    return {
        "params": params, "macs": macs, "elements_written": macs // 80, "bytes_moved": macs // 10,
        "num_ops": 60 + params // 200_000, "fvcore_params": params, "fvcore_flops": macs + macs // 25,
        "by_part": {"head": {"params": params // 2, "macs": macs // 9}},
    }  # fmt: skip


def _latency(base_ms: float, times: float) -> dict[str, Any]:
    median = base_ms * times
    # what loading anew changes, another for each network
    loads = [1 + 0.002 * math.sin(7.0 * sitting + 1000 * times) for sitting in range(5)]
    return {
        "median_ms": median, "low_ms": median * 0.99, "high_ms": median * 1.01,
        "ratio": times, "ratio_low": times * 0.99, "ratio_high": times * 1.01, "converged": times < 4,
        "sittings": 5, "rounds": 50,
        "ratio_by_sitting": [times * x for x in loads], "ms_by_sitting": [median * x for x in loads],
    }  # fmt: skip


def _training(loss: float, seed: int, num_epochs: int = 6) -> dict[str, Any]:
    curve = [loss + 0.25 * math.exp(-0.8 * e) - 0.25 * math.exp(-0.8 * (num_epochs - 1)) for e in range(num_epochs)]
    epochs = [{"epoch": e + 1, "train_loss": v + 0.06 * math.exp(-0.4 * e), "val_loss": v} for e, v in enumerate(curve)]
    return {
        "best_loss": loss, "best_epoch": num_epochs, "seconds": 11.0 + loss + seed, "images_per_second": 240.0,
        "stopped_early": False, "epochs": epochs,
    }  # fmt: skip


def fake_records(factors: Mapping[str, Sequence[str]] = FACTORS, seeds: Sequence[int] = (0,), noise: float = 0.0) -> list[Record]:
    """The full factorial, each variant once per seed, all complete."""
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return [fake_record(cell, seed, noise, number=n) for n, (seed, cell) in enumerate(product(seeds, cells))]


def inert_records(seeds: Sequence[int] = (0,)) -> list[Record]:
    """Connectivity x growth x head, where growth does nothing under plain connectivity: 6 networks of 8 intents."""
    records = []
    for seed, connectivity, growth, head in product(seeds, ("plain", "dense"), ("16", "32"), ("flatten", "pooled")):
        if connectivity == "plain" and growth == "32":
            continue
        intent = {"connectivity": connectivity, "growth": growth, "head": head}
        twins = ({**intent, "growth": g} for g in ("16", "32"))
        extra = {"intents": tuple(twins)} if connectivity == "plain" else {}
        records.append(fake_record(intent, seed, number=len(records), **extra))
    return records


def failed(record: Record, reason: str = "loss is NaN in epoch 2") -> Record:
    """The same trial, failed."""
    return _without_results(record, FAILED, reason)


def waiting(record: Record) -> Record:
    """The same trial, not started."""
    return _without_results(record, WAITING, "")


def _without_results(record: Record, state: str, reason: str) -> Record:
    empty = {"costs": {}, "latency": {}, "training": {}, "quality": {}}
    return Record.from_dict({**record.to_dict(), **empty, "state": state, "reason": reason})


def fake_study(records: Sequence[Record], **changes: Any) -> StudyInfo:
    """A study over `records`, with the factors that they vary and the first record's network as its reference."""
    levels: dict[str, dict[str, None]] = {}
    for record in records:
        for intent in record.intents:
            for factor, level in intent.items():
                levels.setdefault(factor, {})[level] = None
    values: dict[str, Any] = {
        "title": "Grid of 48 px variants", "command": "python -m studies.run grid", "device": "AMD EPYC 7763, 2 threads",
        "data": {"name": "faces", "num_images": 2000, "image_size": 48, "fingerprint": "9a1b", "notes": []},
        "num_planned": len(records), "protocol": {"epochs": 6, "batch_size": 32, "learning_rate": 1e-4},
        "factors": {f: tuple(names) for f, names in levels.items()}, "reference": records[0].network_key if records else "",
        "provenance": {
            "commit": "0123abc", "packages": {"torch": "2.11.0"}, "hardware": {"cpu": "AMD EPYC 7763"},
            "seeds": sorted({r.seed for r in records}), "data_fingerprint": "9a1b",
        },
        "latency_noise": {
            "cpu/1": {"ratio": 1.002, "low": 0.99, "high": 1.012, "sittings": 5, "rounds": 50},
            "cpu/32": {"ratio": 0.999, "low": 0.994, "high": 1.004, "sittings": 5, "rounds": 50},
        },
    }  # fmt: skip
    return StudyInfo(**{**values, **changes})
