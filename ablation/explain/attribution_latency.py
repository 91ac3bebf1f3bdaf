"""Latency given to the factors, in ms and as the logarithm of the ratio, from interleaved rounds.

Within a round every network is divided by the first network's time in that round, so whatever slows the machine for a while
cancels. Logarithms of ratios add up where ratios multiply: exp of the parts multiplies up to the ratio of the two networks.

Exact designs (`LatencyDesign.exact`): every network is timed; effects are contrasts of the networks' medians over rounds, and
their intervals come from resampling rounds. Sampled designs: each block is a comparison by itself, of the networks along one random
path and along its reverse (a second random path where some cell cannot exist). A block's mean over its two paths estimates every
Shapley value without bias, and without error where factors interact in pairs only (antithetic sampling, as in the R package
kernelshap). The mean over blocks has a Student's t interval, in which both the choice of paths and the noise of timing show. Main
effects are timed apart, in one comparison; pairwise interactions need the whole factorial and are left empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.explain.attribution_design import LatencyDesign
from ablation.explain.attribution_stats import CORRECTED, Estimate, from_replicates, from_rounds, judged
from ablation.explain.attribution_values import attribute
from ablation.explain.explanation import Attribution, Effect
from ablation.explain.factorial import Factorial
from ablation.explain.shapley import Cell, Contrast, Lattice, along, cells_of, matrix
from ablation.timing.latency_result import AGAIN, LatencyComparison
from ablation.timing.timing_stats import median_intervals
from blocks.errors import InputError, must_be

Array = NDArray[np.float64]
Table = dict[Cell, Array]
# cell -> rounds


def attribute_latency(
    design: LatencyDesign | Factorial,
    comparisons: LatencyComparison | Sequence[LatencyComparison],
    place: str,
    *,
    kind: str = "call",
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Attribution, Attribution]:
    """(latency_ms, log_latency). `comparisons`: columns by network key, the first network being the reference in each.

    `design`: what was timed; a `Factorial` stands for the exact design over it. Networks that failed are taken as impossible.
    """
    several = (comparisons,) if isinstance(comparisons, LatencyComparison) else tuple(comparisons)
    factorial = design if isinstance(design, Factorial) else design.factorial
    _check(factorial, several, kind)
    if isinstance(design, Factorial) or design.exact:
        return _exact(factorial, several, place, kind, confidence, seed)
    return _sampled(design, several, place, kind, confidence, seed)


def noise_floor(comparisons: Sequence[LatencyComparison], kind: str = "call") -> float:
    """Half-width, as a logarithm, of the first network's ratio to itself over all rounds of all comparisons."""
    ratios = []
    for comparison in comparisons:
        table, columns = comparison.samples[kind], list(comparison.columns)
        again = table[:, columns.index(comparison.reference + AGAIN)]
        ratios.append(again / table[:, columns.index(comparison.reference)])
    (interval,) = median_intervals(np.concatenate(ratios)[:, None])
    return max(abs(log(interval.low)), abs(log(interval.high)))


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


def _tables(factorial: Factorial, comparison: LatencyComparison, kind: str, reference_ms: float) -> tuple[Table, Table]:
    # (ms, log ratio) of every cell that this comparison timed; ms as they would be at the reference's pace over all comparisons
    table, columns = comparison.samples[kind], list(comparison.columns)
    paces = table[:, columns.index(comparison.reference)]
    timed = {name: table[:, i] for i, name in enumerate(columns) if not np.isnan(table[:, i]).any()}
    samples = factorial.values(timed)
    ms = {cell: times * (reference_ms / float(np.median(paces))) for cell, times in samples.items()}
    return ms, {cell: np.log(times / paces) for cell, times in samples.items()}


def _reference_ms(comparisons: Sequence[LatencyComparison], kind: str) -> float:
    paces = [c.samples[kind][:, list(c.columns).index(c.reference)] for c in comparisons]
    return float(np.median(np.concatenate(paces)))


def _ends(names: Sequence[str], table: Table) -> tuple[float, float]:
    return float(np.median(table[frozenset()])), float(np.median(table[frozenset(names)]))


def _both(floor: float, ms: tuple[float, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    # what the two attributions differ in. The floor is a ratio: in ms it is that share of the slower network
    slower = max(ms)
    return (
        {"metric": "latency_ms", "unit": "ms", "noise": (exp(floor) - 1) * slower},
        {"metric": "log_latency", "unit": "log ratio", "noise": floor},
    )


def _exact(
    factorial: Factorial, comparisons: Sequence[LatencyComparison], place: str, kind: str, confidence: float, seed: int
) -> tuple[Attribution, Attribution]:
    reference_ms, rounds = _reference_ms(comparisons, kind), min(len(c.samples[kind]) for c in comparisons)
    both: tuple[Table, Table] = ({}, {})
    for comparison in reversed(comparisons):  # a network in several comparisons counts as in the first of them
        for table, found in zip(both, _tables(factorial, comparison, kind, reference_ms), strict=True):
            table.update({cell: values[:rounds] for cell, values in found.items()})
    kinds = _both(noise_floor(comparisons, kind), _ends(factorial.names, both[0]))
    ms, logs = (
        attribute(factorial.names, table, place=place, confidence=confidence, seed=seed, **what)
        for table, what in zip(both, kinds, strict=True)
    )
    return ms, logs


def _sampled(
    design: LatencyDesign, comparisons: Sequence[LatencyComparison], place: str, kind: str, confidence: float, seed: int
) -> tuple[Attribution, Attribution]:
    reference_ms = _reference_ms(comparisons, kind)
    tables = [_tables(design.factorial, comparison, kind, reference_ms) for comparison in comparisons]
    mains, blocks = tables[0], tables[1:]
    kinds = _both(noise_floor(comparisons, kind), _ends(design.factorial.names, mains[0]))
    ms, logs = (
        _from_blocks(design, mains[i], [block[i] for block in blocks], place, confidence, seed, **what)
        for i, what in enumerate(kinds)
    )
    return ms, logs


def _from_blocks(
    design: LatencyDesign,
    mains: Table,
    blocks: Sequence[Table],
    place: str,
    confidence: float,
    seed: int,
    *,
    metric: str,
    unit: str,
    noise: float,
) -> Attribution:
    names = design.factorial.names
    medians = [{cell: float(np.median(times)) for cell, times in block.items()} for block in blocks]
    shares, ends = _block_shares(design, medians)
    if len(shares) < 2:
        raise must_be("A sampled design", "timed in at least 2 blocks whose networks all work", len(shares))
    start, end = (float(np.mean([pair[i] for pair in ends])) for i in (0, 1))
    rounds = int(sum(len(block[frozenset()]) for block in blocks))
    estimates = {name: from_replicates([share[name] for share in shares], confidence) for name in names}
    shapley = judged(estimates, end - start, noise, confidence, len(shares))
    lattice = Lattice(names, mains)
    measured: dict[Cell, float] = {cell: float(np.median(times)) for cell, times in mains.items()}
    for block in medians:
        measured |= {cell: value for cell, value in block.items() if cell not in measured}
    return Attribution(
        metric=metric, place=place, unit=unit, start=start, end=end,
        shapley={name: _in_rounds(effect, rounds, len(shares)) for name, effect in shapley.items()},
        from_start=_main(lattice.from_start(), mains, end - start, noise, confidence, seed),
        from_end=_main(lattice.from_end(), mains, end - start, noise, confidence, seed),
        interactions={}, path=Lattice(names, measured).greedy(measured),
        residual=end - start - fsum(effect.value for effect in shapley.values()),
        num_variants=len(measured), num_possible=design.factorial.num_possible, corrected=CORRECTED,
    )  # fmt: skip


def _block_shares(
    design: LatencyDesign, medians: Sequence[dict[Cell, float]]
) -> tuple[list[dict[str, float]], list[tuple[float, float]]]:
    # a path through a network that failed is no path; the uniform draw over the others stays uniform
    shares, ends = [], []
    for orderings, block in zip(design.orderings, medians, strict=False):  # blocks beyond the budget were not timed
        whole = [along(order, block) for order in orderings if all(cell in block for cell in cells_of(order))]
        if whole:
            shares.append({name: fsum(steps[name] for steps in whole) / len(whole) for name in design.factorial.names})
            ends.append((block[frozenset()], block[frozenset(design.factorial.names)]))
    return shares, ends


def _main(
    contrasts: dict[str, Contrast], table: Table, whole: float, noise: float, confidence: float, seed: int
) -> dict[str, Effect]:
    cells = list(table)
    values = np.array([table[cell] for cell in cells])
    found: list[Estimate] = from_rounds(matrix(list(contrasts.values()), cells), values, confidence, seed)
    return judged(dict(zip(contrasts, found, strict=True)), whole, noise, confidence, values.shape[1])


def _in_rounds(effect: Effect, rounds: int, num_blocks: int) -> Effect:
    # what would settle it is more blocks; told as rounds of all of them together
    needed = None if effect.needed is None else -(-effect.needed * rounds // num_blocks)
    return Effect(**{**vars(effect), "needed": needed})
