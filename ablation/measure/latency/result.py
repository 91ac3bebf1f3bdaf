"""What a latency comparison found, and how it is stored. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.measure.latency.interleave import Run
from ablation.measure.latency.statistics import (
    Drift,
    Samples,
    Trend,
    by_sitting,
    find_drift,
    num_whole,
    over_sittings,
    paired_ratios,
)
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS, Estimate
from blocks.errors import InputError

# ends the name of the reference's second entry, loaded apart from the first, in the columns of the samples
AGAIN = " (again)"
# half-width of a ratio's interval, relative
TARGET = 0.01


@dataclass(frozen=True, kw_only=True)
class ModelLatency:
    """One model's latency of one kind. Numbers are None where it failed, ratios also where the reference failed.

    Intervals rest on sittings (`statistics`); they are None where there were too few sittings or rounds.
    """

    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    # to the reference, paired by round
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    # half-width of the ratio within the target
    converged: bool = False
    # of all sittings together
    rounds: int = 0
    # that had enough rounds
    sittings: int = 0
    # medians of each sitting, the same sittings for all models
    ms_by_sitting: tuple[float, ...] = ()
    ratio_by_sitting: tuple[float, ...] = ()
    # why it failed or could not be measured; empty otherwise
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no number."""
        return self.median_ms is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class LatencyComparison:
    """Latencies of several models, measured together."""

    reference: str
    # synchronised calls, the primary kind
    models: Mapping[str, ModelLatency]
    # "call"; on CUDA also "steady", "enqueue", "gpu": never mix them
    by_kind: Mapping[str, Mapping[str, ModelLatency]]
    # kind -> ratio of the reference's second copy to its first
    noise_floors: Mapping[str, Estimate]
    drift: Drift
    converged: bool
    rounds: int
    warmup_rounds: int
    # whether every warm-up ended with steady rounds
    settled: bool
    seconds: float
    provenance: Mapping[str, Any]
    # of the samples
    columns: tuple[str, ...] = ()
    # kind -> rounds x columns, ms
    samples: Mapping[str, Samples] = field(default_factory=dict, repr=False)
    # of each round, the number of its sitting
    sittings: tuple[int, ...] = ()

    @property
    def noise_floor(self) -> Estimate | None:
        """A/A ratio of the primary kind; None where the reference failed."""
        return self.noise_floors.get("call")

    def __getitem__(self, name: str) -> ModelLatency:
        return self.models[name]

    def paired(self, over: str, under: str, kind: str = "call") -> Estimate | None:
        """Ratio of two columns within rounds, with its interval over sittings; None where one of them failed.

        `num` is the number of sittings. The reference's second copy is the column of its name + AGAIN.
        """
        table = self.samples.get(kind)
        if table is None or not len(table):
            return None
        pair = table[:, [self.columns.index(over), self.columns.index(under)]]
        if np.isnan(pair).any():
            return None
        return over_sittings(paired_ratios(pair, 1)[:, [0]], np.array(self.sittings))[0]

    def sitting_medians(self, kind: str = "call", *, ratios: bool = False) -> Samples:
        """Medians of each sitting, sittings x columns: ms, or ratios to the reference within rounds."""
        table = self.samples[kind]
        table = paired_ratios(table, self.columns.index(self.reference)) if ratios else table
        return by_sitting(table, np.array(self.sittings))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the raw samples."""
        values = {k: v for k, v in vars(self).items() if k not in ("samples", "models", "by_kind", "noise_floors", "drift")}
        return {
            **values,
            "columns": list(self.columns),
            "sittings": list(self.sittings),
            "provenance": dict(self.provenance),
            "models": {name: model.to_dict() for name, model in self.models.items()},
            "by_kind": {kind: {name: m.to_dict() for name, m in models.items()} for kind, models in self.by_kind.items()},
            "noise_floors": {kind: asdict(floor) for kind, floor in self.noise_floors.items()},
            "drift": self.drift.to_dict(),
        }

    def save(self, path: str | Path) -> None:
        """Raw samples and all of `to_dict`, in one .npz file without pickles."""
        # a file object: numpy would add an ending of its own to a path
        with Path(path).open("wb") as file:
            np.savez_compressed(file, summary=np.array(json.dumps(self.to_dict())), **self.samples)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> LatencyComparison:
        """The inverse of `save`; InputError where the file is not one of `save`."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                stored = {name: arrays[name] for name in arrays.files}
            values = json.loads(str(stored.pop("summary")))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"The latency file must be one that `save` wrote. {Path(path).name}: {error}.") from error
        return _from_dict(values, stored)

    def lines(self) -> list[str]:
        """One sentence a model, then the noise floor and what to doubt."""
        texts = [_line(name, model, self.reference) for name, model in self.models.items()]
        if self.noise_floor is not None:
            floor = self.noise_floor
            texts.append(f"noise floor, reference against a second copy of itself: {spanned(floor.value, floor.low, floor.high)}")
        whole = num_whole(np.array(self.sittings))
        if whole < LEAST_SITTINGS:
            texts.append(
                f"no intervals: {self.rounds} rounds in {whole} sittings of at least {LEAST_ROUNDS} rounds, "
                f"and an interval takes {LEAST_SITTINGS}"
            )
        elif not self.converged:
            texts.append(f"not converged after {self.rounds} rounds: at least one interval is wider than asked for")
        if self.drift.ratio.significant:
            change, name = self.drift.ratio.change, self.drift.ratio_name
            texts.append(f"the ratio of {name} drifted by {change:+.1%} over the rounds: doubt its interval")
        return texts


def spanned(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """'2.940 (2.910 to 2.950)', '2.940 (no interval)', or 'not measured'."""
    if value is None:
        return "not measured"
    ends = "no interval" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{value:.{digits}f} ({ends})"


def _line(name: str, model: ModelLatency, reference: str) -> str:
    if model.failed:
        return f"{name}: failed: {model.reason}"
    text = f"{name}: {model.median_ms:.3g} ms"
    if model.ratio is None or name == reference:
        return text
    return f"{text}, ratio to {reference} {spanned(model.ratio, model.ratio_low, model.ratio_high)}"


def summarise(
    names: Sequence[str],
    reference: str,
    run: Run,
    *,
    target_half_width: float,
    missing: Mapping[str, Mapping[str, str]] | None = None,
    provenance: Mapping[str, Any],
    kinds: Sequence[str] = ("call",),
) -> LatencyComparison:
    """A comparison from raw samples. Columns: `names`, then the reference again. `missing`: name -> kind -> reason."""
    columns, sittings = (*names, reference + AGAIN), np.array(run.sittings, dtype=int)
    by_kind: dict[str, dict[str, ModelLatency]] = {}
    floors: dict[str, Estimate] = {}
    for kind in dict.fromkeys((*kinds, *run.samples)):
        samples = run.samples.get(kind, np.full((0, len(columns)), np.nan))
        reasons = [run.failures.get(i) or (missing or {}).get(name, {}).get(kind, "not measured") for i, name in enumerate(names)]
        by_kind[kind], floor = _latencies(columns, columns.index(reference), samples, sittings, reasons, target_half_width)
        if floor is not None:
            floors[kind] = floor
    calls = by_kind["call"]
    return LatencyComparison(
        reference=reference,
        models=calls,
        by_kind=by_kind,
        noise_floors=floors,
        drift=_drift(columns, reference, run.samples.get("call")),
        converged=calls[reference].converged and all(model.converged or model.failed for model in calls.values()),
        rounds=run.rounds,
        warmup_rounds=run.warmup_rounds,
        settled=run.settled,
        seconds=run.seconds,
        provenance=provenance,
        columns=columns,
        samples=run.samples,
        sittings=tuple(run.sittings),
    )


def _latencies(
    columns: Sequence[str], reference: int, samples: Samples, sittings: NDArray[np.int_], reasons: Sequence[str], target: float
) -> tuple[dict[str, ModelLatency], Estimate | None]:
    """Latency of each model, and the ratio of the reference's second copy to its first; a column with a NaN has failed."""
    failed = [not len(samples) or bool(np.isnan(column).any()) for column in samples.T]
    ratios = None if failed[reference] else paired_ratios(samples, reference)
    models = {
        name: ModelLatency(reason=reason) if failed[i] else _latency(samples[:, [i]], ratios, i, sittings, target)
        for i, (name, reason) in enumerate(zip(columns, reasons, strict=False))  # the last column is the second copy
    }
    return models, None if ratios is None or failed[-1] else over_sittings(ratios[:, [-1]], sittings)[0]


def _latency(ms: Samples, ratios: Samples | None, column: int, sittings: NDArray[np.int_], target: float) -> ModelLatency:
    time = over_sittings(ms, sittings)[0]
    latency = ModelLatency(
        median_ms=time.value, low_ms=time.low, high_ms=time.high, rounds=len(ms), sittings=num_whole(sittings),
        ms_by_sitting=tuple(by_sitting(ms, sittings)[:, 0].tolist()),
    )  # fmt: skip
    if ratios is None:
        return latency
    ratio = over_sittings(ratios[:, [column]], sittings)[0]
    narrow = ratio.low is not None and ratio.high is not None and (ratio.high - ratio.low) / 2 <= target * ratio.value
    return replace(
        latency, ratio=ratio.value, ratio_low=ratio.low, ratio_high=ratio.high, converged=narrow,
        ratio_by_sitting=tuple(by_sitting(ratios[:, [column]], sittings)[:, 0].tolist()),
    )  # fmt: skip


def _drift(columns: Sequence[str], reference: str, samples: Samples | None) -> Drift:
    whole = [] if samples is None else np.flatnonzero(~np.isnan(samples).any(axis=0)).tolist()
    if samples is None or not whole:
        return Drift(machine=Trend(0.0, False), ratio=Trend(0.0, False), ratio_name="")
    names = [columns[i] for i in whole]
    return find_drift(samples[:, whole], names, names.index(reference) if reference in names else None)


def _from_dict(values: Mapping[str, Any], samples: Mapping[str, Samples]) -> LatencyComparison:
    """From what `save` stored: numbers from the samples anew, so that one of an earlier version has the intervals of this one."""
    columns, drift, by_kind = tuple(values["columns"]), values["drift"], values["by_kind"]
    run = Run(
        samples=dict(samples),
        sittings=list(values.get("sittings") or [0] * values["rounds"]),
        warmup_rounds=values["warmup_rounds"],
        settled=values["settled"],
        seconds=values["seconds"],
    )
    again = summarise(
        columns[:-1] if columns else list(values["models"]),
        values["reference"],
        run,
        target_half_width=values["provenance"].get("target_half_width", TARGET),
        missing={name: {kind: models[name]["reason"] for kind, models in by_kind.items()} for name in values["models"]},
        provenance=values["provenance"],
        kinds=tuple(by_kind),
    )
    machine, ratio = (Trend(**drift[name]) for name in ("machine", "ratio"))
    return replace(again, drift=Drift(machine=machine, ratio=ratio, ratio_name=drift["ratio_name"]))
