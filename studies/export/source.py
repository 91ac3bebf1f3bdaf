"""What is exported: a preset or a spec without training, or a network of a study with the weights of one of its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from ablation.data.splits import split_indices
from ablation.design.call_text import is_callable_path, parsed
from ablation.design.callable_spec import CallableSpec
from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.export.write import Origin
from ablation.faster.examples import example_faces
from ablation.record.search import Candidate
from ablation.record.trial import COMPLETE, Record, shown
from ablation.report.study.rows import Row, rows_of
from ablation.train.checkpoint import BEST, load_weights
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder
from studies.engine.reporting import study_info
from studies.engine.worker import open_dataset
from studies.explain.networks import read_spec
from studies.export.facts import costs_of, data_of, losses_of
from studies.export.options import ExportOptions
from studies.search.folder import CONFIRM, NETWORK, REFERENCE, WINNER, SearchFolder, is_search, level_of, restore_facts
from studies.search.page.result import SearchState, read_search
from studies.store.artifacts import WEIGHTS, Artifacts
from studies.store.records import records
from studies.stored.opened import RESULTS, opened_studies
from studies.stored.options import StudyOptions

NUM_IMAGES, NUM_CALIBRATION, MOST_TEST, SHOWN = 64, 128, 256, 12
LICENCES = {
    "faces": "drawn by this package, MIT",
    "celeba": "CelebA: non-commercial research only, its images may not be passed on; see its own terms",
    "folder": "that of the images it was trained on; ask whoever made them",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network in evaluation mode, where it comes from, and images to compare its formats on."""

    model: nn.Module
    origin: Origin
    images: Tensor
    # of a network that a callable makes, which is compared on drawn inputs
    call: CallableSpec | None = None
    # training images, for int8, and test images, to judge it on
    calibration: Tensor | None = None
    test_images: Tensor | None = None


def source_of(options: ExportOptions) -> Source:
    """What the command line names; InputError where it names nothing that can be exported."""
    folder, network = _split(options)
    if folder is None:
        return _untrained(options)
    return _Study(folder, options).source(network)


def _split(options: ExportOptions) -> tuple[Path | None, str]:
    """The folder of a study and the network in it: 'results/grid:3'; no folder where it names a preset or a spec.

    A study that is named with its storage may have nothing in its folder yet, or no folder.
    """
    what = options.what
    folder, colon, network = (what, "", "") if holder(Path(what)) else what.partition(":")
    if holder(Path(folder)) or (options.storage and options.study):
        return Path(folder or RESULTS / str(options.study)), network
    if _names_callable(what):
        return None, ""
    if Path(folder).is_dir() and (colon or "/" in what):
        raise must_be("WHAT", "a preset, a spec or the folder of a study, as FOLDER:NETWORK", what, "It holds no study.")
    if colon or ("/" in what and not what.endswith((".toml", ".json"))):
        raise must_be("WHAT", "a preset, a spec or the folder of a study, as FOLDER:NETWORK", what, "There is no such folder.")
    return None, ""


def _names_callable(what: str) -> bool:
    """Whether it can be read as MODULE:CALLABLE, and not as FOLDER:NETWORK with a number or a label."""
    try:
        return is_callable_path(what) and bool(parsed(what))
    except InputError:
        return False


def _untrained(options: ExportOptions) -> Source:
    _refuse("--storage", options.storage, "a study is exported")
    _refuse("--study", options.study, "a study is exported")
    _refuse("--data-root", options.data_root, "a study is exported with --int8")
    if _names_callable(options.what):
        return _called(options)
    _refuse("--input", options.input or None, "a callable is exported")
    spec = read_spec(options.what)
    if options.image_size is not None:
        spec = spec.replace(image_size=options.image_size)
    seed, is_file = options.seed or 0, options.what.endswith((".toml", ".json"))
    name = Path(options.what).stem if is_file else options.what  # no path of this machine
    origin = Origin(
        name=name, trained=False, source=f"`{name}`, seed {seed}", licence_id="mit", costs=costs_of(spec), plugins=options.plugin,
        command=options.line,
    )  # fmt: skip
    size = (spec.in_channels, spec.image_size)
    return Source(
        model=build(spec, seed=seed).eval(), origin=origin, images=example_faces(NUM_IMAGES, *size),
        calibration=example_faces(NUM_CALIBRATION, *size, seed=1) if options.int8 else None,
    )  # fmt: skip


def _called(options: ExportOptions) -> Source:
    """A network as a callable makes it, from a seed."""
    _refuse_for_any(options)
    _refuse("--image-size", options.image_size, "a preset is exported")
    spec, seed = CallableSpec.read(options.what, options.input), options.seed or 0
    origin = Origin(
        name=spec.text.partition(":")[2], trained=False, source=f"`{spec.text}`, seed {seed}", costs=costs_of(spec),
        plugins=options.plugin, command=options.line,
    )  # fmt: skip
    return Source(model=spec.build_plain(seed).eval(), origin=origin, images=torch.empty(0), call=spec)


def _refuse_for_any(options: ExportOptions) -> None:
    """InputError for what needs a VAE, or images."""
    _refuse("--sample", options.sample or None, "a network of this project's pieces is exported, which draws noise")
    _refuse("--int8", options.int8 or None, "a network of this project's pieces is exported: others have no images to calibrate on")


def _refuse(flag: str, value: object, rule: str) -> None:
    """InputError for a flag that would do nothing here."""
    if value is not None:
        raise must_be(flag, f"left out unless {rule}", value)


Trial = tuple[Record, StudyFolder, StudyConfig, Artifacts]


class _Study:
    """The trials of a folder; of a search those of its confirmation too."""

    def __init__(self, folder: Path, options: ExportOptions) -> None:
        _refuse("--image-size", options.image_size, "a preset is exported: a study has its own")
        if not options.int8:
            _refuse("--data-root", options.data_root, "a study is exported with --int8")
        self.folder, self.options = folder, options
        # a folder whose study is kept elsewhere knows where
        self.storage = options.storage or holder(folder).get("storage")

    def source(self, network: str) -> Source:
        """The network that is named, with the weights of its best seed or of the one named."""
        if self.storage and self.options.study:  # of a search, what no folder of this machine may hold yet
            for study, _, _ in self._opened():
                restore_facts(study, SearchFolder(self.folder), self.storage)
        is_found = is_search(self.folder, holder(self.folder))
        trials = self._of_search(network) if is_found else self._of_grid(network)
        complete = [each for each in trials if each[0].state == COMPLETE]
        if not complete:
            states = ", ".join(dict.fromkeys(record.state for record, *_ in trials)) or "not there"
            raise must_be("WHAT", "a network that was trained", self.options.what, f"Its trials are {states}.")
        wanted = self.options.seed
        if wanted is not None and wanted not in (seeds := [record.seed for record, *_ in complete]):
            raise must_be("--seed", f"one of {', '.join(map(str, seeds))}", wanted)
        missing = ""
        for each in sorted((each for each in complete if wanted in (None, each[0].seed)), key=_loss):
            record, _, _, artifacts = each
            reason = artifacts.fetch(artifacts.kept(WEIGHTS).get(record.number), _weights(each))
            if _weights(each).is_file():
                return self._source(each, [each[0] for each in complete])
            missing = missing or f"{reason}. "
        remedy = f"{missing}An earlier version kept none, another machine trained it, or they were removed: train it again."
        raise must_be("The network", "stored with its weights in this folder", complete[0][0].label, remedy)

    def _opened(self) -> list[tuple[optuna.Study, StudyFolder, StudyConfig]]:
        return opened_studies(StudyOptions(folder=self.folder, storage=self.storage, study=self.options.study))

    def _of_grid(self, network: str) -> list[Trial]:
        """The trials of one network: by its number in the tables, its label or its key."""
        found, every = list[list[Trial]](), list[Row]()
        for study, files, config in self._opened():
            stored = records(study, config.limits)
            rows = rows_of(stored, study_info(study, config, stored, ""))
            every += rows
            for row in rows:
                if network in (str(row.number), row.label, row.network_key) or (not network and len(rows) == 1):
                    found.append([(record, files, config, Artifacts(study, files.artifacts)) for record in row.trials])
        if len(found) != 1:
            lines = [f"{row.number} {row.label}" for row in every[:SHOWN]] + ["..."] * (len(every) > SHOWN)
            remedy = f"It holds: {'; '.join(lines)}." if every else "It holds no trial."
            raise must_be("WHAT", "FOLDER:NETWORK, by number, label or key, of one network", self.options.what, remedy)
        return found[0]

    def _of_search(self, network: str) -> list[Trial]:
        """The trials of a proposal, the reference or the winner: fresh seeds where it was confirmed, else the search's own."""
        files = SearchFolder(self.folder)
        state = read_search(files, self.storage)
        chosen = None if state is None else _candidate(state, network)
        if state is None or chosen is None:
            rule = "FOLDER:NUMBER of a proposal, FOLDER:winner or FOLDER:reference"
            raise must_be("WHAT", rule, self.options.what, f"`report {self.folder}` lists them.")
        search, confirm, place = state.search, state.parts.get(CONFIRM), StudyFolder(files.part(CONFIRM))
        confirmed = [
            (record, place, confirm.config, Artifacts(confirm.study, place.artifacts)) for record in confirm.records()
            if record.factors.get(NETWORK, "").partition(" at ")[0] == level_of(chosen) and record.state == COMPLETE
        ] if confirm else []  # fmt: skip
        own = [record for record in search.records() if record.network_key == chosen.key]
        here = StudyFolder(self.folder)
        return confirmed or [(record, here, search.config, Artifacts(search.study, here.artifacts)) for record in own]

    def _source(self, trial: Trial, trials: Sequence[Record]) -> Source:
        record, _, config, _ = trial
        if config.own:
            return self._own(trial, trials)
        spec, protocol = ModelSpec.from_dict(record.spec), Protocol(**{**config.protocol, **record.protocol})
        model, where = build(spec, seed=0), self.folder.resolve().name
        load_weights(model, _weights(trial).parent)
        calibration, test_images = self._images(config) if self.options.int8 else (None, None)
        origin = Origin(
            name=record.label or record.network_key, trained=True, source=f"{where}, {record.label}, seed {record.seed}",
            data=data_of(config), licence=LICENCES.get(config.data["name"], ""),
            licence_id="mit" if config.data["name"] == "faces" else "other", protocol=protocol.in_words(),
            losses=losses_of(trials, record, config), costs=costs_of(spec), plugins=self.options.plugin, command=self.options.line,
        )  # fmt: skip
        images = example_faces(NUM_IMAGES, spec.in_channels, spec.image_size)
        return Source(model=model.eval(), origin=origin, images=images, calibration=calibration, test_images=test_images)

    def _own(self, trial: Trial, trials: Sequence[Record]) -> Source:
        """A network of the user's own, with what its training left in it."""
        _refuse_for_any(self.options)
        record, _, config, _ = trial
        spec, where = CallableSpec.from_dict(record.spec), self.folder.resolve().name
        if spec.network_key != record.network_key:
            raise must_be(f"The source of {spec.path}", "the one that the study was made with", "another", "Restore it.")
        model = spec.build_plain(seed=0)
        load_weights(model, _weights(trial).parent)
        origin = Origin(
            name=record.label or record.network_key, trained=True, source=f"{where}, {record.label}, seed {record.seed}",
            licence="that of the data it was trained on; ask whoever made them", protocol=config.own["train"],
            losses=losses_of(trials, record, config), costs=costs_of(spec), plugins=self.options.plugin, command=self.options.line,
        )  # fmt: skip
        return Source(model=model.eval(), origin=origin, images=torch.empty(0), call=spec)

    def _images(self, config: StudyConfig) -> tuple[Tensor, Tensor]:
        """Images to calibrate on, of the training split, and images of the test split."""
        try:
            dataset = open_dataset(config, self.options.data_root, self.options.cache_dir)
        except InputError as error:
            raise InputError(f"--int8 needs the data that the study was trained on. {error}") from None
        split = split_indices(len(dataset), seed=config.training_protocol().split_seed)
        take: Any = partial(_tensor, dataset.images)
        return take(split.train[:NUM_CALIBRATION]), take(split.test[:MOST_TEST])


def _candidate(state: SearchState, network: str) -> Candidate | None:
    """What is called so in a search: the winner unless named."""
    if network in ("", WINNER):
        return state.winner
    if network == REFERENCE:
        return state.reference
    return next((c for c in state.proposals if network in (str(c.number), c.label, c.key)), None)


def _weights(trial: Trial) -> Path:
    record, files, *_ = trial
    return files.checkpoints(record.network_key, record.seed) / BEST


def _loss(trial: Trial) -> float:
    """What the best seed has least of."""
    metric = trial[2].leading
    value = shown(trial[0], metric)
    return math.inf if value is None else value if metric.lower_is_better else -value


def _tensor(images: Any, rows: Any) -> Tensor:
    return torch.from_numpy(images[sorted(rows)]).float() / 255
