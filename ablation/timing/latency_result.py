"""What a latency comparison found, and how it is stored. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ablation.timing.interleave import Run
from ablation.timing.timing_stats import Drift, Interval, Samples, Trend, find_drift, median_intervals, paired_ratios
from blocks.errors import InputError

AGAIN = " (again)"
# ends the name of the reference's second entry in the columns of the samples


@dataclass(frozen=True, kw_only=True)
class ModelLatency:
    """One model's latency of one kind. Numbers are None where it failed, ratios also where the reference failed."""

    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    ratio: float | None = None
    # to the reference, paired by round
    ratio_low: float | None = None
    ratio_high: float | None = None
    converged: bool = False
    # half-width of the ratio within the target
    rounds: int = 0
    reason: str = ""
    # why it failed or could not be measured; empty otherwise

    @property
    def failed(self) -> bool:
        """Whether there is no number."""
        return self.median_ms is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LatencyComparison:
    """Latencies of several models, measured together."""

    reference: str
    models: Mapping[str, ModelLatency]
    # synchronised calls, the primary kind
    by_kind: Mapping[str, Mapping[str, ModelLatency]]
    # "call"; on CUDA also "steady", "enqueue", "gpu": never mix them
    noise_floors: Mapping[str, Interval]
    # kind -> ratio of the reference to itself
    drift: Drift
    converged: bool
    rounds: int
    warmup_rounds: int
    settled: bool
    # whether warm-up ended with steady rounds
    seconds: float
    provenance: Mapping[str, Any]
    columns: tuple[str, ...] = ()
    # of the samples
    samples: Mapping[str, Samples] = field(default_factory=dict, repr=False)
    # kind -> rounds x columns, ms

    @property
    def noise_floor(self) -> Interval | None:
        """A/A ratio of the primary kind; None where the reference failed."""
        return self.noise_floors.get("call")

    def __getitem__(self, name: str) -> ModelLatency:
        return self.models[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the raw samples."""
        found = {k: v for k, v in vars(self).items() if k not in ("samples", "models", "by_kind", "noise_floors", "drift")}
        return {
            **found,
            "columns": list(self.columns),
            "provenance": dict(self.provenance),
            "models": {name: model.to_dict() for name, model in self.models.items()},
            "by_kind": {kind: {name: m.to_dict() for name, m in models.items()} for kind, models in self.by_kind.items()},
            "noise_floors": {kind: interval._asdict() for kind, interval in self.noise_floors.items()},
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
        said = [_line(name, model, self.reference) for name, model in self.models.items()]
        if self.noise_floor is not None:
            said.append("noise floor, reference against itself: {:.3f} ({:.3f} to {:.3f})".format(*self.noise_floor))
        if not self.converged:
            said.append(f"not converged after {self.rounds} rounds: at least one interval is wider than asked for")
        if self.drift.ratio.significant:
            change, name = self.drift.ratio.change, self.drift.ratio_name
            said.append(f"the ratio of {name} drifted by {change:+.1%} over the rounds: doubt its interval")
        return said


def _line(name: str, model: ModelLatency, reference: str) -> str:
    if model.failed:
        return f"{name}: failed: {model.reason}"
    said = f"{name}: {model.median_ms:.3g} ms"
    if model.ratio is None or name == reference:
        return said
    return f"{said}, {model.ratio:.3f} x {reference} ({model.ratio_low:.3f} to {model.ratio_high:.3f})"


def summarise(
    names: Sequence[str],
    reference: str,
    run: Run,
    *,
    target_half_width: float,
    seed: int,
    failures: Mapping[str, str],
    missing: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, Any],
    kinds: Sequence[str] = ("call",),
) -> LatencyComparison:
    """A comparison from raw samples. Columns: `names`, then the reference again. `missing`: name -> kind -> reason."""
    columns = [*names, reference + AGAIN]
    by_kind, floors = {}, {}
    for kind in dict.fromkeys((*kinds, *run.samples)):
        samples = run.samples.get(kind, np.full((0, len(columns)), np.nan))
        why = {name: failures.get(name) or missing.get(name, {}).get(kind, "not measured") for name in names}
        found = _latencies(columns, columns.index(reference), samples, why, target_half_width, seed)
        *measured, again = found
        by_kind[kind] = dict(zip(names, measured, strict=True))
        if again.ratio is not None and again.ratio_low is not None and again.ratio_high is not None:
            floors[kind] = Interval(again.ratio, again.ratio_low, again.ratio_high)
    return LatencyComparison(
        reference=reference,
        models=by_kind["call"],
        by_kind=by_kind,
        noise_floors=floors,
        drift=_drift(columns, reference, run.samples.get("call")),
        converged=run.converged,
        rounds=run.rounds,
        warmup_rounds=run.warmup_rounds,
        settled=run.settled,
        seconds=run.seconds,
        provenance=provenance,
        columns=tuple(columns),
        samples=run.samples,
    )


def _latencies(
    columns: list[str], reference: int, samples: Samples, why: Mapping[str, str], target: float, seed: int
) -> list[ModelLatency]:
    # one for each column; a column with a NaN has failed
    whole = [i for i in range(len(columns)) if len(samples) and not np.isnan(samples[:, i]).any()]
    times = dict(zip(whole, median_intervals(samples[:, whole], seed), strict=True)) if whole else {}
    ratios: dict[int, Interval] = {}
    if reference in whole:
        ratios = dict(zip(whole, median_intervals(paired_ratios(samples, reference)[:, whole], seed), strict=True))
    found = []
    for i, name in enumerate(columns):
        time, ratio = times.get(i), ratios.get(i)
        if time is None:
            found.append(ModelLatency(reason=why.get(name, "")))
            continue
        latency = ModelLatency(median_ms=time.value, low_ms=time.low, high_ms=time.high, rounds=len(samples))
        if ratio is not None:
            latency = replace(
                latency,
                ratio=ratio.value,
                ratio_low=ratio.low,
                ratio_high=ratio.high,
                converged=ratio.half_width <= target,
            )
        found.append(latency)
    return found


def _drift(columns: list[str], reference: str, samples: Samples | None) -> Drift:
    whole = [] if samples is None else [i for i in range(len(columns)) if not np.isnan(samples[:, i]).any()]
    if samples is None or not whole:
        return Drift(machine=Trend(0.0, False), ratio=Trend(0.0, False), ratio_name="")
    names = [columns[i] for i in whole]
    return find_drift(samples[:, whole], names, names.index(reference) if reference in names else None)


def _from_dict(values: Mapping[str, Any], samples: Mapping[str, Samples]) -> LatencyComparison:
    by_kind = {kind: {name: ModelLatency(**m) for name, m in models.items()} for kind, models in values["by_kind"].items()}
    drift = values["drift"]
    return LatencyComparison(
        **{
            **values,
            "models": by_kind["call"],
            "by_kind": by_kind,
            "noise_floors": {kind: Interval(**interval) for kind, interval in values["noise_floors"].items()},
            "drift": Drift(machine=Trend(**drift["machine"]), ratio=Trend(**drift["ratio"]), ratio_name=drift["ratio_name"]),
            "columns": tuple(values["columns"]),
            "samples": samples,
        }
    )
