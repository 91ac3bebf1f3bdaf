"""`export_any`: a network that a callable makes, in the same folder and formats as our own, each checked on drawn inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ablation.design.callable_spec import CallableSpec
from ablation.explain.prepared import relative_difference
from ablation.export.card import render
from ablation.export.folder import CARD, PARITY, check_room, replacing, write_any, write_json
from ablation.export.formats import FORMATS, Format
from ablation.export.parity import BATCHES, NUM_IMAGES
from ablation.export.write import BUDGET_S, LATENCY_BATCHES, ROOM, Checked, Origin, Say, Written, time_formats, write_format
from ablation.faster.fold_traced import fold_traced
from ablation.faster.graph import EXAMPLES, RECONSTRUCTION, Graph
from ablation.faster.rewrite import checked_copy
from ablation.machine.hardware import provenance

Inputs = list[dict[str, Tensor]]


class Flat(nn.Module):
    """The tensors that a network returns, in whatever it returns them, as a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The same inputs."""
        return tuple(leaf for leaf in tree_leaves(self.network(*inputs)) if isinstance(leaf, Tensor))


def export_any(
    spec: CallableSpec,
    model: nn.Module,
    folder: str | Path,
    origin: Origin,
    *,
    plain: bool = False,
    batches: Sequence[int] = LATENCY_BATCHES,
    budget_s: float = BUDGET_S,
    say: Say = lambda line: None,
) -> dict[str, Written]:
    """Write a network as the callable makes it, with its weights; format -> what came of it.

    Outputs are compared on NUM_IMAGES drawn inputs at three batch sizes. Batch norm is folded where a trace shows that it can be,
    unless `plain`. The rest is as in `export_network`.
    """
    begin, eager = time.time(), Flat(checked_copy(model).cpu())
    check_room(Path(folder), ROOM * sum(value.numel() * value.element_size() for value in model.state_dict().values()))
    names = tuple(f"input {n}" if n else "input" for n in range(len(spec.inputs)))
    example = tuple(each.values(EXAMPLES) for each in spec.inputs)
    with torch.inference_mode():
        outputs = tuple(f"output {n}" if n else "output" for n in range(len(eager(*example))))
    module = eager if plain else Flat(fold_traced(eager.network)).eval()
    graph = Graph(name=RECONSTRUCTION, module=module, inputs=names, outputs=outputs, example=example)
    drawn = dict(zip(names, (each.values(NUM_IMAGES, seed=1) for each in spec.inputs), strict=True))
    with replacing(Path(folder)) as partial:
        write_any(spec, model, partial, {"name": origin.name, "source": origin.source, "plugins": list(origin.plugins)})
        written = {
            kind.title: write_format(kind, partial, [graph.name], _checked(kind, graph, eager, partial, drawn), say)
            for kind in FORMATS
        }
        modules = {k.title: k.loaded(k.path(partial, graph.name), graph) for k in FORMATS if not written[k.title].reason}
        first = _First(eager, example)
        time_formats(first, modules, written, batches, budget_s, say, shape=spec.inputs[0].shape)
        facts = {**provenance("cpu", begin), "command": origin.command, "threads": torch.get_num_threads(), "inputs": NUM_IMAGES}
        parity = {"formats": {title: vars(each) for title, each in written.items()}, "batches": list(BATCHES)}
        write_json(partial / PARITY, parity | {"provenance": facts})
        text = render(
            "card_any.md", written, origin=origin, spec=spec, facts=facts, plain=plain, graph=graph, code=spec.code,
            params=sum(p.numel() for p in model.parameters()),
        )  # fmt: skip
        (partial / CARD).write_text(text, "utf-8")
    return written


class _First(nn.Module):
    """A network as a function of its first input, as formats are timed; the others are zeros."""

    def __init__(self, network: nn.Module, example: Sequence[Tensor]) -> None:
        super().__init__()
        self.network, self.example = network, tuple(example)

    def forward(self, x: Tensor) -> Any:
        """`x` as values of the first input's type."""
        more = (x.new_zeros((len(x), *value.shape[1:]), dtype=value.dtype) for value in self.example[1:])
        return self.network(x.to(self.example[0].dtype), *more)


def _checked(kind: Format, graph: Graph, eager: nn.Module, folder: Path, drawn: Mapping[str, Tensor]) -> Checked:
    path = kind.path(folder, graph.name)
    kind.write(graph, path)
    yield "drawn inputs", {graph.name: _errors(kind, graph, eager, path, drawn)}


def _errors(kind: Format, graph: Graph, eager: nn.Module, path: Path, drawn: Mapping[str, Tensor]) -> dict[str, float]:
    """Batch size, as text -> the largest difference of any output."""
    per_batch: dict[str, float] = {}
    for size in BATCHES:
        parts = [value.split(size) for value in drawn.values()]
        sets: Inputs = [dict(zip(graph.inputs, values, strict=True)) for values in zip(*parts, strict=True)]
        made = kind.run(path, graph, sets)
        with torch.inference_mode():
            expected = [dict(zip(graph.outputs, eager(*each.values()), strict=True)) for each in sets]
        per_batch[str(size)] = max(
            relative_difference(a[key], b[key]) for a, b in zip(made, expected, strict=True) for key in graph.outputs
        )
    return per_batch
