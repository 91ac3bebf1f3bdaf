"""What one finished trial shows: its record, the pictures of the dashboard's gallery, and a note."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from ablation.record.trial import METRICS, TRAINED, Metric, Record, fitted_text, shown
from ablation.report import draw_curves, write_gallery
from ablation.train.checkpoint import BEST
from studies.engine.config import StudyFolder
from studies.engine.dashboard import upload_artifacts, write_note
from studies.engine.search.earlier import COPIED, EarlierRecord
from studies.store.artifacts import PICTURES, WEIGHTS, Artifacts
from studies.store.records import store_record


def publish(
    trial: optuna.Trial, record: Record, originals: NDArray[np.uint8], images: NDArray[np.uint8], artifacts: Artifacts
) -> None:
    """Store the record and upload the same files in the same order as every other trial, before the trial is told.

    `originals`, `images`: N x 3 x S x S, the same test images before and after.
    """
    store_record(trial, record, feasible=True)
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / "reconstructions.png", Path(name) / "loss_curves.png"]
        write_gallery(originals, [(record.label, images)], files[0])
        draw_curves(record, files[1])
        upload_artifacts(trial, artifacts.store, files)
    write_note(trial, note(record))


def take_over(record: Record, earlier: EarlierRecord, trial: optuna.Trial, folder: StudyFolder) -> Record:
    """The record with the training of an earlier study, stored; weights and reconstructions come too where they are at hand."""
    old, origin = earlier.record, dict(earlier.origin)
    record = replace(
        record, training=old.training, quality=old.quality, data=old.data, provenance={**old.provenance, COPIED: origin}
    )
    source, key, old_key = StudyFolder(Path(origin["folder"])), record.network_key, origin["network_key"]
    copied = {WEIGHTS: folder.checkpoints(key, record.seed) / BEST, PICTURES: folder.reconstructions(key, record.seed)}
    if (weights := source.checkpoints(old_key, record.seed)).is_dir():
        shutil.copytree(weights, copied[WEIGHTS].parent, dirs_exist_ok=True)
    if (pictures := source.reconstructions(old_key, record.seed)).is_file():
        shutil.copy(pictures, copied[PICTURES])
    artifacts = Artifacts(trial.study, folder.artifacts)
    for name, path in copied.items():
        if path.is_file():
            artifacts.put(trial, name, path)
    store_record(trial, record, feasible=True)
    write_note(trial, f"{note(record)}\n\nTrained in {origin['folder']}, study {origin['study']}, trial {origin['trial']}.")
    return record


def note(record: Record, metrics: Mapping[str, Metric] = TRAINED) -> str:
    """A few lines of Markdown: what this network is and what it came to."""
    lines = [f"**{record.label}**, seed {record.seed}", ""]
    lead, *others = [metrics[name] for name in (("loss", "ssim", "psnr") if metrics is TRAINED else metrics)]
    for metric in (lead, METRICS["params"], METRICS["macs"], *others):
        value = shown(record, metric)
        if value is not None:
            text = fitted_text if metric.path.startswith("costs.") else type(metric).text
            lines.append(f"- {metric.label}: {text(metric, value / metric.scale)}")
    for place, entry in record.latency.items():
        if entry.get("median_ms") is not None:
            where = place.replace("@", " on ")
            lines.append(f"- latency {where}: {entry['median_ms']:.2f} ms ({entry['ratio']:.2f} x the reference)")
    lines += ["", f"network `{record.network_key}`; settings the same in all trials of the study"]
    return "\n".join(lines)
