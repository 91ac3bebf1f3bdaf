"""An invented explanation with the true static costs of the paper's pair and plausible times, and a quick one. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import (
    OTHER,
    REDUCED,
    SAME,
    Calibration,
    Control,
    Decomposition,
    Explanation,
    Guideline,
    GuidelinePoint,
    ModeResult,
    Remedy,
    Share,
    SweepPoint,
)

FACTORS = {
    "encoder_connectivity": ("plain", "dense"),
    "decoder_connectivity": ("plain", "dense"),
    "encoder_conv": ("standard", "pointwise_first"),
    "decoder_conv": ("standard", "pointwise_first"),
    "head": ("flatten", "pooled"),
    "encoder_stem": ("0", "32"),
    "down": ("max", "avg"),
    "widths": ("256", "512"),
}
# weights of each factor in each quantity; scaled so that they add up to the true difference
WEIGHTS = {
    "params": (0.08, 0.10, -0.33, -0.50, -5.18, 0.01, 0.0, 2.75),
    "macs": (620.0, 190.0, -210.0, -290.0, -9.0, 17.9, 0.0, 118.2),
    "elements_written": (50.0, 16.0, 2.0, 1.5, -0.02, 2.0, 0.6, 5.0),
    "bytes_moved": (430.0, 130.0, 20.0, 12.0, -14.0, 18.0, 4.0, 60.0),
    "num_ops": (95.0, 91.0, 20.0, 20.0, 0.0, 3.0, 0.0, -1.0),
    "log_latency": (0.83, 0.52, 0.12, 0.09, -0.018, 0.055, 0.004, 0.16),
    "peak_bytes": (24.0, 3.0, 0.5, 0.4, -6.0, 2.0, 0.1, 9.0),
    "loss": (0.052, 0.034, 0.006, 0.004, 0.015, 0.001, 0.0006, -0.002),
}
ENDS = {
    "params": (9_352_195, 6_283_267),
    "macs": (664_879_104, 1_101_969_536),
    "elements_written": (6_698_624, 83_665_984),
    "bytes_moved": (91_088_908, 750_848_268),
    "num_ops": (43, 271),
    "log_latency": (math.log(17.7), math.log(103.2)),
    "latency_ms": (17.7, 103.2),
    "peak_bytes": (52_000_000, 85_000_000),
    "loss": (0.5572, 0.6699),
}
NOISY = ("log_latency", "latency_ms", "loss")
# class -> (ms in original, in modified), then the true (num_ops, macs, bytes) of each
CLASSES: dict[str, Any] = {
    "convolution": (11.2, 0.75, (9, 656_916_480, 18_405_900), (2, 35_831_808, 5_813_132)),
    "depthwise convolution": (0.0, 8.1, (0, 0, 0), (32, 39_657_600, 35_292_160)),
    "pointwise convolution": (0.0, 26.4, (0, 0, 0), (40, 1_021_040_640, 113_285_504)),
    "linear": (2.5, 1.7, (3, 7_962_624, 32_184_832), (3, 5_439_488, 22_096_384)),
    "normalisation": (0.9, 19.6, (8, 0, 12_456_960), (73, 0, 203_510_272)),
    "activation": (1.3, 25.7, (10, 0, 13_105_152), (75, 0, 204_166_656)),
    "concatenation": (0.0, 14.2, (0, 0, 0), (32, 0, 147_847_680)),
    "pooling": (0.7, 1.2, (4, 0, 8_709_120), (5, 0, 12_609_536)),
    "upsampling": (0.5, 0.55, (4, 0, 6_220_800), (4, 0, 6_220_800)),
    "elementwise": (0.02, 0.02, (4, 0, 5_120), (4, 0, 5_120)),
    "random": (0.01, 0.01, (1, 0, 1_024), (1, 0, 1_024)),
}
PARTS = {"encoder_body": (7.6, 71.2), "head": (1.7, 0.3), "stem": (0.9, 1.8), "decoder_body": (6.3, 25.0), "output": (0.6, 0.6)}
BANDWIDTH, RATE = 9.6, 6.1e10


def _effects(metric: str, scale: float = 1.0) -> dict[str, Effect]:
    start, end = ENDS[metric]
    weights = WEIGHTS["log_latency" if metric == "latency_ms" else metric]
    whole = end - start
    values = [w * whole / sum(weights) for w in weights]
    if isinstance(whole, int):
        values = [float(round(v)) for v in values]
        values[-1] += whole - sum(values)
    return {name: _effect(metric, scale * v, whole) for name, v in zip(FACTORS, values, strict=True)}


def _effect(metric: str, value: float, whole: float) -> Effect:
    if metric not in NOISY:
        return Effect(value=value, share=value / whole)
    half = (0.025 if metric == "loss" else 0.008) * abs(whole)
    low, high = value - half, value + half
    num, of, needed = (3, "seeds", 5) if metric == "loss" else (5, "sittings", 180)
    verdict = "within noise" if abs(value) < 0.6 * half else "not settled" if low < 0 < high else "settled"
    return Effect(
        value=value, low=low, high=high, share=value / whole, verdict=verdict, needed=needed if verdict == "not settled" else None,
        num=num, of=of,
    )  # fmt: skip


def fake_attribution(metric: str, place: str = "") -> Attribution:
    """The whole difference of one quantity; the Shapley values add up to it."""
    start, end = ENDS[metric]
    shapley = _effects(metric)
    names = list(FACTORS)
    pairs = {f"{a} + {b}": shapley[a].value * 0.1 * (1 - n / 40) for n, (a, b) in enumerate(_pairs(names))}
    path, value = [], float(start)
    for name in sorted(names, key=lambda n: -abs(shapley[n].value)):
        value += shapley[name].value
        path.append((name, value))
    return Attribution(
        metric=metric, place=place, start=start, end=end, shapley=shapley,
        from_start=_effects(metric, 0.8), from_end=_effects(metric, 1.15),
        interactions={name: _effect(metric, v, end - start) for name, v in pairs.items()}, path=tuple(path),
        residual=end - start - sum(e.value for e in shapley.values()), num_variants=192, num_possible=256,
        corrected="Holm over 8 effects" if metric in NOISY else "",
    )  # fmt: skip


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]


def _mode(mode: str, text: str, first: float, second: float, error: float = 0.0, prepare: float | None = None) -> ModeResult:
    ratio, gain = second / first, 103.2 / second
    return ModeResult(
        mode=mode, text=text, first_ms=first, second_ms=second, ratio=ratio, ratio_low=ratio * 0.985, ratio_high=ratio * 1.015,
        first_gain=17.7 / first, second_gain=gain, second_gain_low=gain * 0.98, second_gain_high=gain * 1.02,
        max_error=error, prepare_s=prepare, rounds=60, sittings=5,
        keeps=OTHER if mode == "inference only" else REDUCED if "bf16" in mode else SAME,
    )  # fmt: skip


MODES = (
    _mode("eager", "As it is built, one operation after the other.", 17.7, 103.2),
    _mode("inference only", "The mean instead of a sample; the unused log-variance head is left out.", 16.6, 101.9),
    _mode("channels_last", "Images stored with channels innermost.", 17.1, 82.4, 4.8e-7),
    _mode("folded", "Batch norm folded into the convolution before it, where that is exact.", 16.8, 100.4, 1.1e-6),
    _mode("no concatenation", "Dense blocks write into one buffer instead of concatenating.", 17.7, 88.9, 3.0e-7),
    _mode("compiled", "torch.compile fuses operations and removes Python.", 14.9, 47.5, 2.6e-6, 41.3),
    _mode("no concatenation + compiled", "Both at once.", 14.9, 39.2, 2.9e-6, 38.8),
    ModeResult(
        mode="bf16", text="Sixteen-bit floating point.", reason="this CPU has no bf16 arithmetic, and emulating it is slower"
    ),
    ModeResult(mode="CUDA graph", text="All launches recorded once and replayed.", reason="there is no CUDA device here"),
)


def _decomposition(name: str, which: int, total: float) -> Decomposition:
    shares = []
    for cls, row in CLASSES.items():
        ms, (ops, macs, moved) = row[which], row[2 + which]
        if not ops:
            continue
        bounds = {"bytes": moved / BANDWIDTH / 1e6, "macs": macs / RATE * 1e3, "calls": ops * 0.0012}
        worst = max(bounds, key=lambda key: bounds[key])
        shares.append(Share(
            name=cls, ms=ms, num_ops=ops, macs=macs, bytes_moved=moved, bytes_bound_ms=bounds["bytes"],
            macs_bound_ms=bounds["macs"], limited_by=worst, efficiency=bounds[worst] / ms,
        ))  # fmt: skip
    host = 0.002 * sum(share.num_ops for share in shares)
    residual = total - host - sum(share.ms for share in shares)
    return Decomposition(
        name=name, place="cpu/1", total_ms=total, by_class=tuple(shares), host_ms=host, residual_ms=residual,
        by_part=tuple(Share(name=part, ms=times[which]) for part, times in PARTS.items()),
        by_block=tuple(Share(name=f"encoder_body.{n}", ms=ms) for n, ms in enumerate((31.0, 22.0, 12.0, 6.2))),
        explained=1 - abs(residual) / total, notes=("Times by block hold for the encoder only.",),
    )  # fmt: skip


def _sweep() -> tuple[SweepPoint, ...]:
    points = []
    for batch in (1, 2, 4, 8, 16, 32, 64, 128):
        first, second = 3.0 + 14.7 * batch**0.97, 9.0 + 94.2 * batch**1.02
        ratio = second / first
        points.append(SweepPoint(
            batch_size=batch, first_ms=first, second_ms=second, ratio=ratio, ratio_low=ratio * 0.98, ratio_high=ratio * 1.02,
            rounds=60, sittings=5,
        ))  # fmt: skip
    return (*points, SweepPoint(batch_size=256, first_ms=3.0 + 14.7 * 256**0.97, reason="modified: out of memory at 256 images"))


def _guidelines() -> tuple[Guideline, ...]:
    macs, hold = "multiply-accumulates", "holds here"
    widths = {"1:1": 1, "1:2": 1.07, "1:6": 1.31, "1:12": 1.62}
    experiments = {
        "G1": ("Equal channel widths make a 1x1 convolution fastest", macs, hold, widths),
        "G2": ("More groups cost time", macs, hold, {"1": 1, "2": 1.1, "4": 1.34, "8": 1.9}),
        "G3": ("Fragments cost time", macs, "undecided", {"1": 1, "2 in series": 1.05, "2 parallel": 1.01, "4 parallel": 0.99}),
        "G4": ("Element-wise operations are not free", "convolutions", hold, {"none": 1, "ELU": 1.45, "ELU, add": 1.6}),
    }
    return tuple(
        Guideline(name=name, claim=claim, held_fixed=fixed, verdict=verdict, rounds=60, sittings=5, points=tuple(
            GuidelinePoint(setting=s, ms=2.1 * r, relative=r, low=r * 0.97, high=r * 1.03) for s, r in settings.items()
        ))
        for name, (claim, fixed, verdict, settings) in experiments.items()
    )  # fmt: skip


REMEDIES = (
    Remedy(
        name="no concatenation + compiled", text="Same weights; dense blocks write into one buffer, and the whole is compiled.",
        code='model = ablation.optimise(model, concatenate=False, compile=True)\nreconstruction, mean, log_var = model(images)',
        gain=2.63, gain_low=2.58, gain_high=2.69, max_error=2.9e-6, keeps=SAME,
    ),
    Remedy(
        name="compiled", text="Same weights, compiled.", code="model = torch.compile(model.eval())", gain=2.17, gain_low=2.13,
        gain_high=2.22, max_error=2.6e-6, keeps=SAME,
    ),
    Remedy(
        name="plain encoder", text="Another network: encoder stages without dense connections, to be trained.",
        code='preset = "modified"\nencoder_connectivity = "plain"', gain=2.31, gain_low=2.27, gain_high=2.36,
    ),
    Remedy(name="folded", text="Same weights, batch norm folded.", code="model = ablation.optimise(model, fold=True)", gain=1.03,
           gain_low=0.99, gain_high=1.05, max_error=1.1e-6, keeps=SAME),
)  # fmt: skip


def fake_explanation(**changes: Any) -> Explanation:
    """A full explanation of original and modified on a CPU."""
    values: dict[str, Any] = {
        "first": "original", "second": "modified",
        "specs": {"original": {"preset": "original"}, "modified": {"preset": "modified"}},
        "costs": {name: _costs(n) for n, name in enumerate(("original", "modified"))},
        "factors": dict(FACTORS), "impossible": (("head=pooled, widths=3", "the stem needs 512 channels"),), "device": "cpu",
        "attributions": (
            *(fake_attribution(m) for m in ("params", "macs", "elements_written", "bytes_moved", "num_ops")),
            *(fake_attribution(m, "cpu/1") for m in ("log_latency", "latency_ms", "peak_bytes")), fake_attribution("loss"),
        ),
        "modes": MODES, "sweep": _sweep(), "knee": {"original": 8, "modified": 2},
        "decompositions": (_decomposition("original", 0, 17.7), _decomposition("modified", 1, 103.2)),
        "calibration": Calibration(place="cpu/1", bandwidth_gb_s=BANDWIDTH, macs_per_s=RATE, call_us=1.2, threads=1),
        "guidelines": _guidelines(),
        "controls": (
            Control(name="same parameters", label="plain, latent widths cut to 6.28 M parameters", spec={"preset": "original"},
                    params=6_283_011, macs=447_000_000, median_ms=12.6, ratio=0.71, ratio_low=0.70, ratio_high=0.72,
                    rounds=60, sittings=5),
            Control(name="same multiply-accumulates", label="plain, widened to 1.10 G", spec={"preset": "original"},
                    params=14_100_000, macs=1_101_900_000, median_ms=28.4, ratio=1.60, ratio_low=1.58, ratio_high=1.63,
                    rounds=60, sittings=5),
        ),
        "remedies": REMEDIES, "noise": {"cpu/1": {"ratio": 1.001, "low": 0.994, "high": 1.007}},
        "limits": ("Peak memory on the CPU is what torch asked for, not what the system gave.",
                   "SSIM and PSNR: no trained factorial has them."),
        "provenance": {"command": "python -m studies.run explain original modified", "torch": "2.11.0", "threads": 1,
                       "cpu": "AMD EPYC 7763"},
    }  # fmt: skip
    return Explanation(**{**values, **changes})


def _costs(which: int) -> Mapping[str, Any]:
    by_class = {
        name: {"num_ops": row[2 + which][0], "macs": row[2 + which][1], "bytes_moved": row[2 + which][2]}
        for name, row in CLASSES.items()
    }
    totals = {m: ENDS[m][which] for m in ("params", "macs", "elements_written", "bytes_moved", "num_ops")}
    return {**totals, "batch_size": 1, "input_shape": [3, 144, 144], "by_class": by_class, "by_part": {}}


def quick_explanation() -> Explanation:
    """Static attribution only: no timing, no modes, no sweep, no guidelines."""
    return fake_explanation(
        attributions=(fake_attribution("params"), fake_attribution("macs")), modes=(), sweep=(), knee={}, decompositions=(),
        calibration=None, guidelines=(), controls=(), remedies=(), noise={}, impossible=(),
        limits=(
            "Latency was not timed: --quick counts only.", "No batch sweep: --quick leaves it out.",
            "Guidelines were left out by --quick.", "Loss was not attributed: no variant was trained.",
        ),
    )  # fmt: skip
