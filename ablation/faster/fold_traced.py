"""Batch norm folded in a network of any kind: torch.fx tells which convolution each norm comes after, wherever both are kept."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn

from ablation.faster.fold import CONVS, folded, is_scale
from ablation.faster.rewrite import is_plain


def fold_traced(model: nn.Module) -> nn.Module:
    """The network in evaluation mode with every batch norm folded that alone reads a convolution; itself where none can be.

    So it is where torch.fx cannot trace it, as where its flow depends on values. The convolutions are copies.

    >>> block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    >>> [type(layer).__name__ for layer in fold_traced(block).children()]
    ['Conv2d']
    """
    if not any(map(is_scale, model.modules())):
        return model
    try:
        traced = fx.symbolic_trace(model)
    except Exception:  # whatever a forward does that cannot be traced
        return model
    modules = dict(traced.named_modules())
    places = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        before = node.args[0] if node.args else None
        if (
            norm is None
            or not is_scale(norm)
            or not isinstance(before, fx.Node)
            or before.op != "call_module"
            or len(before.users) > 1
        ):
            continue
        conv = modules[str(before.target)]
        if not is_plain(conv, CONVS):
            continue
        # a convolution that runs in other places too stays there as it is
        name = str(before.target) if places[before.target] == 1 else f"{before.target}_folded_{node.name}"
        traced.add_submodule(name, folded(conv, norm))
        before.target = name
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()
