"""An invented search with plausible numbers and known verdicts, and searches that came to little. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ablation.record.attribution import Effect
from ablation.record.search import (
    REFUSED,
    STOPPED,
    Candidate,
    Growth,
    Limit,
    LossDistribution,
    PredictionError,
    Rung,
    SearchedSpace,
    SearchResult,
)
from ablation.record.search_confirmed import (
    BETTER,
    FASTEST,
    LATENCY,
    LOSS,
    PARAMS,
    TEST_LOSS,
    UNSETTLED,
    WORSE,
    Confirmation,
    Confirmed,
    FastestMode,
    SeedLoss,
    Stage,
    Timing,
    Undone,
    Verdict,
)
from ablation.record.trial import COMPLETE, FAILED, WAITING

PLACES = ("cpu/1", "cpu/32")
MS = (24.6, 885.0)
LEVELS = {
    "encoder_conv": ("standard", "reparameterised", "partial"),
    "down": ("max", "residual_unshuffle"),
    "space_to_depth": ("1", "2", "4"),
    "widths": ("32-64-128", "64-128-192"),
}
# fields of a ModelSpec as plain values, some of them the defaults
SPEC: dict[str, Any] = {
    "image_size": 144,
    "latent_dim": 128,
    "encoder_widths": [64, 128, 192],
    "decoder_widths": [192, 128, 64],
    "decoder_stem": 192,
    "head": "bottleneck",
    "norm": "batch",
    "depth": 2,
    "transposed": False,
    "encoder_conv": ["standard", "separable", "separable"],
}
REFERENCE = Candidate(
    label="original",
    key="0" * 16,
    spec={"image_size": 144},
    state=COMPLETE,
    params=9_352_195,
    macs=664_879_104,
    latency={place: Timing(ms=ms, sittings=6) for place, ms in zip(PLACES, MS, strict=True)},
    losses=(0.80, 0.72, 0.69, 0.6712),
    best_loss=0.6712,
)
MODIFIED = replace(
    REFERENCE,
    label="modified",
    params=6_283_267,
    macs=1_101_969_536,
    best_loss=0.702,
    latency={"cpu/1": Timing(ms=96.2, ratio=3.9), "cpu/32": Timing(ms=5200.0, ratio=5.9)},
)
STAGES = {
    "reference": (
        Stage(name="image", text="3 colours", shape=(3, 144, 144)),
        *(
            Stage(
                name=f"encoder {n + 1}",
                text="3x3 convolution, batch norm, ELU, max-pooling",
                shape=(32 << n, 72 >> n, 72 >> n),
                params=9000 << 2 * n,
            )
            for n in range(4)
        ),
        Stage(name="head", text="flattened, two linear layers", shape=(128,), params=5_308_672),
        Stage(name="stem", text="linear", shape=(256, 9, 9), params=2_674_944),
        *(
            Stage(
                name=f"decoder {n + 1}",
                text="nearest, 3x3 convolution",
                shape=(256 >> n, 18 << n, 18 << n),
                params=590_000 >> 2 * n,
            )
            for n in range(4)
        ),
        Stage(name="output", text="3x3 convolution, sigmoid", shape=(3, 144, 144), params=867),
    ),
    "winner": (
        Stage(name="image", text="3 colours", shape=(3, 144, 144)),
        Stage(name="space to depth", text="4 x 4 pixels become channels", shape=(48, 36, 36)),
        Stage(name="encoder 1", text="reparameterised 3x3 convolution, halved", shape=(64, 36, 36), params=64_000),
        Stage(name="encoder 2", text="reparameterised 3x3 convolution, halved", shape=(128, 18, 18), params=226_000),
        Stage(name="head", text="squeezed to 16 channels, linear", shape=(128,), params=331_000),
        Stage(name="decoder 1", text="reparameterised 3x3 convolution, doubled", shape=(128, 18, 18), params=226_000),
        Stage(name="output", text="3x3 convolution to 48 channels, depth to space", shape=(3, 144, 144), params=27_000),
    ),
}


def fake_search(num: int = 60, seed: int = 0, **changes: Any) -> SearchResult:
    """A search of `num` proposals whose winner, the one with the lowest loss, is confirmed with 5 seeds, better on every axis."""
    rng = np.random.default_rng(seed)
    proposals = [_proposal(rng, number) for number in range(num)]
    complete = [c for c in proposals if c.state == COMPLETE]
    winner = min(complete, key=lambda c: c.best_loss or 9.0)
    proposals[proposals.index(winner)] = winner = replace(
        winner,
        spec=SPEC,
        params=2_143_811,
        deployed_params=1_954_003,
        macs=180_000_000,
        best_loss=0.6489,
        entered_front=True,
        latency={
            "cpu/1": Timing(predicted_ms=6.4, ms=6.6, ratio=0.268),
            "cpu/32": Timing(predicted_ms=131.0, ms=129.0, ratio=0.146),
        },
    )
    steps = np.sort(rng.uniform(0.2, 0.8, len(complete)))
    values: dict[str, Any] = {
        "title": "What to build instead of original: 144 px faces",
        "command": "python -m studies.run search --limit params=3M",
        "data": "CelebA, 2,800 training images at 144 px",
        "machine": "AMD EPYC, 1 thread",
        "protocol": "6 epochs, Adam 3e-4, L1 and SSIM plus the weighted KL term, one seed",
        "reference": REFERENCE,
        "others": (MODIFIED,),
        "limits": (
            Limit(metric="params", text="3M", value=3e6, num_excluded=80_000),
            Limit(metric="latency", place="cpu/1", text="0.5x", value=12.3, num_excluded=None),
        ),
        "space": SearchedSpace(name="search", factors=LEVELS, num_combinations=139_968, num_valid=118_098, num_inside=24_000),
        "sampler": "free",
        "sampler_text": "Expected gain of hypervolume; only the loss is uncertain.",
        "budget": "60 trainings",
        "num_warm": 12,
        "seconds": 3720.0,
        "prediction": tuple(PredictionError(place=p, num_fitted=60, num_held_out=50, median=0.031, within_10=0.94) for p in PLACES),
        "proposals": tuple(proposals),
        "rungs": (
            Rung(epochs=2, num_stopped=8, rank_correlation=0.61, num=30),
            Rung(epochs=3, num_stopped=4, rank_correlation=0.84, num=30),
        ),
        "growth": Growth(
            reached=tuple(steps), random=tuple(steps * 0.8), random_low=tuple(steps * 0.7), random_high=tuple(steps * 0.9)
        ),
        "distribution": LossDistribution(quantiles=tuple((n / 20, 0.645 + 0.12 * (n / 20) ** 0.6) for n in range(21)), num=20_000),
        "winner": winner.number,
        "confirmation": fake_confirmation(winner),
        "undone": fake_undone(),
        "drawings": STAGES,
        "gallery_reason": "CelebA's licence forbids passing its images on",
        "next_commands": {
            "why it differs": "python -m studies.run explain original results/search/winner.toml",
            "take it with you": "python -m studies.run export results/search/winner.toml",
        },
        "provenance": {"commit": "0123456", "hardware": {"cpu": "AMD EPYC", "cpu_cores": 2}, "seeds": [1, 2, 3, 4, 5]},
    }
    return SearchResult(**{**values, **changes})


def _proposal(rng: np.random.Generator, number: int) -> Candidate:
    """One proposal; of ten six are complete, two stopped early, one refused and one failed."""
    state = (COMPLETE, COMPLETE, STOPPED, COMPLETE, REFUSED, COMPLETE, COMPLETE, STOPPED, FAILED, COMPLETE)[number % 10]
    size = float(rng.uniform(0.5, 3.5))
    factors = {factor: str(rng.choice(levels)) for factor, levels in LEVELS.items()}
    best = 0.66 + 0.06 / size + float(rng.normal(0, 0.006))
    epochs = {COMPLETE: 4, STOPPED: 2}.get(state, 0)
    ratios = (0.12 * size, 0.07 * size)
    timed = state in (COMPLETE, STOPPED)
    return Candidate(
        number=number,
        label=", ".join(factors.values()),
        key=f"{number:016x}",
        spec={**SPEC, "depth": 1},
        factors=factors,
        state=state,
        reason={REFUSED: "params 3.4M is over the limit 3M", FAILED: "ValueError: channels 48 cannot be split in 5"}.get(state, ""),
        rung=2 if state == STOPPED else None,
        params=int(size * 1e6),
        macs=int(size * 9e7),
        latency={
            place: Timing(
                predicted_ms=ms * ratio * float(rng.normal(1, 0.04)),
                ms=ms * ratio if timed else None,
                ratio=ratio if timed else None,
            )
            for place, ms, ratio in zip(PLACES, MS, ratios, strict=True)
        },
        losses=tuple(best + 0.12 / (n + 1) - 0.03 for n in range(epochs)),
        best_loss=best if epochs else None,
        ended_s=60.0 * number + 60,
        entered_front=number % 7 == 0,
    )


def fake_confirmation(winner: Candidate, seeds: int = 5, kinds: Sequence[str] = (BETTER,) * 7) -> Confirmation:
    """Both networks with so many seeds, one finalist more, and verdicts on parameters, latency, fastest mode and losses.

    With fewer than 3 seeds neither loss has an interval or is settled. `kinds`: the verdicts in that order.
    """
    both = [
        Confirmed(
            number=number,
            label=label,
            search_loss=loss,
            params=params,
            deployed_params=deployed,
            macs=macs,
            rates={"1e-4": loss + 0.02, "3e-4": loss, "1e-3": None},
            rate="3e-4",
            seeds=tuple(SeedLoss(seed=100 + n, validation=loss + 0.002 * n, test=loss + 0.004 + 0.002 * n) for n in range(seeds)),
            latency={p: Timing(ms=ms, ratio=r, low=r and r * 0.98, high=r and r * 1.02, sittings=6) for p, ms, r in timed},
            fastest={p: FastestMode(mode="OpenVINO", ms=ms / 3, ratio=r and r * 1.5) for p, ms, r in timed},
        )
        for number, label, loss, params, deployed, macs, timed in (
            (None, "original", 0.6650, 9_352_195, None, 664_879_104, (("cpu/1", 24.6, None), ("cpu/32", 885.0, None))),
            (
                winner.number,
                winner.label,
                0.6340,
                2_143_811,
                1_954_003,
                180_000_000,
                (("cpu/1", 6.6, 0.268), ("cpu/32", 129.0, 0.146)),
            ),
            (3, "standard, max, 4, 32-64-128", 0.6440, 1_100_000, None, 90_000_000, (("cpu/1", 3.9, 0.16), ("cpu/32", 80.0, 0.09))),
        )
    ]
    few = seeds < 3
    axes = (
        (PARAMS, "", 9_352_195, 2_143_811, 0.0),
        (LATENCY, "cpu/1", 24.6, 6.6, 0.005),
        (LATENCY, "cpu/32", 885.0, 129.0, 0.003),
        (FASTEST, "cpu/1", 7.1, 3.1, 0.02),
        (FASTEST, "cpu/32", 225.0, 101.0, 0.02),
        (LOSS, "", 0.669, 0.638, 0.006),
        (TEST_LOSS, "", 0.673, 0.642, 0.007),
    )
    verdicts = []
    for (metric, place, reference, value, reach), kind in zip(axes, kinds, strict=True):
        ratio, of_seeds = metric in (LATENCY, FASTEST), metric in (LOSS, TEST_LOSS)
        worse = kind == WORSE and of_seeds
        effect = value / reference if ratio else (reference - value if worse else value - reference)
        known = bool(reach) and not (few and of_seeds)
        verdicts.append(
            Verdict(
                number=winner.number or 0,
                metric=metric,
                place=place,
                reference=reference,
                value=reference + effect if of_seeds else value,
                effect=effect,
                low=effect - reach if known else None,
                high=effect + reach if known else None,
                p=0.0002 if known else None,
                corrected_p=0.0012 if known else None,
                verdict=UNSETTLED if few and of_seeds else kind,
                num=(seeds if of_seeds else 6) if reach else None,
                of=("seeds" if of_seeds else "sittings") if reach else "",
            )
        )
    return Confirmation(
        data="CelebA, 2,800 training, 400 validation and 400 test images at 144 px",
        protocol="6 epochs, Adam, 5 fresh seeds",
        timing="6 sittings, 1 thread",
        corrected="Holm's method over 14 comparisons",
        reference=both[0],
        networks=tuple(both[1:]),
        verdicts=tuple(verdicts),
    )


def fake_undone() -> tuple[Undone, ...]:
    """Four swaps: one settled, one not settled, one without a loss, one that cannot be undone alone."""

    def latency(first: float, second: float) -> dict[str, Effect]:
        values = zip(PLACES, (first, second), strict=True)
        return {p: Effect(value=v, low=v * 0.98, high=v * 1.02, verdict="settled", num=6, of="sittings") for p, v in values}

    return (
        Undone(
            factor="encoder_conv",
            reference="standard",
            winner="reparameterised",
            params=-189_808,
            macs=0,
            latency=latency(1.0, 1.0),
            loss=Effect(value=0.0123, low=0.008, high=0.0166, verdict="settled", num=3, of="seeds"),
        ),
        Undone(
            factor="down",
            reference="max",
            winner="residual_unshuffle",
            params=12_000,
            macs=1,
            latency=latency(1.3, 1.5),
            loss=Effect(value=-0.002, low=-0.008, high=0.004, verdict="not settled", num=3, of="seeds"),
        ),
        Undone(factor="space_to_depth", reference="1", winner="4", params=-40_000, macs=1, latency=latency(3.9, 5.1)),
        Undone(factor="depth_to_space", reference="1", winner="4", reason="with three stages the decoder would end at 36 px"),
    )


def unfinished(num: int, state: str, reason: str = "") -> SearchResult:
    """A search whose proposals all came to one end, without a winner."""
    proposals = tuple(
        replace(
            c,
            state=state,
            reason=reason,
            rung=2 if state == STOPPED else None,
            losses=c.losses[:2] if state == STOPPED else (),
            best_loss=0.8 + 0.001 * c.number if state == STOPPED and c.number is not None else None,
        )
        for c in fake_search(max(num, 10)).proposals[:num]
    )
    return fake_search(
        proposals=proposals,
        winner=None,
        confirmation=None,
        undone=(),
        drawings={},
        rungs=(),
        growth=None,
        distribution=None,
        next_commands={},
    )


def bare() -> SearchResult:
    """A search of which nothing is known but what it needs."""
    return SearchResult(
        title="A search", reference=Candidate(label="original", state=WAITING), space=SearchedSpace(name="s", num_combinations=1)
    )
