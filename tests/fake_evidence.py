"""Invented evidence of the paper's study with settable truths: four arms, any number of seeds, the ten hypotheses. No torch.

`fake_evidence(seeds=3)` is a world in which the paper is right about most of what can be measured. `truths` plants others:

    fake_evidence(truths={"analysis.latent.hopkins.value": {"modified": 0.5}})     # the mean over seeds of one arm
    fake_evidence(truths={"analysis.quality.reporting.ssim": (0.8, 0.8, 0.8, 0.8)})    # of the four arms, in their order
    fake_evidence(without=("analysis.latent", "record.training.epochs"))           # missing in every trial
    fake_evidence(spread=0.2, explanation=None, speed={})                          # noise between seeds; fields of Evidence
"""

from __future__ import annotations

import copy
import itertools
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import Explanation
from ablation.record.trial import COMPLETE, FAILED, Record
from studies.paper.evidence.evidence import MAIN_ARMS, Evidence, Trial
from studies.paper.facts import REPORTED
from tests.fake_explanation import fake_explanation

Truth = Mapping[str, float] | Sequence[float]
ATTRIBUTES = ("Smiling", "Male", "Eyeglasses", "Blond_Hair", "Bangs", "Wearing_Hat", "Young", "Mouth_Slightly_Open")
LOSSES = ("L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM")
HYPOTHESES = tuple(f"{loss}{mask}" for loss in LOSSES for mask in ("", ", mask"))
SCORES = ("target", "leakage", "specificity")
BY_IMAGE = (
    "ssim", "ms_ssim", "psnr", "l1", "delta_e", "l1_inside", "l1_outside", "high_frequency", "high_frequency_matched",
)  # fmt: skip
NUM_IMAGES, NUM_EPOCHS, LATENT_DIM = 60, 10, 32
QUALITY = "analysis.quality.reporting"

# path -> the mean over seeds in original, modified, pooled head, same parameters
TRUTHS: dict[str, Sequence[float]] = {
    f"{root}.{name}": values
    for root, truths in {
        QUALITY: {
            "ssim": (0.7, 0.6, 0.65, 0.69), "ms_ssim": (0.9, 0.84, 0.87, 0.895), "psnr": (21.0, 19.0, 20.0, 20.9),
            "l1": (0.06, 0.08, 0.07, 0.061), "mse": (0.0079, 0.0126, 0.01, 0.0081), "delta_e": (8.0, 10.5, 9.0, 8.1),
            "colour_error_mean": (0.02, 0.034, 0.026, 0.021), "l1_inside": (0.05, 0.06, 0.055, 0.051),
            "l1_outside": (0.066, 0.092, 0.079, 0.067), "mse_inside": (0.006, 0.008, 0.007, 0.0061),
            "mse_outside": (0.009, 0.015, 0.012, 0.0092), "high_frequency": (0.3, 0.2, 0.25, 0.29),
            "high_frequency_matched": (0.25, 0.15, 0.2, 0.24),
        },
        "analysis.eval_losses": {
            "train": (0.535, 0.66, 0.6, 0.54), "validation": (0.557, 0.67, 0.62, 0.562),
        },
        "analysis.latent": {
            "hopkins.value": (0.6, 0.68, 0.62, 0.6), "silhouette.best": (0.06, 0.11, 0.07, 0.06),
            "purity_mean": (0.66, 0.7, 0.68, 0.66), "purity_shuffled_mean": (0.6, 0.6, 0.6, 0.6),
            "linear_auc_mean": (0.8, 0.85, 0.82, 0.8), "knn_auc_mean": (0.72, 0.77, 0.74, 0.72),
            "shuffled_auc_mean": (0.5, 0.5, 0.5, 0.5), "kl_total": (40.0, 36.0, 38.0, 40.0),
            "dimension_probes.best_auc_mean": (0.66, 0.7, 0.67, 0.66), "dimension_probes.gap_mean": (0.02, 0.035, 0.022, 0.02),
        },
        "analysis.disentanglement": {
            "mig": (0.06, 0.1, 0.07, 0.06), "dci.disentanglement": (0.15, 0.22, 0.17, 0.15),
            "dci.completeness": (0.2, 0.27, 0.22, 0.2), "dci.informativeness": (0.6, 0.64, 0.61, 0.6),
            "sap": (0.015, 0.025, 0.016, 0.015), "factor_vae": (0.5, 0.58, 0.52, 0.5),
        },
        "analysis.traversal": {
            "path_length_mean": (0.2, 0.3, 0.24, 0.2), "l1_path_length_mean": (0.051, 0.077, 0.06, 0.051),
            "l1_change_mean": (0.05, 0.07, 0.056, 0.05), "locality_mean": (0.45, 0.35, 0.42, 0.45),
            "smoothness": (0.8, 0.65, 0.75, 0.8), "share_changed_mean": (0.2, 0.35, 0.25, 0.2),
            "paper.path_length": (0.18, 0.28, 0.22, 0.18), "paper.share_changed": (0.18, 0.33, 0.22, 0.18),
            "paper.smoothness": (0.8, 0.65, 0.75, 0.8),
        },
        "analysis.edits_mean": {
            "probe.target": (0.3, 0.34, 0.31, 0.3), "probe.leakage": (0.08, 0.07, 0.08, 0.08),
            "probe.specificity": (0.7, 0.75, 0.71, 0.7), "mean_difference.target": (0.28, 0.31, 0.29, 0.28),
            "mean_difference.leakage": (0.1, 0.1, 0.1, 0.1), "mean_difference.specificity": (0.64, 0.66, 0.64, 0.64),
        },
    }.items()
    for name, values in truths.items()
}  # fmt: skip
# by epoch, of original and modified: the paper's own curves
TRAIN, VALIDATION = (tuple(getattr(REPORTED[arm], which) for arm in MAIN_ARMS[:2]) for which in ("train", "validation"))
COSTS = {
    "original": (142_339, 5_363_712), "modified": (104_131, 9_401_600),
    "original, pooled head": (109_571, 5_330_944), "plain, same parameters": (103_900, 3_870_000),
}  # fmt: skip
SCALE = {
    "image_size": 48, "data": "faces", "num_images": 400, "num_train": 280, "batch_size": 32, "epochs": NUM_EPOCHS, "device": "cpu",
    "hardware": "AMD EPYC, 1 thread", "width": "a quarter", "quick": False,
}  # fmt: skip
SPEED = {
    "batch_size": 32, "device": "cpu", "original_ms": 410.0, "modified_ms": 760.0, "ratio": 1.85, "low": 1.80, "high": 1.91,
    "rounds": 48, "sittings": 5, "threads": 2,
}  # fmt: skip
# loss, share of it that the pieces make, of the trained factorial
PIECES = {
    "encoder connectivity and decoder connectivity": 0.30,
    "encoder convolution and decoder convolution": 0.25,
    "head": 0.35,
    "encoder widths and stem width": 0.07,
    "downsampling": 0.03,
}
WHOLE = REPORTED["modified"].validation[-1] - REPORTED["original"].validation[-1]
# loss -> l1 inside the face without and with the mask, SSIM, MS-SSIM, colour error without and with the mask
HYPOTHESIS_TRUTHS = {
    "L1": ((0.058, 0.052), (0.62, 0.64), (0.86, 0.87), (0.022, 0.020)),
    "L1 + SSIM": ((0.055, 0.049), (0.70, 0.72), (0.90, 0.91), (0.021, 0.019)),
    "L2": ((0.059, 0.053), (0.61, 0.63), (0.85, 0.86), (0.021, 0.019)),
    "L2 + SSIM": ((0.054, 0.044), (0.71, 0.76), (0.90, 0.93), (0.020, 0.018)),
    "SSIM": ((0.065, 0.060), (0.74, 0.75), (0.92, 0.92), (0.050, 0.047)),
}


@cache
def wobble(*key: Any) -> float:
    """A fixed number in [-1, 1] for this key."""
    return float(np.random.default_rng(zlib.crc32(repr(key).encode())).uniform(-1, 1))


def fake_evidence(
    seeds: int | Iterable[int] = 3,
    *,
    spread: float = 0.01,
    truths: Mapping[str, Truth] | None = None,
    hypothesis_truths: Mapping[str, Mapping[str, float]] | None = None,
    train: Sequence[Sequence[float]] = TRAIN,
    validation: Sequence[Sequence[float]] = VALIDATION,
    without: Sequence[str] = (),
    failed: Sequence[tuple[str, int]] = (),
    **fields: Any,
) -> Evidence:
    """Evidence of the four arms with the means of TRUTHS, changed by `truths`, and relative noise `spread` between seeds.

    Three quarters of the noise are the seed's, common to all arms, so pairing by seed matters. `hypothesis_truths`: arm -> path ->
    mean, for the ten losses and masks. `without`: paths removed from every trial. `failed`: (arm, seed) that failed. `fields`
    replace fields of Evidence; `scale` is updated, not replaced.
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    means = {arm: _means(arm, truths or {}) for arm in MAIN_ARMS}
    trials = [_trial(arm, seed, means[arm], spread, (train, validation)) for arm in MAIN_ARMS for seed in numbers]
    trials = [_failed(t) if (t.arm, t.seed) in failed else without_paths(t, without) for t in trials]
    scale = {**SCALE, "seeds": numbers, **fields.pop("scale", {})}
    values: dict[str, Any] = {
        "scale": scale,
        "arms": {arm: {"spec": {"preset": "small"}, "params": p, "macs": m} for arm, (p, m) in COSTS.items()},
        "trials": tuple(trials),
        "hypotheses": fake_hypotheses(numbers, spread, hypothesis_truths or {}),
        "explanation": timed_in_sittings(fake_explanation()),
        "loss_attribution": fake_loss_attribution(len(numbers)),
        "loss_by_seed": fake_loss_by_seed(len(numbers)),
        "references": fake_references(),
        "speed": dict(SPEED),
        "limits": ("LPIPS was not computed: its weights are not there.",),
        "provenance": {
            "command": "python -m studies.run paper", "seeds": numbers, "data": "faces", "hardware": {"cpu": "AMD EPYC"},
            "software": {"torch": "2.11.0"}, "commit": "0123abc", "started": "2026-01-01T00:00:00Z",
        },
    }  # fmt: skip
    return Evidence(**{**values, **fields})


def _means(arm: str, truths: Mapping[str, Truth]) -> dict[str, float]:
    """Path -> the mean of one arm."""
    every = [(path, truth if isinstance(truth, Mapping) else dict(zip(MAIN_ARMS, truth, strict=False)))
             for path, truth in (*TRUTHS.items(), *truths.items())]  # fmt: skip
    return {path: by_arm[arm] for path, by_arm in every if arm in by_arm}


def _noise(spread: float, key: str, seed: int, arm: str) -> float:
    return spread * (0.75 * wobble(key, seed) + 0.25 * wobble(key, seed, arm))


def _trial(arm: str, seed: int, means: Mapping[str, float], spread: float, curves: Sequence[Sequence[Sequence[float]]]) -> Trial:
    tree: dict[str, Any] = {"analysis": _skeleton(arm, seed), "record": {}}
    for path, mean in means.items():
        put(tree, path, mean * (1 + _noise(spread, path, seed, arm)))
    analysis = tree["analysis"]
    reporting, latent = analysis["quality"]["reporting"], analysis["latent"]
    analysis["per_image"] = {
        name: (value * (1 + relative - relative.mean())).tolist()
        for name, value in {**{name: reporting[name] for name in BY_IMAGE}, "linear_auc": latent["linear_auc_mean"]}.items()
        # an effect of the image, common to all arms, and a little of its own
        for relative in [0.1 * _wobbles(name) + 0.02 * _wobbles(name, arm, seed)]
    }
    latent |= _latent_details(latent, arm, seed)
    plain = _record(arm, seed, spread, curves, reporting).to_dict()
    return Trial(arm=arm, record=Record.from_dict(_merged(plain, tree["record"])), analysis=analysis)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making what is missing on the way."""
    *way, last = path.split(".")
    for key in way:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _skeleton(arm: str, seed: int) -> dict[str, Any]:
    """What an analysis holds besides the truths."""
    step = {"step_mean": 0.03, "step_max": 0.04, "locality": 0.6, "l1_change": 0.04}
    dims = [{**step, "dim": d, "kl": 3.0 / (d + 1), "low": -2.0 + 0.1 * d, "high": 2.1, "path_length": 0.2, "share_changed": 0.2}
            for d in range(4)]  # fmt: skip
    edit = {"probe": (0.3, 0.08, 0.7), "mean_difference": (0.28, 0.1, 0.64)}
    return {
        "version": 1, "num_test": NUM_IMAGES, "not_computed": {"lpips": "its weights are not there"},
        "quality": {"reporting": {
            "colour_bias": [0.003, -0.001, 0.004], "colour_error": [0.021, 0.019, 0.020], "region": "mask",
            "high_frequency_by_band": [1.0, 0.97, 0.9, 0.75, 0.5, 0.3, 0.2, 0.1],
        }},
        "eval_losses": {"num_train": 280},
        "latent": {
            "num_images": NUM_IMAGES, "num_dims": LATENT_DIM, "clusters": {"fraction_above_null": 0.4},
            "hopkins": {"null_mean": 0.58, "null_low": 0.56, "null_high": 0.60, "null_kind": "flat"},
            "silhouette": {"by_k": {str(k): 0.06 + 0.01 * wobble(arm, seed, k) for k in range(2, 9)}, "best_k": 2,
                           "null_best_mean": 0.05, "null_best_low": 0.045, "null_best_high": 0.056, "null_kind": "gaussian"},
        },
        "disentanglement": {"dci": {}, "factors": ["smile", "yaw", "age"], "num_images": 300},
        "traversal": {"dims": dims, "image_numbers": [0, 1], "num_steps": 7, "threshold": 0.05,
                      "paper": {**step, "dim": 20, "kl": 0.4, "low": -3.0, "high": 3.0, "step_mean": 0.04, "step_max": 0.05}},
        "edits": {
            name: {method: dict(zip(SCORES, scores, strict=True)) for method, scores in edit.items()} for name in ATTRIBUTES[:4]
        },
    }  # fmt: skip


@cache
def _wobbles(*key: Any) -> NDArray[np.float64]:
    """One fixed number in [-1, 1] for each image."""
    return np.random.default_rng(zlib.crc32(repr(key).encode())).uniform(-1, 1, NUM_IMAGES)


def _latent_details(latent: Mapping[str, Any], arm: str, seed: int) -> dict[str, Any]:
    """Probes and purity by attribute around their means, KL per dimension, t-SNE maps."""
    beside = {n: (n - (len(ATTRIBUTES) - 1) / 2) * 0.02 for n in range(len(ATTRIBUTES))}
    areas = {n: {key: latent[f"{key}_mean"] + beside[n] + 0.002 * wobble(n, arm, seed) for key in ("linear_auc", "knn_auc")}
             for n in beside}  # fmt: skip
    shared = {"linear_balanced_accuracy": 0.7, "knn_balanced_accuracy": 0.65, "shuffled_auc": 0.5, "shuffled_auc_sd": 0.03}
    tsne = {"trustworthiness": 0.9, "hopkins": latent["hopkins"]["value"] + 0.05,
            "silhouette": latent["silhouette"]["best"] + 0.2, "axis_range": [40.0, 42.0]}  # fmt: skip
    return {
        "probes": {name: {"positives": 20 + n, **areas[n], **shared} for n, name in enumerate(ATTRIBUTES)},
        "num_probed": len(ATTRIBUTES), "not_probed": {"Bald": "3 positives, at least 20 are needed"},
        "purity": {name: {"value": latent["purity_mean"], "shuffled": latent["purity_shuffled_mean"]} for name in ATTRIBUTES},
        "kl_per_dim": [latent["kl_total"] * 2.0 ** -(d + 1) for d in range(LATENT_DIM)], "active_units": 8,
        "tsne": {perplexity: dict(tsne) for perplexity in ("5", "30")},
    }  # fmt: skip


def _record(
    arm: str, seed: int, spread: float, curves: Sequence[Sequence[Sequence[float]]], reporting: Mapping[str, Any]
) -> Record:
    which = 1 if arm == "modified" else 0
    shift = {"original, pooled head": 0.05, "plain, same parameters": 0.005}.get(arm, 0.0)
    noise = _noise(spread, "loss", seed, arm)
    train, validation = ([v * (1 + noise) + shift for v in curve[which]] for curve in curves)
    epochs = [_epoch(n, arm, t, v) for n, (t, v) in enumerate(zip(train, validation, strict=True), start=1)]
    best = min(range(len(validation)), key=lambda n: validation[n])
    params, macs = COSTS[arm]
    return Record(
        network_key=f"{zlib.crc32(arm.encode()):08x}", label=arm, seed=seed, state=COMPLETE, number=seed,
        spec={"preset": "small"}, protocol={"epochs": len(epochs), "batch_size": 32, "learning_rate": 1e-3, "patience": 5},
        data={"name": "faces", "image_size": 48, "num_train": 280, "num_validation": 60, "num_test": NUM_IMAGES},
        costs={"params": params, "macs": macs},
        latency={"cpu/1": {"median_ms": 1.6 if not which else 9.3}},
        training={
            "best_loss": validation[best], "best_epoch": best + 1, "seconds": 10.0 * len(epochs) * (1 + which),
            "stopped_early": False, "images_per_second": 560.0 / (1 + which), "epochs": epochs, "notes": [],
        },
        quality={"replica": {"loss": validation[best] + 0.002, "ssim": reporting["ssim"]},
                 "reporting": {name: reporting[name] for name in ("ssim", "psnr", "l1", "ms_ssim")}},
    )  # fmt: skip


def _epoch(number: int, arm: str, train: float, validation: float) -> dict[str, Any]:
    norm = 0.5 / number**0.3
    return {
        "epoch": number, "train_loss": train, "train_ssim": 1.1 - train, "train_l1": train / 6, "train_kl": 30.0,
        "val_loss": validation, "val_ssim": 1.1 - validation, "val_l1": validation / 6, "val_kl": 30.0, "active_units": 8,
        "grad_norm_mean": norm, "grad_norm_max": 1.8 * norm, "seconds": 10.0 * (2 if arm == "modified" else 1),
        "images_per_second": 28.0, "learning_rate": 1e-3,
    }  # fmt: skip


def _failed(trial: Trial) -> Trial:
    empty: dict[str, Any] = {"costs": {}, "latency": {}, "training": {}, "quality": {}}
    reason = "loss became NaN in epoch 2 (step 5 of 9)"
    return Trial(arm=trial.arm, record=replace(trial.record, **empty, state=FAILED, reason=reason))


def timed_in_sittings(explanation: Explanation, sittings: int = 5, device: str | None = None) -> Explanation:
    """The same with latencies over so many sittings, on another device where one is given."""
    modes = tuple(replace(mode, sittings=sittings) for mode in explanation.modes)
    sweep = tuple(replace(point, sittings=sittings) for point in explanation.sweep)
    attributions = tuple(
        replace(a, shapley={name: replace(effect, num=sittings) for name, effect in a.shapley.items()})
        for a in explanation.attributions
    )
    return replace(explanation, modes=modes, sweep=sweep, attributions=attributions, device=device or explanation.device)


def without_paths(trial: Trial, paths: Sequence[str], reason: str = "left out here") -> Trial:
    """The same trial without what stands at these paths, which are named in not_computed by their last key."""
    if not paths:
        return trial
    tree = {"analysis": copy.deepcopy(dict(trial.analysis)), "record": copy.deepcopy(trial.record.to_dict())}
    for path in paths:
        *way, last = path.split(".")
        level: Any = tree
        for key in way:
            level = level.get(key, {}) if isinstance(level, dict) else {}
        if isinstance(level, dict) and level.pop(last, None) is not None:
            tree.setdefault("analysis", {}).setdefault("not_computed", {})[last] = reason
    return Trial(arm=trial.arm, record=Record.from_dict(tree["record"]), analysis=tree["analysis"])


def fake_hypotheses(seeds: Sequence[int], spread: float, changes: Mapping[str, Mapping[str, float]]) -> tuple[Trial, ...]:
    """Toledo & Antonelo's ten losses and masks; their findings are true here."""
    trials = []
    for arm in HYPOTHESES:
        loss, masked = arm.removesuffix(", mask"), arm.endswith(", mask")
        inside, ssim, ms_ssim, colour = (pair[masked] for pair in HYPOTHESIS_TRUTHS[loss])
        means = {path: values[0] for path, values in TRUTHS.items()} | {
            f"{QUALITY}.l1_inside": inside, f"{QUALITY}.mse_inside": inside**2, f"{QUALITY}.ssim": ssim,
            f"{QUALITY}.ms_ssim": ms_ssim, f"{QUALITY}.colour_error_mean": colour, f"{QUALITY}.delta_e": colour * 300,
            **changes.get(arm, {}),
        }  # fmt: skip
        for seed in seeds:
            trial = _trial("original", seed, means, spread, (TRAIN, VALIDATION))
            trials.append(replace(trial, arm=arm, record=replace(trial.record, label=arm)))
    return tuple(trials)


def fake_loss_attribution(num_seeds: int = 3, shares: Mapping[str, float] = PIECES, half: float = 0.005) -> tuple[Attribution, ...]:
    """Loss, SSIM and PSNR of the pair given to the pieces; `half` is half the interval as a share of the difference."""
    ends = {"loss": (VALIDATION[0][-1], VALIDATION[1][-1]), "ssim": (0.70, 0.60), "psnr": (21.0, 19.0)}
    return tuple(_attribution(metric, start, end, shares, num_seeds, half) for metric, (start, end) in ends.items())


def fake_loss_by_seed(
    num_seeds: int = 3, shares: Mapping[str, float] = PIECES, half: float = 0.005
) -> dict[str, tuple[float, ...]]:
    """The same by seed: of three seeds each piece's share has a t interval of about `half` to either side."""
    signs = (0.0, 1.0, -1.0) * num_seeds
    return {
        name: tuple(WHOLE * (share + (-1) ** n * half * 3**0.5 / 4.303 * sign) for sign in signs[:num_seeds])
        for n, (name, share) in enumerate(shares.items())
    }


def _attribution(metric: str, start: float, end: float, shares: Mapping[str, float], num_seeds: int, half: float) -> Attribution:
    whole, several = end - start, num_seeds > 1
    reach = half * abs(whole)
    effects = {
        name: Effect(
            value=share * whole, share=share, verdict="settled" if abs(share) > half and several else "not settled",
            low=share * whole - reach if several else None, high=share * whole + reach if several else None,
        )
        for name, share in shares.items()
    }  # fmt: skip
    order = sorted(shares, key=lambda name: -abs(shares[name]))
    ends = itertools.accumulate((shares[name] * whole for name in order), initial=start)
    return Attribution(
        metric=metric, place=f"{num_seeds} seeds" if several else "1 seed", start=start, end=end, shapley=effects,
        from_start=effects, from_end=effects, interactions={}, path=tuple(zip(order, list(ends)[1:], strict=True)), residual=0.0,
        num_variants=2 ** len(shares), num_possible=2 ** len(shares), corrected="Holm over the effects of each group",
    )  # fmt: skip


def fake_references() -> dict[str, dict[str, Any]]:
    """The mean face and PCA, worse than either network."""
    rows = {
        "mean face": {"ssim": 0.30, "ms_ssim": 0.40, "psnr": 13.0, "l1": 0.17, "mse": 0.05, "delta_e": 22.0},
        "PCA, 128 components": {"ssim": 0.62, "ms_ssim": 0.86, "psnr": 21.5, "l1": 0.062, "mse": 0.0075, "delta_e": 8.8},
    }  # fmt: skip
    return {
        name: {"quality": {"reporting": row}, "per_image": {key: [value] * NUM_IMAGES for key, value in row.items()}}
        for name, row in rows.items()
    }


def fake_arrays(arm: str = "original", seed: int = 0, size: int = 48) -> dict[str, NDArray[Any]]:
    """The small arrays that stand beside one trial's analysis (contents are smooth noise)."""
    rng = np.random.default_rng(zlib.crc32(f"{arm}{seed}".encode()))
    grid = np.linspace(0, 2 * math.pi, size)

    def pictures(*shape: int) -> NDArray[np.uint8]:
        phase = rng.uniform(0, 6, (*shape, 3, 1, 1))
        waves = np.sin(grid[:, None] + phase) + np.cos(grid[None, :] - phase)
        return ((waves + 2) * 63).astype(np.uint8)

    return {
        "mean": rng.normal(size=(NUM_IMAGES, LATENT_DIM)).astype(np.float32),
        "attributes": rng.integers(0, 2, (NUM_IMAGES, len(ATTRIBUTES))).astype(np.uint8),
        "attribute_names": np.array(ATTRIBUTES),
        "tsne_5": rng.normal(size=(NUM_IMAGES, 2)).astype(np.float32),
        "tsne_30": rng.normal(size=(NUM_IMAGES, 2)).astype(np.float32),
        "traversal": pictures(4, 7),
        "traversal_paper": pictures(1, 5),
        "edits_probe": pictures(4, 5),
        "edits_mean_difference": pictures(4, 5),
        "edits_names": np.array(ATTRIBUTES[:4]),
        "samples": pictures(8),
        "reconstructions": pictures(8),
    }
