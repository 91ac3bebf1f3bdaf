"""What is exported: a preset or a spec without training, or a network of a study with the weights of one of its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablation.data.faces.rendered import MIN_SIZE, render_faces
from ablation.data.splits import split_indices
from ablation.design.compose import VAE, build
from ablation.design.spec import ModelSpec
from ablation.export.write import Origin
from ablation.measure.costs.static import static_cost
from ablation.record.trial import COMPLETE, METRICS, Record, shown
from ablation.report.study.rows import rows_of
from ablation.stats import mean_estimate
from ablation.train.checkpoint import BEST, load_weights
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder
from studies.engine.reporting import study_info
from studies.engine.worker import open_dataset
from studies.explain.command import read_spec
from studies.export.options import ExportOptions
from studies.options import StatusOptions
from studies.search.folder import SearchFolder, is_search
from studies.store.records import records
from studies.stored import opened_studies

NUM_IMAGES, NUM_CALIBRATION, MOST_TEST, SHOWN = 64, 128, 256, 12
LICENCES = {
    "faces": "drawn by this package, MIT",
    "celeba": "CelebA: non-commercial research only, its images may not be passed on; see its own terms",
    "folder": "that of the images it was trained on; ask whoever made them",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network in evaluation mode, where it comes from, and images to compare its formats on."""

    model: VAE
    origin: Origin
    images: Tensor
    # training images, for int8, and test images, to judge it on
    calibration: Tensor | None = None
    test_images: Tensor | None = None


def source_of(options: ExportOptions) -> Source:
    """What the command line names; InputError where it names nothing that can be exported."""
    folder, network = _split(options.what)
    if folder is None:
        return _untrained(options)
    return _Study(folder, options).source(network)


def _split(what: str) -> tuple[Path | None, str]:
    """The folder of a study and the network in it: 'results/grid:3'; no folder where it names a preset or a spec."""
    if Path(what).is_dir():
        return Path(what), ""
    folder, colon, network = what.partition(":")
    if colon and Path(folder).is_dir():
        return Path(folder), network
    if colon or ("/" in what and not what.endswith((".toml", ".json"))):
        raise must_be("WHAT", "a preset, a spec or the folder of a study, as FOLDER:NETWORK", what, "There is no such folder.")
    return None, ""


def _untrained(options: ExportOptions) -> Source:
    spec = read_spec(options.what)
    if options.image_size is not None:
        spec = spec.replace(image_size=options.image_size)
    seed = options.seed or 0
    origin = Origin(
        name=options.what, trained=False, source=f"`{options.what}`, seed {seed}", costs=_costs(spec), plugins=options.plugin,
        command=options.line,
    )  # fmt: skip
    images = faces(spec, NUM_IMAGES)
    return Source(
        model=build(spec, seed=seed).eval(), origin=origin, images=images,
        calibration=faces(spec, NUM_CALIBRATION, seed=1) if options.int8 else None,
    )  # fmt: skip


def faces(spec: ModelSpec, num: int, seed: int = 0) -> Tensor:
    """Rendered faces of a network's size, N x 3 x S x S in [0, 1]; random images where it has no three channels."""
    size = spec.image_size
    if spec.in_channels != 3 or size < MIN_SIZE:
        return torch.rand(num, spec.in_channels, size, size, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(render_faces(num, size, seed=seed).images).float() / 255


class _Study:
    """The trials of a folder, of all studies in it: a search has its confirmation beside it."""

    def __init__(self, folder: Path, options: ExportOptions) -> None:
        self.folder, self.options = folder, options
        self.opened = opened_studies(StatusOptions(folder=folder, storage=options.storage, study=options.study))
        self.is_search = is_search(folder, holder(folder))

    def source(self, network: str) -> Source:
        """The network that is named, with the weights of its best seed or of the one named."""
        candidates = self._of_search(network) if self.is_search else self._of_grid(network)
        complete = [each for each in candidates if each[0].state == COMPLETE]
        if not complete:
            states = ", ".join(dict.fromkeys(record.state for record, _, _ in candidates))
            raise must_be("WHAT", "a network that was trained", self.options.what, f"Its trials are {states}.")
        wanted = self.options.seed
        if wanted is not None and wanted not in (seeds := [record.seed for record, _, _ in complete]):
            raise must_be("--seed", f"one of {', '.join(map(str, seeds))}", wanted)
        record, files, config = min(
            (each for each in complete if wanted in (None, each[0].seed)), key=lambda each: shown(each[0], METRICS["loss"]) or 0.0
        )
        return self._source(record, files, config, [each[0] for each in complete])

    def _of_grid(self, network: str) -> list[tuple[Record, StudyFolder, StudyConfig]]:
        """The trials of one network: by its number in the tables, its label or its key."""
        found, every = [], []
        for study, files, config in self.opened:
            stored = records(study, config.limits)
            rows = rows_of(stored, study_info(study, config, stored, ""))
            every += rows
            for row in rows:
                if network in (str(row.number), row.label, row.network_key):
                    found.append([(record, files, config) for record in row.trials])
        if not network and len(every) == 1:
            return self._of_grid("1")
        if len(found) != 1:
            lines = [f"{row.number} {row.label}" for row in every[:SHOWN]] + ["..."] * (len(every) > SHOWN)
            remedy = f"It holds: {'; '.join(lines)}." if every else "It holds no trial."
            raise must_be("WHAT", "FOLDER:NETWORK, by number, label or key, of one network", self.options.what, remedy)
        return found[0]

    def _of_search(self, network: str) -> list[tuple[Record, StudyFolder, StudyConfig]]:
        """The trials of a proposal, of the reference or of the winner; those of the confirmation where there are any."""
        spec = self._searched_spec(network)
        found = [
            (record, files, config) for study, files, config in self.opened for record in records(study, config.limits)
            if record.spec and ModelSpec.from_dict(record.spec).network_key == spec.network_key
        ]  # fmt: skip
        confirmed = [each for each in found if each[1].path != self.folder and each[1].path.name == "confirm"]
        return confirmed or found

    def _searched_spec(self, network: str) -> ModelSpec:
        files = SearchFolder(self.folder)
        if network in ("", "winner"):
            if not files.winner.is_file():
                raise must_be(
                    "WHAT", "a search that has confirmed a winner", self.options.what, f"Name a proposal: {self.folder}:NUMBER."
                )
            return ModelSpec.from_toml(files.winner.read_text(encoding="utf-8"))
        if network == "reference":
            return ModelSpec.from_toml(files.reference.read_text(encoding="utf-8"))
        for study, place, config in self.opened:
            for record in records(study, config.limits) if place.path == self.folder else ():
                if network in (str(record.number), record.label, record.network_key) and record.spec:
                    return ModelSpec.from_dict(record.spec)
        rule = "FOLDER:NUMBER of a proposal, FOLDER:winner or FOLDER:reference"
        raise must_be("WHAT", rule, self.options.what, f"`report {self.folder}` lists them.")

    def _source(self, record: Record, files: StudyFolder, config: StudyConfig, trials: Sequence[Record]) -> Source:
        spec = ModelSpec.from_dict(record.spec)
        model, weights = build(spec), files.checkpoints(record.network_key, record.seed)
        if not (weights / BEST).is_file():
            remedy = "An earlier version kept none, or they were removed: train it again, or export its spec."
            raise must_be("The trial", "stored with its weights", f"{record.label}, seed {record.seed}", remedy)
        load_weights(model, weights)
        calibration = test_images = None
        if self.options.int8:
            calibration, test_images = self._images(config)
        name = f"{record.label}" if record.label else record.network_key
        origin = Origin(
            name=name, trained=True, source=f"{self.folder.name}, {name}, seed {record.seed}", data=_data(config),
            licence=LICENCES.get(config.data["name"], ""), protocol=config.training_protocol().in_words(),
            losses=_losses(trials, record), costs=_costs(spec), plugins=self.options.plugin, command=self.options.line,
        )  # fmt: skip
        return Source(
            model=model.eval(), origin=origin, images=faces(spec, NUM_IMAGES), calibration=calibration, test_images=test_images
        )

    def _images(self, config: StudyConfig) -> tuple[Tensor, Tensor]:
        """Images to calibrate on, of the training split, and images of the test split."""
        try:
            dataset = open_dataset(config, self.options.data_root, self.options.cache_dir)
        except InputError as error:
            raise InputError(f"--int8 needs the data that the study was trained on. {error}") from None
        split = split_indices(len(dataset), seed=config.training_protocol().split_seed)
        take: Any = partial(_tensor, dataset.images)
        return take(split.train[:NUM_CALIBRATION]), take(split.test[:MOST_TEST])


def _tensor(images: Any, rows: Any) -> Tensor:
    return torch.from_numpy(images[sorted(rows)]).float() / 255


def _data(config: StudyConfig) -> str:
    data = config.data
    return f"{data['name']}, {data['limit'] or 'all'} images at {data['image_size']} px, fingerprint {config.fingerprint}"


def _losses(trials: Sequence[Record], chosen: Record) -> list[tuple[str, str, str]]:
    """Of the exported trial, and over all seeds of its network with an interval where there are enough."""
    rows = []
    for name in ("loss", "replica_loss", "ssim", "psnr"):
        metric = METRICS[name]
        own, values = shown(chosen, metric), [value for trial in trials if (value := shown(trial, metric)) is not None]
        if own is None:
            continue
        unit = f" {metric.unit}" if metric.unit else ""
        rows.append((metric.label, f"{own:.{metric.digits}f}{unit}", f"this network, seed {chosen.seed}"))
        if len(values) > 1:
            mean = mean_estimate(values)
            ends = f" ({mean.low:.{metric.digits}f} to {mean.high:.{metric.digits}f})" if mean.known else ""
            rows.append((f"{metric.label}, mean", f"{mean.value:.{metric.digits}f}{ends}{unit}", f"{len(values)} seeds, 95 %"))
    return rows


def _costs(spec: ModelSpec) -> list[tuple[str, str]]:
    cost = static_cost(spec)
    return [
        ("parameters", f"{cost.params:,}"),
        ("multiply-accumulates", f"{cost.macs / 1e6:,.1f} M"),
        ("elements written", f"{cost.elements_written / 1e6:,.2f} M"),
        ("operations", f"{cost.num_ops:,}"),
    ]
