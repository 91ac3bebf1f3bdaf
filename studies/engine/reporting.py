"""A study's report from its storage alone: tables, plots, sentences, gallery. No torch here, so that it can be redone anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console

from ablation.design.callable_spec import CallableSpec
from ablation.design.variant import network_of
from ablation.machine.hardware import digest_of, machine_name
from ablation.record.trial import COMPLETE, INFEASIBLE, Record
from ablation.report import StudyInfo, print_table, write_gallery, write_report
from ablation.report.kit.numbers import joined
from studies.engine.config import StudyConfig, StudyFolder, prepare_folder
from studies.engine.dashboard import publish_pareto, write_note
from studies.store.artifacts import ORIGINALS, PICTURES, SAMPLES, Artifacts, sha256_of
from studies.store.latency import kinds, latencies, name_among, stored_noise, stored_sessions
from studies.store.records import records
from studies.work.progress import print_line

FACTS = "facts"  # user attribute of a study: data, machine, command


def study_info(study: optuna.Study, config: StudyConfig, stored: list[Record], command: str) -> StudyInfo:
    """The facts of a study that its records do not hold."""
    attrs, space = study.user_attrs, config.space
    facts: dict[str, Any] = attrs.get(FACTS, {})
    machine, hardware = facts.get("provenance", {}), hardware_of(study, stored)
    device = joined(hardware.values()) or machine_name(machine.get("hardware", {})) or config.device
    about = {"timed_on": {kind.name: dict(kind.about) for kind in kinds(study)}} if hardware else {}
    seeds = sorted({record.seed for record in stored})
    own = about_own(config) if config.own else {}
    of = CallableSpec.from_dict(space["base"]).text if own else f"{config.data['name']} at {config.data['image_size']} px"
    return StudyInfo(
        title=f"{config.name}: {', '.join(space['factors'])} {'of' if own else 'on'} {of}",
        command=facts.get("command", command),
        device=device,
        hardware=hardware,
        data=facts.get("data", dict(config.data)),
        num_planned=len(stored),
        protocol=config.protocol,
        factors={factor: list(levels) for factor, levels in space["factors"].items()},
        reference=facts.get("reference", ""),
        provenance={**machine, "seeds": seeds, "data_fingerprint": config.fingerprint, "latency": stored_sessions(study), **about},
        latency_noise=stored_noise(study),
        **own,
    )


def hardware_of(study: optuna.Study, stored: Iterable[Record]) -> dict[str, str]:
    """Digest -> name of each kind of hardware that timed networks or ran trials, the reference first; empty where it is one."""
    known = {kind.digest: kind.name for kind in kinds(study)}
    for about in (about for record in stored if (about := record.provenance.get("hardware"))):
        if (digest := digest_of(about)) not in known:
            known[digest] = name_among(known.values(), about)
    return known if len(known) > 1 else {}


def about_own(config: StudyConfig) -> dict[str, Any]:
    """What a report knows of networks and metrics of a user's own."""
    base, metrics = config.space["base"], config.metrics
    about = f"{CallableSpec.from_dict(base).text} on {' and '.join(base['inputs'])}, trained by {config.own['train']}"
    return {"network": about, "metrics": metrics, "compared": tuple(metrics), "aside": ()}


def current_records(study: optuna.Study, config: StudyConfig) -> list[Record]:
    """Records of all jobs; latency from the last session on each kind of hardware, so that all variants were timed side by side."""
    latency = latencies(study)
    return [replace(r, latency=latency.get(network_of(r.network_key), r.latency)) for r in records(study, config.limits)]


def report_study(
    study: optuna.Study, folder: StudyFolder, config: StudyConfig, console: Console, command: str = "", to: Path | None = None
) -> list[Path]:
    """Write the report and print its table and where it is.

    In the study's folder it shows the reconstructions; in another folder, `to`, which may be passed on, only those of rendered
    faces: most licences of real faces, CelebA's among them, forbid that.
    """
    known = current_records(study, config)
    stored = [record for record in known if record.state != INFEASIBLE]
    info = study_info(study, config, stored, command)
    if outside := len(known) - len(stored):  # of which a search may have hundreds
        note = f"{outside} proposals lie outside of the limits and were not trained"
        info = replace(info, data={**info.data, "notes": [*(info.data.get("notes") or ()), note]})
    target, allowed = to or folder.report, to is None or config.data.get("name") in ("faces", None)
    prepare_folder(target, "--to")
    artifacts = Artifacts(study, folder.artifacts)
    fetch_samples(artifacts, folder)
    if allowed:
        draw_gallery(stored, artifacts, folder, target)
    paths = write_report(stored, target, study=info, images_allowed=allowed)
    publish_pareto(study, config.leading)
    complete = sum(record.state == COMPLETE for record in stored)
    write_note(
        study, f"{info.title}\n\n{complete} of {len(stored)} trials complete. The first objective is the {config.leading.label}."
    )
    width = min(console.width, 160) if console.is_terminal else 120
    table = print_table(stored, info, width=width)
    done = f"{complete} of {len(stored)} trials are complete. Report: {target / 'report.html'}"
    missing = f"\nNote: files are missing: {artifacts.missing}." if artifacts.missing else ""
    print_line(console, f"{table}\n{done}{missing}")
    return paths


def fetch_samples(artifacts: Artifacts, folder: StudyFolder) -> None:
    """Raw samples of latency sessions that this machine has not measured, each hardware's in a folder of its own."""
    own = {sha256_of(path) for path in folder.latency.glob("*.npz")}
    for name, kept in artifacts.shared().items():
        if name.startswith(SAMPLES) and kept.sha256 not in own:
            artifacts.fetch(kept, folder.latency / name.removeprefix(SAMPLES))


def draw_gallery(stored: list[Record], artifacts: Artifacts, folder: StudyFolder, target: Path) -> Path | None:
    """Originals and, for one seed of each complete network, its reconstructions side by side; None where there are none.

    What this folder lacks is fetched into it. A picture that can't be read must not cost the report.
    """
    artifacts.fetch(artifacts.shared().get(ORIGINALS), folder.originals)
    originals, kept = _pictures(folder.originals), artifacts.kept(PICTURES)
    if originals is None:
        return None
    rows: dict[str, tuple[str, Any]] = {}
    for record in stored:
        if record.state == COMPLETE and record.network_key not in rows:
            path = folder.reconstructions(record.network_key, record.seed)
            artifacts.fetch(kept.get(record.number), path)
            pictures = _pictures(path)
            if pictures is not None and pictures.shape == originals.shape and pictures.dtype == originals.dtype:
                rows[record.network_key] = (record.label, pictures)
    return write_gallery(originals, list(rows.values()), target / "gallery.png") if rows else None


def _pictures(path: Path) -> Any:
    """A stored array; None where it is missing or cut, which must not cost the report."""
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):
        return None
