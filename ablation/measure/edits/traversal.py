"""Traversals: images decoded while one latent dimension moves and the others stay at an image's posterior mean.

The dimensions are those with the largest KL, and each moves over the central 95 % of its *aggregate posterior*, the posterior means
of all images: a fixed -3 to 3 may lie outside of what the decoder has seen, or far inside it. One fixed traversal
(dimension 20, -3 to 3, 5 steps), as published figures have it, stands beside them. Averages are over those dimensions that are
active (variance of the posterior means above 0.01, Burda et al. 2016); the others are named in "collapsed".

Measures of one path, from frame to frame and from its first frame to its last:
- step: 1 - SSIM of neighbouring frames (Gaussian window 11 / 1.5); path_length is their sum, l1_path_length the same with L1;
- smoothness: mean step / largest step, 1 where all steps are alike, 1 / steps where one step makes all of the change;
- share_changed: share of pixels whose largest change among the channels, between the ends, exceeds a threshold;
- locality: share of the total squared change between the ends that falls on the most changed 10 % of pixels; 0.1 where all alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.design.compose import VAE
from ablation.machine.device import evaluating, usable_device
from ablation.measure.edits.decoding import as_bytes, checked_means, chosen_images, decoded
from ablation.measure.quality.evaluate import ACTIVE_VARIANCE
from ablation.measure.quality.losses import ssim_per_image
from blocks.errors import must_be

CENTRAL = (0.025, 0.975)  # quantiles of the aggregate posterior between which a dimension moves
MOST_CHANGED = 0.1  # share of the pixels that locality looks at
FIXED_DIM, FIXED_RANGE, FIXED_STEPS = 20, (-3.0, 3.0), 5
LEAST_LENGTH = 1e-9  # path length below which nothing changes, so that evenness and place of the change do not exist
AVERAGED = ("path_length", "l1_path_length", "share_changed", "locality", "l1_change", "smoothness")


def traverse(
    model: VAE,
    mean: NDArray[np.floating],
    kl_per_dim: NDArray[np.floating],
    *,
    num_images: int = 8,
    num_dims: int = 8,
    num_steps: int = 9,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    threshold: float = 0.05,
) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """The "traversal" part of an analysis, and the arrays "traversal" (K x steps x 3 x S x S) and "traversal_paper" (1 x 5 x ...).

    `mean`: N x D posterior means of held-out images; `kl_per_dim`: D values in nats. Decodes num_images x num_dims x num_steps + 5
    images (581 by default). Numbers of a dimension are averages over the images; the means are over the *chosen* dimensions that
    are active. "not_computed" says why there are none.
    """
    mean, kl = checked_means("mean", mean), _checked_kl(kl_per_dim, mean)
    if min(num_images, num_dims) < 1 or num_steps < 2:
        raise must_be("num_images, num_dims and num_steps", "at least 1, 1 and 2", (num_images, num_dims, num_steps))
    place = usable_device(device)
    rows = chosen_images(len(mean), num_images, seed, "traversal")
    walk = _Walk(model=model, mean=mean, kl=kl, device=place, batch_size=batch_size, threshold=threshold)
    with evaluating(model.to(place)), torch.no_grad():
        walks = [walk.along(dim, walk.range_of(dim), rows, num_steps) for dim in np.argsort(-kl, kind="stable")[:num_dims].tolist()]
        fixed, fixed_strip = walk.along(FIXED_DIM % mean.shape[1], FIXED_RANGE, rows[:1], FIXED_STEPS)
    entries = [entry for entry, _ in walks]
    ends = dict(zip(("posterior_low", "posterior_high"), walk.range_of(fixed["dim"]), strict=True))
    analysis = {
        "dims": entries,
        "image_numbers": rows.tolist(),
        "num_steps": num_steps,
        "threshold": threshold,
        "range": "2.5 to 97.5 % of the posterior means of each dimension",
        "paper": {**fixed, "dim_in_paper": FIXED_DIM, **ends, "image_number": int(rows[0]), "num_steps": FIXED_STEPS},
        **_averages(entries),
    }
    return analysis, {"traversal": np.stack([strip for _, strip in walks]), "traversal_paper": fixed_strip[None]}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Walk:
    """One model with its posterior means: what is the same for all of its traversals."""

    model: VAE
    mean: NDArray[np.float64]
    kl: NDArray[np.float64]
    device: torch.device
    batch_size: int
    threshold: float

    def range_of(self, dim: int) -> tuple[float, float]:
        """The central 95 % of the aggregate posterior of one dimension."""
        low, high = np.quantile(self.mean[:, dim], CENTRAL).tolist()
        return low, high

    def along(
        self, dim: int, ends: tuple[float, float], rows: NDArray[np.int64], num_steps: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        """Numbers of one dimension, averaged over the images, and the strip of the first image."""
        latent = np.repeat(self.mean[rows][:, None], num_steps, axis=1)  # N x T x D
        latent[:, :, dim] = np.linspace(*ends, num_steps)
        frames = decoded(self.model, latent.reshape(-1, latent.shape[-1]), self.device, self.batch_size)
        frames = frames.unflatten(0, (len(rows), num_steps))  # NT x 3 x S x S -> N x T x 3 x S x S
        collapsed = bool(self.mean[:, dim].var() <= ACTIVE_VARIANCE)
        entry = {"dim": dim, "kl": float(self.kl[dim]), "low": ends[0], "high": ends[1], "collapsed": collapsed}
        return entry | _over_images(path_measures(frames, self.threshold)), as_bytes(frames[0])


def path_measures(frames: Tensor, threshold: float) -> dict[str, NDArray[np.float64]]:
    """Frames N x T x 3 x S x S in [0, 1] -> measure -> N values; smoothness and locality are NaN where nothing changes.

    In float64: neighbouring frames differ so little that the rounding of float32 would show in 1 - SSIM.
    """
    frames = frames.double()
    before, after = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)  # N x (T - 1) pairs, flat
    steps = (1 - ssim_per_image(before, after)).clamp_min(0).view(len(frames), -1)
    change = frames[:, -1] - frames[:, 0]  # N x 3 x S x S
    length = steps.sum(1)
    moved = length > LEAST_LENGTH
    measures = {
        "path_length": length,
        "l1_path_length": (after - before).abs().mean((1, 2, 3)).view_as(steps).sum(1),
        "step_mean": steps.mean(1),
        "step_max": steps.amax(1),
        "smoothness": torch.where(moved, steps.mean(1) / steps.amax(1), torch.nan),
        "share_changed": (change.abs().amax(1) > threshold).double().mean((1, 2)),
        "locality": torch.where(moved, locality(change), torch.nan),
        "l1_change": change.abs().mean((1, 2, 3)),
    }
    return {name: values.cpu().numpy() for name, values in measures.items()}


def locality(change: Tensor) -> Tensor:
    """Share of the squared change (N x C x S x S) on its most changed tenth of pixels: N values, NaN where nothing changes.

    A tenth of the pixels that is no whole number takes a part of the next one, so that an even change gives exactly 0.1.
    """
    ranked = change.square().sum(1).flatten(1).sort(1, descending=True).values  # N x S * S
    whole, part = divmod(MOST_CHANGED * ranked.shape[1], 1)
    most = ranked[:, : int(whole)].sum(1) + part * ranked[:, int(whole)]
    return most / ranked.sum(1)


def _over_images(measures: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    # a measure that no image has is absent
    return {name: float(np.nanmean(values)) for name, values in measures.items() if np.isfinite(values).any()}


def _averages(entries: list[dict[str, Any]]) -> dict[str, Any]:
    active = [entry for entry in entries if not entry["collapsed"]]
    means: dict[str, Any] = {
        "collapsed": [entry["dim"] for entry in entries if entry["collapsed"]],
        "averaged": [entry["dim"] for entry in active],
    }
    for name in AVERAGED:
        values = [entry[name] for entry in active if name in entry]
        key = name if name == "smoothness" else f"{name}_mean"
        means |= {key: float(np.mean(values))} if values else {}
    if not active:
        means["not_computed"] = {
            "traversal": f"none of the {len(entries)} dimensions with the largest KL is active: "
            f"the variance of their posterior means does not exceed {ACTIVE_VARIANCE}"
        }
    return means


def _checked_kl(kl_per_dim: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    kl = np.asarray(kl_per_dim, dtype=np.float64)
    if kl.shape != mean.shape[1:] or not np.isfinite(kl).all():
        raise must_be("kl_per_dim", f"{mean.shape[1]} finite numbers, one for each column of mean", kl.tolist())
    return kl
