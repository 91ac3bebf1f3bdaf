"""The drawing of a network: its stages from image to image, in words, with the shapes that leave them and their parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ablation.design.compose import VAE, build_without_weights
from ablation.design.spec import ModelSpec
from ablation.record.convert import to_plain
from ablation.record.search_confirmed import Stage


def drawing(spec: ModelSpec) -> list[dict[str, Any]]:
    """Plain values of `Stage`, one for each stage of encoder and decoder and for head, stem and output.

    >>> from ablation import preset
    >>> [(stage["name"], stage["shape"]) for stage in drawing(preset("small"))][:2]
    [('encoder 1', [8, 24, 24]), ('encoder 2', [16, 12, 12])]
    """
    model = build_without_weights(spec).eval()
    assert isinstance(model, VAE)
    named = _named(model)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(first.shape[1:])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in named.items()]
    with torch.no_grad():
        model(torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size, device=next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    stages = [
        Stage(name=name, text=_text(spec, name), shape=shapes[name], params=sum(p.numel() for p in module.parameters()))
        for name, module in named.items()
    ]
    return list(to_plain(stages))


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
