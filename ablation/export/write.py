"""`export_network`: weights, formats, parity, latency and card of one network in one folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.export.card import card
from ablation.export.folder import CARD, PARITY, check_room, replacing, write_json, write_network
from ablation.export.formats import FORMATS, Format, OpenVinoInt8
from ablation.export.parity import BATCHES, NUM_IMAGES, NUM_RANDOM, inputs_of, largest, largest_errors, randomised
from ablation.faster.graph import RECONSTRUCTION, Graph, graphs
from ablation.faster.optimise import reason_of
from ablation.faster.rewrite import checked_copy
from ablation.faster.steps import REWRITES, rewritten
from ablation.machine.hardware import provenance
from ablation.measure.latency.compare import compare_latency
from ablation.measure.quality.evaluate import measured
from ablation.stats import mean_estimate

EAGER = "PyTorch, eager"
# bytes on disk over those of the weights: the weights, and two graphs of about as many in each of three formats
ROOM = 8
# bytes; a disk with less is full, whatever a format says when it fails
LEAST_ROOM = 1 << 20
# of each batch size
BUDGET_S = 20.0
LATENCY_BATCHES = (1, 8)

Say = Callable[[str], None]
# what was compared on -> graph -> batch size, as text -> largest error
Checked = Iterator[tuple[str, Mapping[str, Mapping[str, float]]]]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from, in words and numbers that its card shows."""

    # what it is called
    name: str
    trained: bool
    # "study results/grid-faces-48, network 3, seed 0"; "preset small, seed 0"
    source: str
    # what it was trained on and how; empty where it was not trained
    data: str = ""
    licence: str = ""
    # of the weights, by which model hubs know it
    licence_id: str = "other"
    protocol: str = ""
    # what, value, and an interval or how many it rests on
    losses: Sequence[tuple[str, str, str]] = ()
    # parameters, multiply-accumulates and the like: what, value
    costs: Sequence[tuple[str, str]] = ()
    plugins: Sequence[str] = ()
    command: str = ""


@dataclass(kw_only=True)
class Written:
    """One format: whether it was written, how it compares with eager PyTorch, or why not."""

    title: str
    files: list[str] = field(default_factory=list)
    reason: str = ""
    tolerance: float | None = None
    errors: dict[str, Any] = field(default_factory=dict)
    largest_error: float | None = None
    # batch size -> ms, and how many times as fast as eager with its interval
    latency: dict[str, Any] = field(default_factory=dict)
    # of int8: metric -> float32, int8, difference and its interval over images
    quality: dict[str, Any] = field(default_factory=dict)


def export_network(
    model: VAE,
    folder: str | Path,
    origin: Origin,
    *,
    images: Tensor,
    sample: bool = False,
    plain: bool = False,
    calibration: Tensor | None = None,
    test_images: Tensor | None = None,
    batches: Sequence[int] = LATENCY_BATCHES,
    budget_s: float = BUDGET_S,
    say: Say = lambda line: None,
) -> dict[str, Written]:
    """Write the network to a folder that needs nothing of this package; format -> what came of it.

    `images` N x C x S x S in [0, 1] are what outputs are compared on. `plain` leaves the graph as it is; otherwise it is rewritten
    to the same function (`ablation.faster.steps.REWRITES`). `calibration` images add int8 in OpenVINO, judged on `test_images`.
    A format that cannot be written, or whose outputs are beyond its tolerance, is left out with its reason; the others are written.
    InputError where the folder holds something else. Until all is done, the folder stays as it is.
    """
    begin = time.time()
    eager = checked_copy(model).cpu()
    size = sum(value.numel() * value.element_size() for value in eager.state_dict().values())
    check_room(Path(folder), ROOM * size)
    with replacing(Path(folder)) as partial:
        write_network(eager, partial, {"name": origin.name, "source": origin.source, "plugins": list(origin.plugins)})
        made = _Formats(eager, partial, sample=sample, plain=plain, images=images, say=say)
        kinds: list[Format] = [*FORMATS]
        if calibration is not None:
            sets = {name: inputs_of(eager, graph, calibration, 1) for name, graph in made.graphs.items()}
            kinds.append(OpenVinoInt8({name: [tuple(each.values()) for each in inputs] for name, inputs in sets.items()}))
        written = {kind.title: made.write(kind) for kind in kinds}
        modules = {kind.title: made.loaded(kind) for kind in kinds if not written[kind.title].reason}
        side = eager.spec.image_size
        time_formats(eager, modules, written, batches, budget_s, say, shape=(eager.spec.in_channels, side, side))
        int8 = modules.get(OpenVinoInt8.title)
        if int8 is not None:
            say("Quality in int8 ...")
            written[OpenVinoInt8.title].quality = quality_lost(eager, int8, images if test_images is None else test_images)
        facts = {**provenance("cpu", begin), "command": origin.command, "threads": torch.get_num_threads()}
        facts |= {"images": len(images[:NUM_IMAGES]), "random_weights_images": len(images[:NUM_RANDOM])}
        parity = {"formats": {title: vars(each) for title, each in written.items()}, "batches": list(BATCHES)}
        write_json(partial / PARITY, parity | {"provenance": facts})
        (partial / CARD).write_text(card(eager, origin, written, facts, sample=sample, plain=plain), "utf-8")
    return written


class _Formats:
    """The graphs of a network, and of another one with random weights, to be written in each format."""

    def __init__(self, model: VAE, folder: Path, *, sample: bool, plain: bool, images: Tensor, say: Say) -> None:
        self.model, self.folder, self.images, self.say = model, folder, images[:NUM_IMAGES], say

        def of(network: VAE) -> Mapping[str, Graph]:
            return graphs(network if plain else rewritten(network, REWRITES), sample=sample)

        self.graphs, self.random = of(model), randomised(model.spec)
        self.random_graphs = of(self.random)

    def write(self, kind: Format) -> Written:
        """One format for every graph, with its errors."""
        return write_format(kind, self.folder, list(self.graphs), self._checked(kind), self.say)

    def _checked(self, kind: Format) -> Checked:
        # random weights first: their files are written over
        checks = (
            [("random weights", self.random, self.random_graphs, self.images[:NUM_RANDOM])] if kind.tolerance is not None else []
        )
        for label, model, made, images in (*checks, ("images", self.model, self.graphs, self.images)):
            for name, graph in made.items():
                kind.write(graph, kind.path(self.folder, name))
            yield label, largest_errors(kind, model, made, self.folder, images)

    def loaded(self, kind: Format) -> nn.Module:
        """The reconstruction of a format that was written."""
        return kind.loaded(kind.path(self.folder, RECONSTRUCTION), self.graphs[RECONSTRUCTION])


def write_format(kind: Format, folder: Path, names: Sequence[str], checked: Checked, say: Say) -> Written:
    """One format; what is beyond its tolerance, or fails, is removed again.

    `names`: of its graphs. `checked` writes their files and gives what they were compared on, with the errors.
    """
    say(f"{kind.title} ...")
    written = Written(title=kind.title, tolerance=kind.tolerance, reason=kind.missing())
    if written.reason:
        return written
    try:
        for label, errors in checked:
            error = largest(errors)
            if not isfinite(error):
                written.reason = f"its outputs on {label} are not finite, or of another shape"
            elif kind.tolerance is not None and error > kind.tolerance:
                written.reason = f"its largest error, {error:.1e} on {label}, is over the tolerance {kind.tolerance:g}"
            if written.reason:
                break
            written.errors[label], written.largest_error = errors, max(error, written.largest_error or 0.0)
        else:
            written.files = [kind.path(folder, name).name for name in names]
    except Exception as error:  # a network that a format can't express, or a runtime that crashes: the other formats go on
        check_room(folder, LEAST_ROOM)
        written.reason = reason_of(error)
    if written.reason:
        for name in names:
            kind.remove(kind.path(folder, name))
    return written


def time_formats(
    eager: nn.Module,
    modules: Mapping[str, nn.Module],
    written: Mapping[str, Written],
    batches: Sequence[int],
    budget_s: float,
    say: Say,
    *,
    shape: tuple[int, ...],
) -> None:
    """All formats that were written beside eager PyTorch, interleaved, on inputs of this shape after the batch."""
    for batch_size in batches:
        say(f"Latency at batch {batch_size} ...")
        times = compare_latency(
            {EAGER: eager, **modules}, batch_size=batch_size, input_shape=shape, budget_s=budget_s, only_calls=True, overrun=False
        )
        for title in modules:
            timed = times[title]
            gain = times.paired(EAGER, title)
            written[title].latency[str(batch_size)] = {
                "ms": timed.median_ms, "eager_ms": times[EAGER].median_ms, "reason": timed.reason,
                "gain": None if gain is None else gain.value, "gain_low": None if gain is None else gain.low,
                "gain_high": None if gain is None else gain.high, "sittings": gain.num if gain is not None else None,
            }  # fmt: skip


def quality_lost(eager: VAE, reduced: nn.Module, images: Tensor, batch_size: int = 16) -> dict[str, Any]:
    """Metric -> mean over images in float32 and reduced, and the difference with its 95 % interval over images (paired).

    SSIM, PSNR [dB] and L1 of reconstructions from z = mean.
    """
    values: dict[str, list[list[Tensor]]] = {}
    with torch.inference_mode():
        for x in images.split(batch_size):
            for side, y in enumerate((eager.decode(eager.encode(x)[0]), reduced(x)[0])):
                for name, each in measured(x, y.clamp(0, 1)).items():
                    values.setdefault(name, [[], []])[side].append(each)
    lost = {}
    for name, sides in values.items():
        before, after = (torch.cat(side).double().numpy() for side in sides)
        estimate = mean_estimate(after - before)
        lost[name] = {
            "float32": float(before.mean()), "reduced": float(after.mean()), "difference": estimate.value, "low": estimate.low,
            "high": estimate.high, "images": len(before),
        }  # fmt: skip
    return lost
