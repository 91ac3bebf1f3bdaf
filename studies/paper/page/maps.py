"""Figure 3 of the paper again: t-SNE maps of the posterior means, coloured by attribute, at several perplexities. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ablation.report.explain.plots import SIDE_BY_SIDE, Plot, below, heading
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import look
from studies.paper.page.latent import probe_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERPLEXITY = "30"
NUM_ATTRIBUTES = 4
RASTER_DPI = 115  # of the points, which are put into the SVG as a picture: thousands of them would make it slow
RARE = 0.05  # an attribute that fewer images have, or lack, colours nothing that could be seen
HAS, LACKS = "#D55E00", "#B9C6D3"
EXTENT = "The extent of a t-SNE axis is no evidence, nor are distances between groups."


@dataclass(frozen=True, kw_only=True)
class Map:
    """The maps of one arm's first seed that has any."""

    arm: str
    seed: int
    points: dict[str, NDArray[Any]]  # perplexity -> N x 2
    attributes: dict[str, NDArray[Any]]  # name -> N of 0 or 1; empty where there are none, or no names


def maps_of(evidence: Evidence, arrays: look.Arrays) -> list[Map]:
    """Maps of original and modified, where their arrays hold any."""
    found = []
    for arm in look.PAIR:
        held = look.first_arrays(evidence, arrays, arm, f"tsne_{PERPLEXITY}") or _any_map(evidence, arrays, arm)
        if held is not None:
            seed, values = held
            names = [n for n in values if n.startswith("tsne_") and n[5:].isdecimal()]
            points = {n[5:]: values[n] for n in sorted(names, key=lambda n: int(n[5:]))}
            found.append(Map(arm=arm, seed=seed, points=points, attributes=_attributes(values, len(next(iter(points.values()))))))
    return found


def _any_map(evidence: Evidence, arrays: look.Arrays, arm: str) -> Any:
    names = {n for held in arrays.get(arm, {}).values() for n in held if n.startswith("tsne_") and n[5:].isdecimal()}
    return next((got for n in sorted(names) if (got := look.first_arrays(evidence, arrays, arm, n)) is not None), None)


def _attributes(values: Any, num_points: int) -> dict[str, NDArray[Any]]:
    table, names = values.get("attributes"), values.get("attribute_names")
    if table is None or names is None or table.ndim != 2 or len(table) < num_points or table.shape[1] != len(names):
        return {}
    return {str(name): table[:num_points, n] for n, name in enumerate(names)}  # a map is of the first images


def colouring(evidence: Evidence, maps: Sequence[Map]) -> list[str]:
    """The attributes to colour by: those that probes read best, neither rare nor nearly always there."""
    ranked = probe_names(evidence) or (list(maps[0].attributes) if maps else [])
    usable = [n for n in ranked if all(n in m.attributes and RARE <= float(m.attributes[n].mean()) <= 1 - RARE for m in maps)]
    return usable[:NUM_ATTRIBUTES]


def tsne_attributes(evidence: Evidence, arrays: look.Arrays) -> Plot | None:
    """Both models at one perplexity, a map for each attribute; None where no trial has maps."""
    maps = maps_of(evidence, arrays)
    if not maps:
        return None
    perplexity = PERPLEXITY if all(PERPLEXITY in m.points for m in maps) else next(iter(maps[0].points))
    maps = [m for m in maps if perplexity in m.points]
    names = colouring(evidence, maps)
    lines = [
        [m.arm, m.seed, perplexity, n, x, y, *(int(m.attributes[name][n]) for name in names)]
        for m in maps for n, (x, y) in enumerate(m.points[perplexity].tolist())
    ]  # fmt: skip
    coloured = f"coloured by {', '.join(map(_plain, names))}" if names else "without colours, for want of attributes"
    return Plot(
        stem="tsne_attributes", alt=f"t-SNE of the posterior means of {look.joined([m.arm for m in maps])}, {coloured}",
        draw=lambda width: _by_attribute(evidence, maps, perplexity, names, width),
        headings=("arm", "seed", "perplexity", "image", "x", "y", *names), lines=lines,
    )  # fmt: skip


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _by_attribute(evidence: Evidence, maps: Sequence[Map], perplexity: str, names: Sequence[str], width: float) -> Figure:
    columns = list(names) or [""]
    figure, cells = _cells(maps, columns, width)
    for m in maps:
        for name in columns:
            axes = cells[m.arm, name]
            _scatter(axes, m.points[perplexity], m.attributes.get(name))
            label = _plain(name) if name else m.arm
            axes.set_title(
                f"{label}, {m.arm}" if width < SIDE_BY_SIDE and name else label, fontsize=8.5 if name else 9.5, loc="left"
            )
    heading(figure, f"Figure 3 again: t-SNE of the posterior means, perplexity {perplexity}")
    key = "Red: has the attribute; grey: has not." if names else ""
    _caption(figure, evidence, maps, [perplexity], key)
    return figure


def tsne_perplexities(evidence: Evidence, arrays: look.Arrays) -> Plot | None:
    """Both models at every perplexity, coloured by one attribute; None where there are fewer than two perplexities."""
    maps = maps_of(evidence, arrays)
    every = [p for p in (maps[0].points if maps else {}) if all(p in m.points for m in maps)]
    if len(every) < 2:
        return None
    name = next(iter(colouring(evidence, maps)), "")
    lines = [
        [m.arm, m.seed, p, n, x, y, *([int(m.attributes[name][n])] if name else [])]
        for m in maps for p in every for n, (x, y) in enumerate(m.points[p].tolist())
    ]  # fmt: skip
    return Plot(
        stem="tsne_perplexities", alt=f"t-SNE of the posterior means at perplexities {', '.join(every)}",
        draw=lambda width: _by_perplexity(evidence, maps, every, name, width),
        headings=("arm", "seed", "perplexity", "image", "x", "y", *([name] if name else [])), lines=lines,
    )  # fmt: skip


def _by_perplexity(evidence: Evidence, maps: Sequence[Map], every: Sequence[str], name: str, width: float) -> Figure:
    figure, cells = _cells(maps, every, width)
    for m in maps:
        for perplexity in every:
            _scatter(cells[m.arm, perplexity], m.points[perplexity], m.attributes.get(name))
            text = f"perplexity {perplexity}" + (f", {m.arm}" if width < SIDE_BY_SIDE else "")
            cells[m.arm, perplexity].set_title(text, fontsize=8.5, loc="left")
    heading(figure, "The same at other perplexities")
    _caption(figure, evidence, maps, every, f"Red: {_plain(name)}." if name else "")
    return figure


def _cells(maps: Sequence[Map], columns: Sequence[str], width: float) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """(arm, column) -> axes: a line for each arm on a wide figure, a column for each on a narrow one."""
    wide = width >= SIDE_BY_SIDE
    across = len(columns) if wide else len(maps)
    side = (width - 0.5) / max(across, 3 if wide else 2)
    figure, panels, _ = look.grid(width, len(maps) * len(columns), side + 0.22, columns=across, narrow_columns=across)
    figure.set_dpi(RASTER_DPI)
    order = [(m.arm, c) for m in maps for c in columns] if wide else [(m.arm, c) for c in columns for m in maps]
    cells = dict(zip(order, panels, strict=True))
    for m in maps if wide else ():
        cells[m.arm, columns[0]].set_ylabel(m.arm, fontweight="bold")
    return figure, cells


def _scatter(axes: Axes, points: NDArray[Any], has: NDArray[Any] | None) -> None:
    size = 7.0 if len(points) <= 300 else 3.0
    for number, colour in ((0, LACKS), (1, HAS)):
        chosen = points if has is None else points[has == number]
        shown = "#5B7C99" if has is None else colour
        if len(chosen) and not (has is None and number):
            axes.scatter(chosen[:, 0], chosen[:, 1], s=size, color=shown, linewidths=0, rasterized=True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def _caption(figure: Figure, evidence: Evidence, maps: Sequence[Map], perplexities: Sequence[str], key: str) -> None:
    images = max(len(next(iter(m.points.values()))) for m in maps)
    trust = [f"{m.arm} {_trust(evidence, m, perplexities)}" for m in maps]
    seeds = ", ".join(f"{m.arm} seed {m.seed}" for m in maps)
    possible = sum(t.arm in look.PAIR for t in evidence.trials)
    below(
        figure, len(maps), possible, "trials of both models", f"{seeds}; {images} held-out images.", key,
        f"Trustworthiness (1: every neighbour on the map is one in the latent space): {'; '.join(trust)}.", EXTENT,
    )  # fmt: skip


def _trust(evidence: Evidence, m: Map, perplexities: Sequence[str]) -> str:
    trial = evidence.of(m.arm)[m.seed]
    found = [trial.get(f"analysis.latent.tsne.{p}.trustworthiness") for p in perplexities]
    return ", ".join(look.NOT_MEASURED if v is None else look.decimal(float(np.float64(v)), 3) for v in found)
