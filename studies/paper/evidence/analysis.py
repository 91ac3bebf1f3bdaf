"""What is measured on the finished weights of each trial, and what the references reach on the same images.

Each answer is a file beside the trial, stamped with the training that it belongs to; what is there already is not measured again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablation.data import Dataset, Split, load_dataset, split_indices
from ablation.data.batches import Images
from ablation.design.compose import VAE, build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.machine.device import usable_device
from ablation.machine.files import write_atomic
from ablation.machine.hardware import git_commit
from ablation.machine.text import first_line
from ablation.measure.edits.scores import edit_attributes
from ablation.measure.edits.traversal import traverse
from ablation.measure.latent.disentangle import disentanglement_dict
from ablation.measure.latent.factor_batches import FactorBatches, factor_batches
from ablation.measure.latent.summary import analyse_latents
from ablation.measure.quality.appearance import full_quality
from ablation.measure.quality.baselines import Reference, mean_face, pca, score
from ablation.measure.quality.evaluate import reconstruct, sampled_quality
from ablation.record.trial import Record
from ablation.train.checkpoint import load_weights
from studies.engine.config import StudyFolder
from studies.paper.evidence.attribution import attributed
from studies.paper.evidence.collect import VERSION, read_json, stamp, write_json
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL
from studies.paper.folder import PaperFolder
from studies.paper.groups import Group
from studies.paper.plan import PaperPlan

NUM_SHOWN = 8
# images whose posterior is analysed: the test split, filled up from the validation split, of which no attribute was ever used
HELD_OUT = 1000
# on which the training loss in evaluation mode is measured, and from which directions of attributes are learned
TRAINING_IMAGES = 1000
FACTOR_FACES = 1000  # rendered for disentanglement; no model was trained on them
FACTOR_BATCH, QUICK_FACTOR_BATCH = 61, 31  # faces in a vote of the FactorVAE score; scores of different batches do not compare
COMPONENTS = 128  # of PCA, as in the paper's literature; and as many as the models have latent dimensions, where these are others

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Analyst:
    """What all analyses of a study share."""

    plan: PaperPlan
    folder: PaperFolder
    dataset: Dataset
    cache_dir: str | None = None

    @cached_property
    def split(self) -> Split:
        """The paper's split."""
        return split_indices(len(self.dataset), seed=self.plan.protocol.split_seed)

    @cached_property
    def held_out(self) -> NDArray[np.int64]:
        """Test images first, then validation images, `HELD_OUT` at most."""
        return np.concatenate([self.split.test, self.split.validation])[:HELD_OUT]

    @cached_property
    def factor_faces(self) -> Dataset:
        """Rendered faces that no model was trained on, with their true factors."""
        seed = int(self.plan.asked["data_seed"]) + 1
        return load_dataset("faces", image_size=self.plan.image_size, limit=FACTOR_FACES, seed=seed, cache_dir=self.cache_dir)

    @cached_property
    def factor_batches(self) -> FactorBatches:
        """Batches of faces that share one factor, for the FactorVAE score; the same for all models."""
        size = QUICK_FACTOR_BATCH if self.plan.quick else FACTOR_BATCH
        return factor_batches(size, self.plan.image_size, int(self.plan.asked["data_seed"]))

    def trial(self, group: Group, record: Record) -> None:
        """Measure one trial and store what was found, unless it is stored already."""
        path = self.folder.analysis(group.name, record.network_key, record.seed)
        stored = read_json(path)
        whole = zipfile.is_zipfile(path.with_suffix(".npz"))
        if whole and stored.get("stamp") == stamp(record) and stored.get("version") == VERSION:
            return
        model = build(ModelSpec.from_dict(record.spec))
        load_weights(model, StudyFolder(self.folder.group(group.name)).checkpoints(record.network_key, record.seed))
        model.to(usable_device(self.plan.device)).eval()
        values, arrays = self.quality(model, group.protocol)
        if record.label in (ORIGINAL, MODIFIED):
            latent, more = self.latent(model)
            merged = {name: {**values[name], **latent[name]} for name in ("not_computed", "per_image")}
            values = {**values, **latent, **merged}
            arrays |= more
        _save_arrays(path.with_suffix(".npz"), arrays)
        write_json(path, {**values, "version": VERSION, "stamp": stamp(record), "commit": git_commit()})

    def quality(self, model: VAE, protocol: Protocol) -> tuple[dict[str, Any], dict[str, Array]]:
        """Appearance of the reconstructions of the test split, losses in evaluation mode, and the first pictures."""
        device, split = self.plan.device, self.split
        reporting, per_image = full_quality(
            lambda x: model.decode(model.encode(x)[0]), self.dataset, split.test, device=device, batch_size=self.plan.batch_size
        )
        shown = split.test[:NUM_SHOWN]
        values = {
            "not_computed": dict(reporting.pop("not_computed", {})),
            "num_test": len(split.test),
            "quality": {"reporting": reporting},
            "per_image": per_image,
            "eval_losses": self.losses(model, protocol),
        }
        pictures = {
            "samples": np.asarray(self.dataset.images[shown]),
            "reconstructions": reconstruct(model, self.dataset, shown, device),
        }
        return values, pictures

    def losses(self, model: VAE, protocol: Protocol) -> dict[str, Any]:
        """The training loss on images of both splits, in evaluation mode on the same fixed weights."""
        train = self.split.train[:TRAINING_IMAGES]
        values: dict[str, Any] = {"num_train": len(train), "num_validation": len(self.split.validation)}
        for name, indices in (("train", train), ("validation", self.split.validation)):
            images = Images(self.dataset, indices, usable_device(self.plan.device), masks=protocol.mask_weight > 0)
            values[name] = sampled_quality(model, images, batch_size=self.plan.batch_size, protocol=protocol, seed=0)["loss"]
        return values

    def latent(self, model: VAE) -> tuple[dict[str, Any], dict[str, Array]]:
        """Latent space, disentanglement, traversals and edits of one of the paper's two models."""
        data, held = self.dataset, self.held_out
        mean, kl = self.encode(model, np.asarray(data.images[held]))
        attributes = None if data.attributes is None else np.asarray(data.attributes[held])
        less: dict[str, Any] = {"perplexities": (30,), "null_maps": False, "max_images": 300} if self.plan.quick else {}
        space = analyse_latents(mean, kl, attributes, data.attribute_names, **less)
        arrays: dict[str, Array] = {"mean": mean, **space.arrays}
        arrays |= {} if attributes is None else {"attributes": attributes}
        few = {"num_images": 4, "num_dims": 6} if self.plan.quick else {}
        moves, strips = traverse(model, mean, np.array(kl), device=self.plan.device, **few)
        arrays |= strips
        reasons = {**space.not_computed, **moves.pop("not_computed", {})}
        values: dict[str, Any] = {
            "latent": space.values, "traversal": moves, "per_image": space.per_image, "not_computed": reasons,
        }  # fmt: skip
        if data.name == "faces":
            values["disentanglement"] = self.disentangled(model)
        else:
            reasons["factors"] = "real faces have no known factors; disentanglement is measured on rendered faces"
        if data.attributes is None:
            return values, arrays
        learned = self.split.train[:TRAINING_IMAGES]
        known, labels = self.encode(model, np.asarray(data.images[learned]))[0], np.asarray(data.attributes[learned])
        edits, pictures = edit_attributes(model, known, labels, mean, data.attribute_names, device=self.plan.device)
        reasons |= edits.pop("not_computed", {})
        return {**values, **edits}, arrays | pictures

    def disentangled(self, model: VAE) -> dict[str, Any]:
        """MIG, DCI, SAP and the FactorVAE score, on faces rendered for the purpose."""
        faces, batches = self.factor_faces, self.factor_batches
        codes, _ = self.encode(model, np.asarray(faces.images))
        assert faces.factors is not None, "rendered faces have factors"
        held, _ = self.encode(model, batches.images)
        scores = disentanglement_dict(codes, np.asarray(faces.factors), faces.factor_names, held, batches)
        return {**scores, "num_images": len(codes)}

    def encode(self, model: VAE, images: Array) -> tuple[NDArray[np.float32], list[float]]:
        """Posterior means of 8-bit images N x 3 x S x S: N x D; and the divergence from the prior in nats for each dimension."""
        device = usable_device(self.plan.device)
        means, divergence = [], torch.zeros(model.spec.latent_dim, dtype=torch.float64)
        with torch.no_grad():
            for start in range(0, len(images), self.plan.batch_size):
                rows = np.array(images[start : start + self.plan.batch_size])  # a copy: a memory-mapped array is read-only
                batch = torch.from_numpy(rows).to(device).float().div_(255)
                mean, log_var = (value.double().cpu() for value in model.encode(batch))
                divergence += 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(0)
                means.append(mean.float().numpy())
        return np.concatenate(means), (divergence / len(images)).tolist()

    def references(self) -> None:
        """Quality of the mean face and of PCA, with 128 components and with the models' latent size, on the same test images."""
        sizes = sorted({COMPONENTS, *(spec.latent_dim for spec in self.plan.pair)})
        wanted = {"data": self.dataset.fingerprint, "components": sizes}
        stored = read_json(self.folder.references)
        if stored.get("_made_of") == wanted and stored.get("_version") == VERSION:
            return
        values: dict[str, Any] = {"_made_of": wanted, "_version": VERSION}
        train, protocol = self.split.train, self.plan.protocol
        makers: dict[str, Callable[[], Reference]] = {
            "mean face": lambda: mean_face(self.dataset, train),
            **{f"PCA, {n} components,": partial(pca, self.dataset, train, num_components=n) for n in sizes},
        }
        for name, make in makers.items():
            try:
                reference = make()
                values[reference.name] = score(reference, self.dataset, self.split.test, protocol=protocol, device=self.plan.device)
            except (RuntimeError, MemoryError, ValueError) as error:
                values.pop("_made_of", None)  # so that the next run tries again
                line = first_line(error)
                values.setdefault("_limits", []).append(f"{name} was not measured: {line}")
        write_json(self.folder.references, values)

    def attribution(self, records: list[Record]) -> None:
        """Loss, SSIM and PSNR given to the pieces, from the trained networks between the two models."""
        attributions, by_seed, limits = attributed(records, self.plan.pair)
        values = {"attributions": [asdict(a) for a in attributions], "by_seed": by_seed, "limits": limits}
        write_json(self.folder.attribution, values)


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Written whole or not at all."""

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]

    write_atomic(path, write)
