"""The drawing of a network: its stages from image to image, in words, with the shapes that leave them and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.compose import VAE, build_without_weights
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from ablation.record.convert import to_plain
from ablation.record.search_confirmed import Stage


def drawing(spec: AnySpec) -> list[dict[str, Any]]:
    """Plain values of `Stage`, one for each stage of encoder and decoder and for head, stem and output; of a callable's network
    one for each child that runs, with its class.

    >>> from ablation import preset
    >>> [(stage["name"], stage["shape"]) for stage in drawing(preset("small"))][:2]
    [('encoder 1', [8, 24, 24]), ('encoder 2', [16, 12, 12])]
    """
    model = build_without_weights(spec).eval()
    named = _named(model) if isinstance(model, VAE) else dict(model.named_children())
    try:
        shapes = _shapes(model, named, spec.input_shape)
    except Exception:  # a network of the user's own that runs on values alone: it has no drawing
        shapes = {}
    about = {name: _text(spec, name) if isinstance(spec, ModelSpec) else type(module).__name__ for name, module in named.items()}
    stages = [
        Stage(name=name, text=about[name], shape=shape, params=sum(p.numel() for p in named[name].parameters()))
        for name, shape in shapes.items()
    ]
    return list(to_plain(stages))


def _shapes(model: nn.Module, named: Mapping[str, nn.Module], input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what leaves the module, without the batch, in the order in which they run."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                shapes[name] = tuple(first.shape[1:])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in named.items()]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *input_shape, device=next((p.device for p in model.parameters()), None)))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _named(model: VAE) -> dict[str, nn.Module]:
    """Name -> module, in the order in which they run."""
    named: dict[str, nn.Module] = {}
    for part in model.parts:
        module = getattr(model, part)
        if not part.endswith("_body"):
            named["latent" if part == "head" else part] = module
            continue
        side, children = part.removesuffix("_body"), list(module.children())
        stages = len(getattr(model.spec, f"{side}_widths"))
        for index, child in enumerate(children, start=stages - len(children) + 1):
            named[f"{side} {index}" if index > 0 else f"{side} entry {index + len(children) - stages}"] = child
    return named


def _text(spec: ModelSpec, name: str) -> str:
    """What a stage is, in the names of its pieces."""
    side, _, number = name.partition(" ")
    if number.isdigit():
        at = int(number) - 1
        kernel, depth = (_of(getattr(spec, field), at) for field in ("kernel_size", "depth"))
        conv, wiring = (_of(getattr(spec, f"{side}_{field}"), at) for field in ("conv", "connectivity"))
        change = spec.down if side == "encoder" else spec.up
        return f"{depth} x {kernel}x{kernel} {conv}, {wiring}; {change}"
    return {"latent": f"head {spec.head}", "stem": "from the latent vector", "output": "to the image"}.get(name, "entry")


def _of(value: Any, stage: int) -> Any:
    return value[stage] if isinstance(value, tuple) else value
