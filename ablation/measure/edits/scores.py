"""Attribute edits and what they do: the target attribute's change, and the leakage into others, judged by probes that are held out.

One half of the images that are given with attributes makes the directions, the other half the probes that score them, and the
images that are edited belong to neither: no direction is scored by the probe that it came from. An edited vector is decoded, the
image is *encoded again*, and the logits of its posterior mean after the edit are compared with those after the opposite one, by
half: a change that does not show in the image does not count. Each model is judged through its own encoder, in standard deviations
of its logits. Which attributes are edited, and which count as leakage, is chosen by the labels alone, never by how well a model
holds them: models that are compared are asked for the same. Attributes that go together in the data (beard, masculine) leak into
each other with any honest direction: compare leakage between directions or models on the same data; zero is not the goal. After
Shen et al. 2020 (InterFaceGAN), who look at the other attributes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablation.design.compose import VAE
from ablation.machine.device import evaluating, usable_device
from ablation.measure.edits.decoding import as_bytes, checked_means, chosen_images, decoded, encoded_again
from ablation.measure.edits.directions import KINDS, Probes, Units, class_difference, edit_steps, fit_probes, halves, too_rare
from blocks.errors import must_be

STRIP = (-1.0, -0.5, 0.0, 0.5, 1.0)  # parts of a whole edit that a strip shows


def edit_attributes(
    model: VAE,
    train_mean: NDArray[np.floating],
    train_attributes: NDArray[np.integer],
    test_mean: NDArray[np.floating],
    attribute_names: tuple[str, ...],
    *,
    num_attributes: int = 6,
    num_images: int = 32,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    least_images: int = 20,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """{"edits", "edits_mean", "edits_setup"} of an analysis, and arrays edits_probe, edits_mean_difference, edits_names.

    `train_mean` N x D and `train_attributes` N x A (0 or 1) make directions and probes; `test_mean` M x D is edited: other images.
    Edits the `num_attributes` attributes that split the images most evenly, among those with `least_images` images with and without
    them in each half; leakage counts all of these. `edits_setup` tells how well each is probed ("auc"). By default decodes 828
    images (6 attributes x 2 directions x (32 images x 2 sides + 5 in a strip)) and encodes 768 of them. Strips are E x 5 x 3 x S x
    S, one image from -1 to +1 edit. With fewer than two attributes: {"not_computed": {"edits": reason}}.
    """
    train, test = checked_means("train_mean", train_mean), checked_means("test_mean", test_mean)
    _check(train, train_attributes, test, attribute_names, num_attributes, num_images)
    where = usable_device(device)
    fit = _fit(train, train_attributes, attribute_names, seed, least_images)
    if len(fit.columns) < 2:
        return {"not_computed": {"edits": fit.reason(attribute_names, least_images)}}, {}
    rows = chosen_images(len(test), num_images, seed, "edits")
    chosen = most_even(train_attributes, fit.columns)[:num_attributes]
    with evaluating(model.to(where)), torch.no_grad():
        judge = _Judge(model, fit, test, rows, where, batch_size)
        edits = {attribute_names[c]: {kind: judge.score(c, fit.steps[c][kind]) for kind in KINDS} for c in chosen}
        strips = {kind: np.stack([judge.strip(fit.steps[c][kind]) for c in chosen]) for kind in KINDS}
    names = [attribute_names[c] for c in chosen]
    analysis = {"edits": edits, "edits_mean": _mean_scores(edits), "edits_setup": _setup(fit, attribute_names, names, rows)}
    return analysis, {f"edits_{kind}": strip for kind, strip in strips.items()} | {"edits_names": np.array(names)}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """Directions from one half, probes from the other."""

    units: Units
    steps: dict[int, dict[str, NDArray[np.float64]]]  # column -> kind -> D values, standardised units
    scorers: Probes
    aucs: dict[int, float]  # column -> AUC on the half that a probe did not see, averaged over both halves
    columns: tuple[int, ...]  # of the attributes that may be edited and count as leakage
    left_out: dict[str, str]
    num_fitted: int
    num_scoring: int

    def reason(self, names: tuple[str, ...], least_images: int) -> str:
        """Why nothing is edited."""
        return (
            f"{len(self.aucs)} of {len(names)} attributes have {least_images} images with and without them in each half of "
            f"{self.num_fitted + self.num_scoring} images, and probes learn {len(self.columns)}: an edit and its leakage need two"
        )


def most_even(attributes: NDArray[np.integer], columns: Sequence[int]) -> list[int]:
    """These columns of N x A labels, those first that split the images most evenly."""
    return sorted(columns, key=lambda c: abs(float(attributes[:, c].mean()) - 0.5))


def _fit(train: NDArray[np.float64], attributes: NDArray[np.integer], names: tuple[str, ...], seed: int, least_images: int) -> _Fit:
    units, parts = Units.of(train), halves(len(train), seed)
    (first, second), (labels, other_labels) = ([units.standard(train[p]) for p in parts], [attributes[p] for p in parts])
    rare = too_rare((labels, other_labels), least_images)
    common = tuple(c for c in range(len(names)) if c not in rare)
    probes, scorers = fit_probes(first, labels, common), fit_probes(second, other_labels, common)
    aucs = dict(zip(common, (probes.aucs(second, other_labels) + scorers.aucs(first, labels)) / 2, strict=True))
    usable = {c: normal for c, normal in zip(common, probes.weights, strict=True) if normal.any()}
    blind = {names[c]: "its probe learned nothing" for c in common if c not in usable}
    return _Fit(
        units=units,
        steps={c: edit_steps(class_difference(first, labels[:, c]), normal) for c, normal in usable.items()},
        scorers=scorers,
        aucs={c: float(auc) for c, auc in aucs.items()},
        columns=tuple(usable),
        left_out={names[c]: reason for c, reason in rare.items()} | blind,
        num_fitted=len(first),
        num_scoring=len(second),
    )


class _Judge:
    """Scores edits of some test images by the probes of the other half."""

    def __init__(
        self, model: VAE, fit: _Fit, test: NDArray[np.float64], rows: NDArray[np.int64], device: torch.device, batch_size: int
    ) -> None:
        self.model, self.fit, self.device, self.batch_size = model, fit, device, batch_size
        self.latent = test[rows]
        self.columns = list(fit.columns)
        self.kept = [fit.scorers.columns.index(c) for c in fit.columns]
        self.sd = fit.scorers.logits(fit.units.standard(test))[:, self.kept].std(0)
        # over a single test image, or equal ones, logits have no spread to compare with
        if not (self.sd > 0).all():
            raise must_be("test_mean", "posterior means of images that differ", f"{len(test)} images whose logits are all alike")

    def score(self, column: int, step: NDArray[np.float64]) -> dict[str, float]:
        """Mean change by one whole edit, over images and both ways: target, leakage (the others' mean size), specificity."""
        more, less = (self._logits(self.latent + sign * step * self.fit.units.spread) for sign in (1, -1))
        # over images first, for target and leakage alike: how single images scatter is no change by the edit
        changes = ((more - less) / 2).mean(0)  # images x attributes -> attributes
        is_target = np.array(self.columns) == column
        return scores(float(changes[is_target].mean()), float(np.abs(changes[~is_target]).mean()))

    def strip(self, step: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The first image under parts of the edit: 5 x 3 x S x S."""
        latent = self.latent[:1] + np.outer(STRIP, step * self.fit.units.spread)
        return as_bytes(decoded(self.model, latent, self.device, self.batch_size))

    def _logits(self, latent: NDArray[np.float64]) -> NDArray[np.float64]:
        # of the re-encoded images, in standard deviations over the test images: images x attributes
        again = encoded_again(self.model, latent, self.device, self.batch_size)
        return self.fit.scorers.logits(self.fit.units.standard(again))[:, self.kept] / self.sd


def scores(target: float, leakage: float) -> dict[str, float]:
    """Target and leakage with specificity = target / (target + leakage), which is 0 where the target does not grow."""
    return {"target": target, "leakage": leakage, "specificity": target / (target + leakage) if target > 0 else 0.0}


def _mean_scores(edits: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    names = ("target", "leakage", "specificity")
    return {kind: {name: float(np.mean([edit[kind][name] for edit in edits.values()])) for name in names} for kind in KINDS}


def _setup(fit: _Fit, names: tuple[str, ...], chosen: list[str], rows: NDArray[np.int64]) -> dict[str, Any]:
    def cosine(steps: dict[str, NDArray[np.float64]]) -> float:
        a, b = (steps[kind] for kind in KINDS)
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    return {
        "edited": chosen,
        "scored": [names[c] for c in fit.columns],
        "auc": {names[c]: auc for c, auc in fit.aucs.items()},
        "cosine": {names[c]: cosine(steps) for c, steps in fit.steps.items()},
        "distance": {names[c]: float(np.linalg.norm(steps["mean_difference"])) for c, steps in fit.steps.items()},
        "left_out": fit.left_out,
        "num_fitted": fit.num_fitted,
        "num_scoring": fit.num_scoring,
        "image_numbers": rows.tolist(),
    }


def _check(
    train: NDArray[np.float64],
    attributes: NDArray[np.integer],
    test: NDArray[np.float64],
    names: tuple[str, ...],
    num_attributes: int,
    num_images: int,
) -> None:
    if attributes.shape != (len(train), len(names)):
        raise must_be("train_attributes", f"{len(train)} images x {len(names)} names of attributes", attributes.shape)
    if not np.isin(attributes, (0, 1)).all():
        raise must_be("train_attributes", "0 or 1", sorted(set(np.unique(attributes).tolist()))[:5])
    if test.shape[1] != train.shape[1]:
        raise must_be("test_mean", f"of {train.shape[1]} dimensions, as train_mean", test.shape)
    if min(num_attributes, num_images) < 1:
        raise must_be("num_attributes and num_images", "at least 1", (num_attributes, num_images))
