"""The replay benchmark: samplers drive a study on a table of networks that were trained once, so that nothing is trained.

A proposal of a network in the table gets the loss of one of its seeds; one of a network that the study holds already costs no
training and is counted, and so is a combination of levels that the table does not have. What a sampler reached is the
hypervolume of the mean losses over all seeds, which no lucky seed can raise, of the logarithms of latency and parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from ablation.record.trial import COMPLETE, Record
from ablation.search.hypervolume import Values, hypervolume
from ablation.search.pool import Assignment, Described, Pool
from ablation.search.samplers import REPEATED
from blocks.errors import must_be

KEY, PARAMS, MACS, LATENCY = "network_key", "params", "macs", "latency_ms"
KNOWN = (KEY, PARAMS, MACS, LATENCY)  # columns that are neither a factor nor a loss
LOSS = re.compile(r"loss_(\d+)_(\d+)")  # seed, epoch
LATENCY_ERROR = 0.05  # standard deviation of the logarithm of predicted over measured latency
PROPOSALS_PER_TRAINING = 20  # at most, on average, as in a search


@dataclass(frozen=True, kw_only=True)
class Table:
    """Assignments of factors, one a row, with what their network costs and its losses; several rows may make one network."""

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in KNOWN if name not in self.frame]
        if missing or not self.loss_columns or not self.factors or not len(self.frame):
            rule = f"rows with columns for factors, {', '.join(KNOWN)}, and loss_SEED_EPOCH"
            raise must_be("A replay table", rule, list(self.frame.columns))
        numbers = self.frame[[*KNOWN[1:], *self.loss_columns]]
        if not np.isfinite(numbers.to_numpy(np.float64)).all() or not (numbers[list(KNOWN[1:])] > 0).all(axis=None):
            raise must_be("A replay table", "complete, with finite losses and positive costs", "missing or wrong values")
        if self.frame.duplicated(list(self.factors)).any():
            raise must_be("The rows of a replay table", "different in their levels", "repeated rows")

    @property
    def loss_columns(self) -> list[str]:
        """Names of the columns with losses."""
        return [name for name in self.frame if LOSS.fullmatch(name)]

    @cached_property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Factor -> its levels, in order of first appearance."""
        names = [name for name in self.frame if name not in KNOWN and not LOSS.fullmatch(name)]
        return {name: tuple(dict.fromkeys(self.frame[name])) for name in names}

    @cached_property
    def losses(self) -> Values:
        """Loss of the best epoch: networks x seeds. A search trains to the end and keeps the best weights."""
        seeds = dict.fromkeys(LOSS.fullmatch(name)[1] for name in self.loss_columns)  # type: ignore[index]
        columns = [[name for name in self.loss_columns if name.startswith(f"loss_{seed}_")] for seed in seeds]
        return np.column_stack([self.frame[names].to_numpy(np.float64).min(axis=1) for names in columns])

    @cached_property
    def points(self) -> Values:
        """(mean loss over seeds, log latency, log parameters) of each row."""
        return np.column_stack([self.losses.mean(axis=1), np.log(self.frame[[LATENCY, PARAMS]].to_numpy(np.float64))])

    @cached_property
    def reference(self) -> Values:
        """The corner of the volumes: the worst of the table on each axis."""
        return self.points.max(axis=0)

    @cached_property
    def rows(self) -> dict[tuple[str, ...], int]:
        """Levels, in the order of the factors -> row."""
        return {tuple(levels): row for row, levels in enumerate(self.frame[list(self.factors)].to_numpy().tolist())}

    def row(self, assignment: Assignment) -> int | None:
        """The row of an assignment; None where the table doesn't have it."""
        return self.rows.get(tuple(str(assignment[factor]) for factor in self.factors))

    def share(self, rows: Iterable[int]) -> float:
        """Hypervolume of some rows as a share of that of all."""
        return hypervolume(self.points[list(rows)], self.reference) / self._whole

    @cached_property
    def _whole(self) -> float:
        return hypervolume(self.points, self.reference)

    def described(self, latency: Values) -> Callable[[Sequence[Assignment]], Described]:
        """What a sampler may know of assignments beforehand; `latency`: predicted, in ms, of each row."""
        keys, params, macs = self.frame[KEY].to_numpy(), self.frame[PARAMS].to_numpy(), self.frame[MACS].to_numpy()

        def describe(assignments: Sequence[Assignment]) -> Described:
            rows = np.array([-1 if (row := self.row(a)) is None else row for a in assignments])
            costs = [np.where(rows >= 0, values[rows], np.nan) for values in (params, macs, latency)]
            names = [f"none {n}" if row < 0 else str(keys[row]) for n, row in enumerate(rows)]
            return Described(keys=names, allowed=rows >= 0, params=costs[0], macs=costs[1], latency_ms=costs[2])

        return describe


def read_table(path: Path) -> Table:
    """A table from its CSV; InputError where it is none."""
    try:
        header = pd.read_csv(path, nrows=0).columns
        texts = {name: str for name in header if name == KEY or not (name in KNOWN or LOSS.fullmatch(name))}
        return Table(
            frame=pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={n: [""] for n in header if n not in texts})
        )
    except (OSError, ValueError) as error:
        raise must_be("A replay table", "a readable CSV file", str(path), str(error).splitlines()[0]) from None


def table_from_records(records: Iterable[Record], device_batch: str = "cpu/1") -> pd.DataFrame:
    """A table's rows from the records of a finished study: one for each assignment of a network that all seeds completed.

    `device_batch`: whose latency, as records name it. InputError where no network has a full row.
    """
    by_network: dict[str, dict[int, Record]] = {}
    for record in records:
        if record.state == COMPLETE and record.training.get("epochs"):
            by_network.setdefault(record.network_key, {})[record.seed] = record
    seeds = sorted({seed for trained in by_network.values() for seed in trained})
    rows: list[dict[str, Any]] = []
    for key, trained in by_network.items():
        latency = next((r.latency[device_batch]["median_ms"] for r in trained.values() if device_batch in r.latency), None)
        if latency is None or set(trained) != set(seeds):
            continue
        first = trained[seeds[0]]
        known = {KEY: key, PARAMS: first.costs["params"], MACS: first.costs["macs"], LATENCY: float(latency)}
        losses = {f"loss_{s}_{e['epoch']}": e["val_loss"] for s in seeds for e in trained[s].training["epochs"]}
        rows += [{**intent, **known, **losses} for intent in first.intents or (first.factors,)]
    if not rows:
        raise must_be(
            "The records of a replay table", "complete with all seeds, with epochs and latency", f"{len(by_network)} networks"
        )
    return Table(frame=pd.DataFrame(rows)).frame


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One run of one sampler."""

    shares: tuple[float, ...]  # share of the table's hypervolume after each training
    repeated: int  # proposals of networks that the study held already
    absent: int  # proposals of combinations that the table does not have


def replay(table: Table, sampler: Callable[[int, Pool], BaseSampler], num_trainings: int, seed: int) -> Replayed:
    """A search of so many trainings, fewer where the proposals run out. `sampler` gets the number of trials and the allowed networks.

    By `seed`: which seed's loss each network has, and the errors of predicted latency; the same for every sampler.
    """
    rng = np.random.default_rng(seed)
    losses = table.losses[np.arange(len(table.losses)), rng.integers(0, table.losses.shape[1], len(table.losses))]
    measured = table.frame[LATENCY].to_numpy(np.float64)
    pool = Pool(table.factors, table.described(measured * np.exp(rng.normal(0, LATENCY_ERROR, len(measured)))), seed=seed)
    study = optuna.create_study(directions=["minimize"] * 3)
    distributions = {factor: CategoricalDistribution(levels) for factor, levels in table.factors.items()}
    trained: dict[str, int] = {}
    shares: list[float] = []
    absent = repeated = 0
    for number in range(num_trainings * PROPOSALS_PER_TRAINING):
        study.sampler = sampler(number, pool)
        trial = study.ask(dict(distributions))
        row = table.row(trial.params)
        if row is None:
            absent += 1
            trial.set_constraint("exists", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
            continue
        key = str(table.frame[KEY].iat[row])
        if key in trained:
            repeated += 1
            trial.set_constraint(REPEATED, 1.0)
            study.tell(trial, state=TrialState.PRUNED)
            continue
        trained[key] = row
        study.tell(trial, [float(losses[row]), float(measured[row]), float(table.frame[PARAMS].iat[row])])
        shares.append(table.share(trained.values()))
        if len(shares) == num_trainings:
            break
    return Replayed(shares=tuple(shares), repeated=repeated, absent=absent)
