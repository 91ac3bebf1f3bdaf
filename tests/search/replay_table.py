"""Tables of networks with losses that were made up, for the replay: main effects, interactions, costs that help, noise of seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.search.replay import Table

SIZES = (3, 3, 2, 3, 2)


def made_up(seed: int = 0, sizes: tuple[int, ...] = SIZES, noise: float = 0.15, num_seeds: int = 2) -> Table:
    """A full factorial; two epochs, the second of which is the better one; `noise` in standard deviations of the true loss."""
    rng = np.random.default_rng(seed)
    codes = np.array(list(itertools.product(*map(range, sizes))))
    logs = [_effects(codes, sizes, rng) for _ in range(2)]
    pairs = itertools.combinations(range(len(sizes)), 2)
    mixed = sum(rng.normal(0, 1, (sizes[f], sizes[g]))[codes[:, f], codes[:, g]] for f, g in pairs)
    true = 0.7 + 0.03 * _scaled(_scaled(_effects(codes, sizes, rng)) + 0.4 * _scaled(mixed) - 0.7 * _scaled(logs[0] + logs[1]))
    columns: dict[str, object] = {f"f{f}": [f"level {code}" for code in codes[:, f]] for f in range(len(sizes))}
    columns |= {"network_key": [f"n{row}" for row in range(len(codes))], "params": np.round(1e6 * np.exp(logs[0]))}
    columns |= {"macs": 1e8 * np.exp(logs[0] + logs[1]), "latency_ms": 5 * np.exp(logs[1])}
    for number in range(num_seeds):
        loss = true + rng.normal(0, 0.03 * noise, len(codes))
        columns |= {f"loss_{number}_1": loss + 0.1, f"loss_{number}_2": loss}
    return Table(frame=pd.DataFrame(columns))


def _effects(codes: NDArray[np.int64], sizes: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.sum([rng.uniform(-0.6, 0.6, size)[codes[:, f]] for f, size in enumerate(sizes)], axis=0)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / values.std()
