"""What one finished trial shows: its record, the pictures of the dashboard's gallery, and a note."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from ablation.record.trial import METRICS, Record, shown
from ablation.report import draw_curves, write_gallery
from studies.engine.config import StudyFolder
from studies.engine.dashboard import artifact_store, upload_artifacts, write_note
from studies.store.records import store_record


def publish(
    trial: optuna.Trial, record: Record, originals: NDArray[np.uint8], images: NDArray[np.uint8], folder: StudyFolder
) -> None:
    """Store the record and upload the same files in the same order as every other trial, before the trial is told.

    `originals`, `images`: N x 3 x S x S, the same test images before and after.
    """
    store_record(trial, record, feasible=True)
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / "reconstructions.png", Path(name) / "loss_curves.png"]
        write_gallery(originals, [(record.label, images)], files[0])
        draw_curves(record, files[1])
        upload_artifacts(trial, artifact_store(folder.artifacts), files)
    write_note(trial, note(record))


def note(record: Record) -> str:
    """A few lines of Markdown: what this network is and what it came to."""
    lines = [f"**{record.label}**, seed {record.seed}", ""]
    for name in ("loss", "params", "macs", "ssim", "psnr"):
        metric, value = METRICS[name], shown(record, METRICS[name])
        if value is not None:
            lines.append(f"- {metric.label}: {value:.{metric.digits}f} {metric.unit}".rstrip())
    for place, entry in record.latency.items():
        if entry.get("median_ms") is not None:
            lines.append(f"- latency {place}: {entry['median_ms']:.2f} ms ({entry['ratio']:.2f} x the reference)")
    lines += ["", f"network `{record.network_key}`; settings the same in all trials of the study"]
    return "\n".join(lines)
