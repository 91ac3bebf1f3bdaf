"""Latency given to the factors, in ms and as the logarithm of the ratio, from interleaved rounds in sittings.

Within a round every network is divided by the first network's time in that round, so whatever slows the machine for a while
cancels; the median over the rounds of a sitting is one value of each network. Logarithms of ratios add up where ratios multiply:
exp of the parts multiplies up to the ratio of the two networks. Networks are loaded anew for every sitting, so what loading changes
(a percent or so) is in the spread over sittings, and every interval is Student's t over repetitions that were loaded apart.

Exact designs (`LatencyDesign.exact`): every network is timed in each of several sittings, and each sitting gives every effect, as a
contrast of its networks' values. At least LEAST_SITTINGS of LEAST_ROUNDS rounds give an interval.

Sampled designs: each block is a comparison by itself, one sitting of the networks along one random path and along its reverse (a
second random path where some cell cannot exist). A block's mean over its two paths estimates every Shapley value without bias, and
without error where factors interact in pairs only (antithetic sampling, as in the R package kernelshap). The interval is over the
blocks, at least MIN_BLOCKS, so that the choice of paths shows in it beside the noise of timing. Effects alone and undone are timed
apart, in sittings like an exact design's; interactions and the greedy path need the whole factorial and are left empty.

`bench coverage` simulates both (`studies.bench.simulate.designs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.attribute.factorial import Factorial
from ablation.attribute.lattice import Cell, Lattice, along, cells_of
from ablation.attribute.timed_design import MIN_BLOCKS, LatencyDesign
from ablation.attribute.values import attribute, estimated
from ablation.attribute.verdicts import CORRECTED, judged, without_interval
from ablation.measure.latency.result import AGAIN, LatencyComparison
from ablation.measure.latency.statistics import num_whole
from ablation.record.attribution import Attribution
from ablation.stats import LEAST_SITTINGS, Estimate, mean_estimate
from blocks.errors import InputError, must_be

Array = NDArray[np.float64]
# cell -> a value for each sitting
Table = dict[Cell, Array]
SITTINGS, BLOCKS = "sittings", "blocks"


def attribute_latency(
    design: LatencyDesign | Factorial,
    comparisons: LatencyComparison | Sequence[LatencyComparison],
    place: str,
    *,
    kind: str = "call",
) -> tuple[Attribution, Attribution]:
    """(latency_ms, log_latency). `comparisons`: columns by network key, the first network being the reference in each.

    `design`: what was timed; a `Factorial` stands for the exact design over it. Networks that failed are taken as impossible.
    """
    several = (comparisons,) if isinstance(comparisons, LatencyComparison) else tuple(comparisons)
    factorial = design if isinstance(design, Factorial) else design.factorial
    _check(factorial, several, kind)
    if isinstance(design, Factorial) or design.exact:
        return _exact(factorial, several, place, kind)
    return _sampled(design, several, place, kind)


def noise_floor(comparisons: Sequence[LatencyComparison], kind: str = "call") -> float | None:
    """Largest end, as a logarithm, of the interval of the first network's ratio to its second copy, over all sittings.

    None where there were too few sittings for an interval.
    """
    logs: list[float] = []
    for comparison in comparisons:
        medians = comparison.sitting_medians(kind, ratios=True)[:, comparison.columns.index(comparison.reference + AGAIN)]
        logs += [] if np.isnan(medians).any() else np.log(medians).tolist()
    if len(logs) < LEAST_SITTINGS:
        return None
    floor = mean_estimate(logs)
    assert floor.low is not None
    assert floor.high is not None
    return max(abs(floor.low), abs(floor.high))


def _check(factorial: Factorial, comparisons: Sequence[LatencyComparison], kind: str) -> None:
    first = factorial.first.network_key
    for comparison in comparisons:
        if comparison.reference != first:
            raise must_be("The reference of each comparison", f"the first network, {first}", comparison.reference)
        table = comparison.samples.get(kind)
        if table is None or not len(table):
            raise must_be("kind", "one that was measured: " + (", ".join(comparison.samples) or "none"), kind)
        failed = {name: comparison.models[name].reason for name in (first, factorial.second.network_key)
                  if name in comparison.columns and np.isnan(table[:, comparison.columns.index(name)]).any()}  # fmt: skip
        if failed:
            raise InputError(f"Both networks must have a latency. Failed: {'; '.join(failed.values())}.")
    if not comparisons:
        raise must_be("comparisons", "at least one", 0)


def _logs(factorial: Factorial, comparison: LatencyComparison, kind: str) -> tuple[Table, Array]:
    """Of every cell that this comparison timed, the logarithm of its ratio in each sitting; and the first network's ms in each."""
    ratios = np.log(comparison.sitting_medians(kind, ratios=True))
    timed = {name: ratios[:, i] for i, name in enumerate(comparison.columns) if not np.isnan(ratios[:, i]).any()}
    return factorial.values(timed), comparison.sitting_medians(kind)[:, comparison.columns.index(comparison.reference)]


def _both(logs: Table, pace: Array) -> tuple[Table, Table]:
    """(ms at the first network's pace in each sitting, logarithms of ratios)."""
    return {cell: np.exp(values) * pace for cell, values in logs.items()}, logs


def _kinds(floor: float | None, ms: Table, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    # what the two attributions differ in. The floor is a ratio: in ms it is that share of the slower network
    slower = max(float(ms[cell].mean()) for cell in (frozenset[str](), frozenset(names)))
    return (
        {"metric": "latency_ms", "unit": "ms", "noise": (exp(floor or 0.0) - 1) * slower},
        {"metric": "log_latency", "unit": "log ratio", "noise": floor or 0.0},
    )


def _exact(
    factorial: Factorial, comparisons: Sequence[LatencyComparison], place: str, kind: str
) -> tuple[Attribution, Attribution]:
    timed = [_logs(factorial, comparison, kind) for comparison in comparisons]
    num = min(len(pace) for _, pace in timed)
    logs: Table = {}
    for table, _ in reversed(timed):  # a network in several comparisons counts as in the first of them
        logs |= {cell: values[:num] for cell, values in table.items()}
    tables = _both(logs, np.mean([pace[:num] for _, pace in timed], axis=0))
    if min(num_whole(np.array(c.sittings)) for c in comparisons) < LEAST_SITTINGS:
        tables = tuple({cell: values.mean(keepdims=True) for cell, values in t.items()} for t in tables)  # type: ignore[assignment]
    kinds = _kinds(noise_floor(comparisons, kind), tables[0], factorial.names)
    ms, logs_ = (
        attribute(factorial.names, table, place=place, of=SITTINGS, **labels) for table, labels in zip(tables, kinds, strict=True)
    )
    return ms, logs_


def _sampled(
    design: LatencyDesign, comparisons: Sequence[LatencyComparison], place: str, kind: str
) -> tuple[Attribution, Attribution]:
    timed = [_both(*_logs(design.factorial, comparison, kind)) for comparison in comparisons]
    enough = num_whole(np.array(comparisons[0].sittings)) >= LEAST_SITTINGS
    kinds = _kinds(noise_floor(comparisons, kind), timed[0][0], design.factorial.names)
    ms, logs = (
        _from_blocks(design, timed[0][i], [block[i] for block in timed[1:]], place, enough, **labels)
        for i, labels in enumerate(kinds)
    )
    return ms, logs


def _from_blocks(
    design: LatencyDesign,
    alone: Table,
    blocks: Sequence[Table],
    place: str,
    enough: bool,
    *,
    metric: str,
    unit: str,
    noise: float,
) -> Attribution:
    names = design.factorial.names
    shares, ends = _block_shares(design, [{cell: float(values.mean()) for cell, values in block.items()} for block in blocks])
    if len(shares) < 2:
        raise must_be("A sampled design", "timed in at least 2 blocks whose networks all work", len(shares))
    start, end = (float(np.mean([pair[i] for pair in ends])) for i in (0, 1))
    shapley = {name: mean_estimate([share[name] for share in shares]) for name in names}
    groups: dict[str, Any] = judged(
        {
            "shapley": _known(shapley, len(shares) >= MIN_BLOCKS),
            **{group: _known(effects, enough) for group, effects in _alone(names, alone).items()},
        },
        end - start,
        noise,
        {"shapley": BLOCKS, "from_start": SITTINGS, "from_end": SITTINGS},
    )
    return Attribution(
        metric=metric, place=place, unit=unit, start=start, end=end, **groups, interactions={}, path=(),
        residual=end - start - fsum(effect.value for effect in groups["shapley"].values()),
        num_variants=len({cell for table in (alone, *blocks) for cell in table}), num_possible=design.factorial.num_possible,
        corrected=CORRECTED,
    )  # fmt: skip


def _alone(names: Sequence[str], table: Table) -> dict[str, dict[str, Estimate]]:
    lattice, cells = Lattice(names, table), list(table)
    values = np.array([table[cell] for cell in cells])
    groups = {"from_start": lattice.from_start(), "from_end": lattice.from_end()}
    return {group: estimated(contrasts, cells, values) for group, contrasts in groups.items()}


def _known(estimates: dict[str, Estimate], enough: bool) -> dict[str, Estimate]:
    return estimates if enough else {name: without_interval(estimate) for name, estimate in estimates.items()}


def _block_shares(
    design: LatencyDesign, blocks: Sequence[dict[Cell, float]]
) -> tuple[list[dict[str, float]], list[tuple[float, float]]]:
    # a path through a network that failed is no path; the uniform draw over the others stays uniform
    shares, ends = [], []
    for orderings, block in zip(design.orderings, blocks, strict=False):  # blocks beyond the budget were not timed
        whole = [along(order, block) for order in orderings if all(cell in block for cell in cells_of(order))]
        if whole:
            shares.append({name: fsum(steps[name] for steps in whole) / len(whole) for name in design.factorial.names})
            ends.append((block[frozenset()], block[frozenset(design.factorial.names)]))
    return shares, ends
