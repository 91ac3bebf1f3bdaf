"""Figure 3 of the paper again: t-SNE maps of the posterior means, coloured by attribute, at several perplexities. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ablation.report.explain.plots import Plot
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import decimal, joined
from ablation.report.kit.plot_style import WIDTH
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import style
from studies.paper.page.latent import probe_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERPLEXITY = "30"
NUM_ATTRIBUTES = 4
# of the points, which are put into the SVG as a picture: thousands of them would make it slow
RASTER_DPI = 115
# an attribute that fewer images have, or lack, colours nothing that could be seen
RARE = 0.05
HAS, LACKS, UNKNOWN = "#D55E00", "#B9C6D3", "#5B7C99"
EXTENT = "The extent of a t-SNE axis is no evidence, nor are distances between groups."


# of a line of panels: label, perplexity and attribute
Row = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Map:
    """The maps of one arm's first seed that has any."""

    arm: str
    seed: int
    # perplexity -> N x 2
    points: dict[str, NDArray[Any]]
    # name -> N of 0 or 1; empty where there are none, or no names
    attributes: dict[str, NDArray[Any]]


def maps_of(evidence: Evidence, arrays: style.Arrays) -> list[Map]:
    """Maps of original and modified, where their arrays hold any."""
    maps = []
    for arm in style.PAIR:
        wanted = [f"tsne_{PERPLEXITY}", *sorted(name for values in arrays.get(arm, {}).values() for name in _perplexities(values))]
        held = next((held for name in wanted if (held := style.first_arrays(evidence, arrays, arm, name)) is not None), None)
        if held is not None:
            seed, values = held
            points = {name.removeprefix("tsne_"): values[name] for name in _perplexities(values)}
            maps.append(Map(arm=arm, seed=seed, points=points, attributes=_attributes(values, len(next(iter(points.values()))))))
    return maps


def _perplexities(values: Mapping[str, Any]) -> list[str]:
    names = [name for name in values if name.startswith("tsne_") and name[5:].isdecimal()]
    return sorted(names, key=lambda name: int(name[5:]))


def _attributes(values: Mapping[str, Any], num_points: int) -> dict[str, NDArray[Any]]:
    table, names = values.get("attributes"), values.get("attribute_names")
    if table is None or names is None or table.ndim != 2 or len(table) < num_points or table.shape[1] != len(names):
        return {}
    return {str(name): table[:num_points, n] for n, name in enumerate(names)}  # a map is of the first images


def colouring(evidence: Evidence, maps: Sequence[Map]) -> list[str]:
    """The attributes to colour by: those that probes read best, neither rare nor nearly always there."""
    ranked = list(probe_rows(evidence).attribute.unique()) or (list(maps[0].attributes) if maps else [])
    usable = [n for n in ranked if all(n in m.attributes and RARE <= float(m.attributes[n].mean()) <= 1 - RARE for m in maps)]
    return usable[:NUM_ATTRIBUTES]


def tsne_attributes(evidence: Evidence, arrays: style.Arrays) -> Plot | None:
    """Both models at one perplexity, a map for each attribute; None where no trial has maps."""
    maps = maps_of(evidence, arrays)
    if not maps:
        return None
    perplexity = PERPLEXITY if all(PERPLEXITY in m.points for m in maps) else next(iter(maps[0].points))
    maps = [m for m in maps if perplexity in m.points]
    names = colouring(evidence, maps)
    coloured = f"coloured by {', '.join(map(plain, names))}" if names else "without colours, for want of attributes"
    return _plot(
        "tsne_attributes", f"t-SNE of the posterior means of {joined([m.arm for m in maps])}, {coloured}", evidence, maps,
        [(plain(name), perplexity, name) for name in names or [""]],
        f"Figure 3 again: t-SNE of the posterior means, perplexity {perplexity}",
        "Red: has the attribute; grey: has not." if names else "",
    )  # fmt: skip


def tsne_perplexities(evidence: Evidence, arrays: style.Arrays) -> Plot | None:
    """Both models at every perplexity, coloured by one attribute; None where there are fewer than two perplexities."""
    maps = maps_of(evidence, arrays)
    every = [p for p in (maps[0].points if maps else {}) if all(p in m.points for m in maps)]
    if len(every) < 2:
        return None
    name = next(iter(colouring(evidence, maps)), "")
    return _plot(
        "tsne_perplexities", f"t-SNE of the posterior means at perplexities {', '.join(every)}", evidence, maps,
        [(f"perplexity {p}", p, name) for p in every], "The same at other perplexities",
        f"Red: {plain(name)}." if name else "",
    )  # fmt: skip


def _plot(stem: str, alt: str, evidence: Evidence, maps: Sequence[Map], rows: Sequence[Row], title: str, key: str) -> Plot:
    perplexities, names = (list(dict.fromkeys(row[n] for row in rows if row[n])) for n in (1, 2))
    lines = [
        [m.arm, m.seed, perplexity, n, x, y, *(int(m.attributes[name][n]) for name in names)]
        for m in maps for perplexity in perplexities for n, (x, y) in enumerate(m.points[perplexity].tolist())
    ]  # fmt: skip
    images = max(len(next(iter(m.points.values()))) for m in maps)
    trust = "; ".join(f"{m.arm} {_trust(evidence, m, perplexities)}" for m in maps)
    caption = (
        len(maps), sum(t.arm in style.PAIR for t in evidence.trials), "trials of both models",
        f"{', '.join(f'{m.arm} seed {m.seed}' for m in maps)}; {images} held-out images.", key,
        f"Trustworthiness (1: every neighbour on the map is one in the latent space): {trust}.", EXTENT,
    )  # fmt: skip
    headings = ("arm", "seed", "perplexity", "image", "x", "y", *names)
    return Plot(stem=stem, alt=alt, draw=lambda _: _draw(maps, rows, title, caption), headings=headings, lines=lines)


def _draw(maps: Sequence[Map], rows: Sequence[Row], title: str, caption: style.Caption) -> Figure:
    """A line of panels for each row, a column for each arm."""
    height = (WIDTH - 0.5) / 2 + 0.22
    figure, panels = style.panels(title, len(maps) * len(rows), height, caption, columns=len(maps))
    figure.set_dpi(RASTER_DPI)
    for axes, ((label, perplexity, name), m) in zip(panels, itertools.product(rows, maps), strict=True):
        _scatter(axes, m.points[perplexity], m.attributes.get(name))
        style.panel_title(axes, f"{label}, {m.arm}" if label else m.arm)
    return figure


def _scatter(axes: Axes, points: NDArray[Any], has: NDArray[Any] | None) -> None:
    groups = [(points, UNKNOWN)] if has is None else [(points[has == 0], LACKS), (points[has == 1], HAS)]
    for group, colour in groups:
        if len(group):
            size = 7.0 if len(points) <= 300 else 3.0
            axes.scatter(group[:, 0], group[:, 1], s=size, color=colour, linewidths=0, rasterized=True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def _trust(evidence: Evidence, m: Map, perplexities: Sequence[str]) -> str:
    trial = evidence.of(m.arm)[m.seed]
    values = [trial.get(f"analysis.latent.tsne.{p}.trustworthiness") for p in perplexities]
    return ", ".join("not measured" if v is None else decimal(float(v), 3) for v in values)
