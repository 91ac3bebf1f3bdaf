"""A trained study as the table that `bench search` replays, with its facts beside it:

python -m studies.bench.table FOLDER CSV
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ablation.machine.files import write_atomic
from ablation.record.trial import COMPLETE
from ablation.search.replay import Table, table_from_records
from blocks.errors import must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.store.records import records
from studies.store.storage import open_storage, study_names


def write_table(folder: Path, path: Path) -> Path:
    """The CSV of a finished study of a grid, and a JSON file that says how it was made. InputError where there is no such study."""
    from optuna import load_study

    if not StudyFolder(folder).journal.is_file():
        raise must_be("FOLDER", "that of a study", str(folder), "It holds no journal.log.")
    storage = open_storage(StudyFolder(folder).journal, must_exist=True)
    (name,) = study_names(storage)
    study = load_study(study_name=name, storage=storage)
    config = StudyConfig.from_dict(study.user_attrs["config"])
    complete = [record for record in records(study, config.limits) if record.state == COMPLETE]
    frame = table_from_records(complete)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda part: frame.to_csv(part, index=False))
    seeds, first = sorted({record.seed for record in complete}), complete[0].provenance
    facts: dict[str, Any] = {
        "command": f"python -m studies.run grid --space {config.space['name']} --seeds {len(seeds)}",
        "networks": int(frame["network_key"].nunique()),
        "rows": len(frame),
        "seeds": seeds,
        "epochs": len(Table(frame=frame).loss_columns) // len(seeds),
        "training_seconds": round(sum(float(record.training.get("seconds") or 0) for record in complete)),
        "latency": "batch 1 in one session before training, median of interleaved rounds, one thread",
        "hardware": first["hardware"],
        "software": first["software"],
        "commits": sorted({str(record.provenance["commit"]) for record in complete}),
        "config": study.user_attrs["config"],
    }
    write_atomic(path.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    return path


if __name__ == "__main__":
    print(write_table(Path(sys.argv[1]), Path(sys.argv[2])))
