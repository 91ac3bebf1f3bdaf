"""How far the outputs of a format are from the network's own in eager PyTorch: on images and random weights, at several batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablation.design.compose import VAE, build
from ablation.design.spec import ModelSpec
from ablation.export.formats import Format, Inputs
from ablation.faster.graph import DECODER, MASK, RECONSTRUCTION, Graph
from ablation.faster.optimise import difference
from ablation.machine.device import own_randomness

BATCHES = (1, 3, 32)
# images with the network's own weights, and with random ones
NUM_IMAGES, NUM_RANDOM = 64, 32


def inputs_of(model: VAE, graph: Graph, images: Tensor, batch_size: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """What a graph is given: images in batches (the last may be smaller), latent means of them, noise from a seed."""
    sets = []
    with torch.inference_mode(), own_randomness(images.device, seed):
        for x in images.split(batch_size):
            latent = (len(x), model.spec.latent_dim)
            values = {"image": x, "noise": torch.randn(latent) if "noise" in graph.inputs else None}
            if "latent" in graph.inputs:
                values["latent"] = model.encode(x)[0]
            sets.append({name: value for name in graph.inputs if (value := values[name]) is not None})
    return sets


def eager_outputs(model: VAE, graph: Graph, inputs: Inputs) -> list[dict[str, Tensor]]:
    """What the network itself gives for the same inputs, nothing of it rewritten."""
    outputs = []
    with torch.inference_mode():
        for each in inputs:
            if graph.name == DECODER:
                values: tuple[Tensor, ...] = (model.decode(each["latent"]),)
            elif graph.name == MASK:
                values = (model.decode_mask(each["latent"]),)
            else:
                mean, log_var = model.encode(each["image"])
                noise = each.get("noise")
                z = mean if noise is None else mean + torch.exp(0.5 * log_var) * noise
                values = (model.decode(z), mean, log_var) if graph.name == RECONSTRUCTION else (mean, log_var)
            outputs.append(dict(zip(graph.outputs, values, strict=False)))
    return outputs


def largest_errors(
    kind: Format, model: VAE, graphs: Mapping[str, Graph], folder: Path, images: Tensor, batches: Sequence[int] = BATCHES
) -> dict[str, dict[str, float]]:
    """Graph -> batch size, as text -> the largest difference of any output (see `ablation.faster.optimise.difference`)."""
    errors: dict[str, dict[str, float]] = {}
    for name, graph in graphs.items():
        path, per_batch = kind.path(folder, name), {}
        sets = {size: inputs_of(model, graph, images, size) for size in batches}
        outputs = kind.run(path, graph, [each for size in batches for each in sets[size]])
        for size in batches:
            made, outputs = outputs[: len(sets[size])], outputs[len(sets[size]) :]
            expected = eager_outputs(model, graph, sets[size])
            gaps = [difference(a[key], b[key]) for a, b in zip(made, expected, strict=True) for key in graph.outputs]
            per_batch[str(size)] = max(gaps)
        errors[name] = per_batch
    return errors


def largest(errors: Mapping[str, Mapping[str, Any]]) -> float:
    """The largest of all errors."""
    return max((value for each in errors.values() for value in each.values()), default=0.0)


def randomised(spec: ModelSpec, seed: int = 1) -> VAE:
    """Another network of the spec: random weights, and random statistics where there are any, for checks."""
    model = build(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return model.eval()
