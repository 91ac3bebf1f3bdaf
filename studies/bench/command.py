"""`bench`: the suite's own speed and safety, as ratios and counts measured side by side in one run, each beside its target."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from ablation.machine.device import pick_device
from ablation.machine.hardware import provenance
from blocks.errors import choices, must_be
from studies.bench.chaos.part import bench_chaos
from studies.bench.chaos.proxy import bench_proxy
from studies.bench.chaos.server import missing
from studies.bench.result import Bench, Result, line
from studies.bench.runtimes import bench_precision, bench_runtimes
from studies.bench.safety import bench_coverage, bench_kill, bench_overhead
from studies.bench.search import bench_search
from studies.bench.space import bench_space
from studies.bench.speed import bench_latency, bench_static, bench_training
from studies.engine.config import prepare_folder
from studies.engine.folder import check_folder, take_folder
from studies.options import BenchOptions

PARTS: Mapping[str, Callable[[Bench], list[Result]]] = {
    "static": bench_static,
    "space": bench_space,
    "latency": bench_latency,
    "training": bench_training,
    "overhead": bench_overhead,
    "kill": bench_kill,
    "chaos": bench_chaos,
    "proxy": bench_proxy,
    "coverage": bench_coverage,
    "search": bench_search,
    "runtimes": bench_runtimes,
    "precision": bench_precision,
}


def run_bench(options: BenchOptions) -> int:
    """Run the parts asked for; print and store each result. Exit code 1 when a full-size target was missed."""
    for part in options.parts:
        if part not in PARTS:
            raise must_be("PART", choices(PARTS), part)
    bench = Bench(pick_device(options.device), options.quick, Console(stderr=True), options.out, options.table)
    settings = {"device": bench.device, "quick": bench.quick}
    check_folder(options.out, "bench", **settings)
    take_folder(prepare_folder(options.out), "bench", **settings)
    results: list[dict[str, Any]] = []
    for part in options.parts or possible_parts(bench):
        for result in PARTS[part](bench):
            results.append(result.stored(part))
            print(line(results[-1]), flush=True)
    _write(results, bench, options.line)
    return 0 if all(result["met"] for result in results) or options.quick else 1


def possible_parts(bench: Bench) -> list[str]:
    """All parts but those that lack a table or a database, which is said, and on a GPU those that are about a CPU."""
    absent = set() if bench.device == "cpu" else {"runtimes", "precision"}
    if not bench.table.is_file():
        bench.say(f"search is left out: it replays {bench.table}, which is not there")
        absent.add("search")
    if reason := missing():
        bench.say(f"chaos and proxy are left out: {reason}")
        absent |= {"chaos", "proxy"}
    return [part for part in PARTS if part not in absent]


def _write(results: list[dict[str, Any]], bench: Bench, command: str) -> None:
    """Results, beside those of parts that were run before and not now, each with its own command and provenance."""
    facts = {"command": command, "quick": bench.quick, "provenance": provenance(bench.device, bench.begin)}
    path, mine = bench.out / "bench.json", {result["part"] for result in results}
    before = json.loads(path.read_text()) if path.is_file() else {"results": []}
    common = {name: before[name] for name in facts if name in before}
    kept = [{**common, **result} for result in before["results"] if result["part"] not in mine]
    every = sorted([*kept, *({**result, **facts} for result in results)], key=lambda result: list(PARTS).index(result["part"]))
    path.write_text(json.dumps({"results": every}, indent=2) + "\n")
    (bench.out / "bench.md").write_text("".join(f"- {line(result)}\n" for result in every))
    bench.say(f"Stored in {path}")
