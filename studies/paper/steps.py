"""The steps of a study of the paper beside training its groups; each stores what it gives in the study's folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ablation.attribute.factorial import Factorial
from ablation.data import Dataset, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.design.spec import ModelSpec, preset
from ablation.machine.hardware import describe_hardware, machine_name, provenance
from ablation.machine.text import first_line
from ablation.record.trial import COMPLETE
from ablation.stats import LEAST_ROUNDS
from ablation.train.speed import compare_training
from blocks.errors import must_be
from studies.engine.config import prepare_folder
from studies.explain.command import explain_pair
from studies.explain.steps import Pair
from studies.paper.evidence.analysis import Analyst
from studies.paper.evidence.collect import UNREADABLE, as_explanation, read_json, stamp, stored_records, write_json
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL
from studies.paper.folder import MODELS, PIECES, PaperFolder
from studies.paper.groups import Group
from studies.paper.plan import PaperPlan
from studies.work.threads import quick_threads

SPEED_S = {False: 30.0, True: 10.0}  # for timing training steps, by whether the study is quick

Say = Callable[[str], None]


def as_begun(dataset: Dataset, folder: PaperFolder) -> Dataset:
    """The data set, if it is the one that the study in the folder began with; with a note where only names and sizes say so."""
    facts = read_json(folder.facts)
    began = facts.get("provenance", {}).get("data", {}).get("fingerprint")
    known = facts.get("data_fingerprint", began)
    if known is not None and known not in (dataset.fingerprint, *dataset.former):
        remedy = "Restore the data, or name another folder with --out."
        raise must_be("the data", f"those that the study began with, fingerprint {known}", dataset.fingerprint, remedy)
    return dataset.with_note(FORMER_NOTE) if began in dataset.former else dataset


def write_facts(
    folder: PaperFolder, plan: PaperPlan, dataset: Dataset, groups: list[Group], limits: list[str], command: str
) -> None:
    """Scale, machine, data and command of the study, for its page."""
    facts = {
        **provenance(plan.device, time.time()),
        "command": command,
        "data": dataset.describe(),
        "protocol": plan.protocol.to_dict(),
    }
    values = {
        "scale": _scale(plan, dataset),
        "groups": {group.name: group.kind for group in groups},
        "limits": [*limits, *dataset.notes],
        "provenance": facts,
    }
    first = read_json(folder.facts)
    if first:  # trials of an earlier sitting stay that sitting's; where it was gone on with stands beside it
        again = [*first.get("sittings", ()), {name: facts[name] for name in ("started", "commit", "hardware")}]
        values |= {"provenance": first["provenance"], "sittings": again}
    known = {"data_fingerprint": dataset.fingerprint, "attribute_names": list(dataset.attribute_names)}
    write_json(folder.facts, {**values, **known})


def _scale(plan: PaperPlan, dataset: Dataset) -> dict[str, Any]:
    split = split_indices(len(dataset), seed=plan.protocol.split_seed)
    return {
        "image_size": plan.image_size,
        "data": dataset.name,
        "num_images": len(dataset),
        "num_train": len(split.train),
        "num_validation": len(split.validation),
        "num_test": len(split.test),
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "seeds": dict(plan.seeds),
        "device": plan.device,
        "hardware": machine_name(describe_hardware(plan.device)) or plan.device,
        "width": "the paper's" if plan.full_width else "a quarter",
        "quick": plan.quick,
        "workers": plan.workers,
        "side_by_side": plan.side_by_side,
    }


def read_explained(folder: Path, device: str) -> dict[str, Any]:
    """An explanation of the paper's pair that was made before; InputError for anything else."""
    values = read_json(folder / "explanation.json")
    rule, remedy = (
        f"a folder of `explain original modified --device {device}`",
        "Leave it out: the study then explains them itself.",
    )
    keys = {name: preset(name).network_key for name in (ORIGINAL, MODIFIED)}
    try:
        explanation = as_explanation(values)
        known = {name: ModelSpec.from_dict(spec).network_key for name, spec in explanation.specs.items()} == keys
    except UNREADABLE as error:
        reason = f"It cannot be read ({type(error).__name__}: {error}). " if values else ""
        raise must_be("--explained", rule, str(folder), reason + remedy) from None
    if not known or explanation.device != device:
        raise must_be("--explained", rule, str(folder), remedy)
    return values


def lend(folder: PaperFolder, explained: Path | None, device: str) -> None:
    """An explanation that was made before becomes the study's."""
    if explained is not None:
        write_json(folder.explain / "explanation.json", {**read_explained(explained, device), "lent": True})


def explain(plan: PaperPlan, folder: PaperFolder, command: str, say: Say) -> None:
    """Counts, latency and its mechanisms of the paper's own two models at 144 px, whatever is trained."""
    stored = read_json(folder.explain / "explanation.json")
    with suppress(*UNREADABLE):  # one that was lent by another version is made anew
        if stored.get("lent") and as_explanation(stored):
            return
    pair = Pair(
        names=(ORIGINAL, MODIFIED),
        specs=(preset("original"), preset("modified")),
        device=plan.device,
        batch_size=1,
        threads=1,
        budget_s=plan.explain_s,
        quick=plan.explain_quick,
    )
    say("Explaining the costs and the latency of the paper's two models at 144 px ...")
    explain_pair(pair, Factorial.between(*pair.specs), prepare_folder(folder.explain), command, say)


def time_training(plan: PaperPlan, folder: PaperFolder) -> None:
    """Interleaved training steps of the two models, once; again where an earlier version timed one sitting alone."""
    if read_json(folder.speed).get("sittings"):
        return
    names = dict(zip((ORIGINAL, MODIFIED), plan.pair, strict=True))
    timed = compare_training(names, plan.protocol, device=plan.device, budget_s=SPEED_S[plan.quick], rounds=(LEAST_ROUNDS, 200))
    values = {f"{name}_ms": speed.step_ms for name, speed in timed.items()}
    ratio = {key: value for key, value in asdict(timed[MODIFIED]).items() if key != "step_ms"}
    threads = torch.get_num_threads() if plan.device == "cpu" else None
    facts = {"batch_size": plan.batch_size, "image_size": plan.image_size, "device": plan.device, "threads": threads}
    write_json(folder.speed, {**values, **ratio, **facts, "provenance": provenance(plan.device, time.time())})


def analyse(group: Group, analyst: Analyst) -> int:
    """Every complete trial of a group: 0, or 1 where one can't be analysed, which is reported while the rest goes on."""
    records = [r for r in stored_records(analyst.folder).get(group.name, []) if r.state == COMPLETE]
    code = 0
    bar = tqdm(records, desc=f"analysing {group.name}", unit="trial", disable=not records)
    for record in bar:
        try:
            with quick_threads():
                analyst.trial(group, record)
        except Exception as error:  # a failure is a recorded state, whichever library raised it
            line = first_line(error).replace(f"{analyst.folder.path}/", "")
            code = 1
            bar.write(f"{record.label}, seed {record.seed}: not analysed: {line}", file=sys.stderr)
            path = analyst.folder.analysis(group.name, record.network_key, record.seed)
            # without a version, so that the next run tries again
            write_json(path, {"not_computed": {"analysis": line}, "stamp": stamp(record)})
    if analyst.plan.device == "cuda":
        torch.cuda.empty_cache()  # the workers of the next group need it
    return code


def judge_pieces(analyst: Analyst, folder: PaperFolder, say: Say) -> None:
    """References on the same images, and the loss given to the pieces."""
    say("References: mean face and PCA ...")
    analyst.references()
    records = stored_records(folder)
    analyst.attribution([*records.get(MODELS, []), *records.get(PIECES, [])])
