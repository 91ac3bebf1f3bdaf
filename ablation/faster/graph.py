"""A network's computations as graphs that other programs load: torch.export's, and ONNX.

Graphs, each with any number N of images:

    reconstruction   image -> reconstruction, mean; with `sample` image, noise -> reconstruction, mean, log_var
    encoder          image -> mean; with `sample` image -> mean, log_var
    decoder          latent -> reconstruction
    mask             latent -> mask, of networks with a mask decoder

Without `sample`, z is the posterior's mean and nothing that only the log-variance needs is in a graph.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.faster.rewrite import is_plain
from ablation.machine.device import own_randomness
from ablation.machine.text import first_line
from blocks.heads import GaussianHead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

RECONSTRUCTION, ENCODER, DECODER, MASK = "reconstruction", "encoder", "decoder", "mask"
# a batch of 1 would be taken for a constant
EXAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One computation of a network: a module, the names of its inputs and outputs, and inputs of EXAMPLES images."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[Tensor, ...]

    @cached_property
    def program(self) -> ExportedProgram:
        """By torch.export, made once: every format begins with it, with the weights as they were then."""
        return exported(self)

    @cached_property
    def onnx(self) -> bytes:
        """The same in ONNX."""
        return onnx_of(self.program, self)


class _Function(nn.Module):
    """A function of a network as a module that holds the network."""

    def __init__(self, network: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def graphs(network: VAE, *, sample: bool = False) -> Mapping[str, Graph]:
    """The graphs of a network in evaluation mode, by name; inputs lie on the network's device.

    >>> from ablation import build, preset
    >>> [(graph.name, graph.inputs, graph.outputs) for graph in graphs(build(preset("small")).eval()).values()][0]
    ('reconstruction', ('image',), ('reconstruction', 'mean'))
    """
    spec, place = network.spec, next(network.parameters()).device
    draw = torch.Generator().manual_seed(0)  # the caller's stays as it is
    image = torch.rand(EXAMPLES, spec.in_channels, spec.image_size, spec.image_size, generator=draw).to(place)
    latent = torch.rand(EXAMPLES, spec.latent_dim, generator=draw).to(place)

    def whole(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = network.encode(x)
        return network.decode(mean + torch.exp(0.5 * log_var) * noise), mean, log_var

    def whole_of_mean(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = mean_of(network, x)
        return network.decode(mean), mean

    drawn = ("noise",) if sample else ()
    posterior = ("mean", "log_var") if sample else ("mean",)
    made: list[tuple[str, Callable[..., Any], tuple[str, ...], tuple[str, ...], tuple[Tensor, ...]]] = [
        (
            RECONSTRUCTION, whole if sample else whole_of_mean, ("image", *drawn), ("reconstruction", *posterior),
            (image, latent) if sample else (image,),
        ),
        (ENCODER, network.encode if sample else lambda x: mean_of(network, x), ("image",), posterior, (image,)),
        (DECODER, network.decode, ("latent",), ("reconstruction",), (latent,)),
    ]  # fmt: skip
    if network.mask_decoder is not None:
        made.append((MASK, network.decode_mask, ("latent",), ("mask",), (latent,)))
    return {
        name: Graph(name=name, module=_Function(network, function).eval(), inputs=inputs, outputs=outputs, example=example)
        for name, function, inputs, outputs, example in made
    }


def mean_of(network: Any, x: Tensor) -> Tensor:
    """The posterior's mean alone: of our heads the log-variance isn't computed. `network` has a `head` and an `encoder_body`."""
    if is_plain(network.head, [GaussianHead]):
        mean: Tensor = network.head.mean(network.head.reduce(network.encoder_body(x)))
    else:
        mean, _ = network.head(network.encoder_body(x))
    return mean


class GraphError(RuntimeError):
    """A computation that a format can't express; names the operation where it is known."""


def exported(graph: Graph, *, any_batch: bool = True) -> ExportedProgram:
    """The graph by torch.export, for any number of images, or that of the example. GraphError where it can't be expressed."""
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in graph.example),) if any_batch else None
    try:
        with torch.no_grad(), own_randomness(graph.example[0].device), _quiet():
            return torch.export.export(graph.module, graph.example, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises some of every kind
        branches = "DataDependent" in type(error).__name__
        reason = "it branches on values of its input" if branches else first_line(error)
        raise GraphError(f"torch.export cannot express the {graph.name}: {reason}") from error


def onnx_of(program: ExportedProgram, graph: Graph, *, any_batch: bool = True) -> bytes:
    """The exported graph in ONNX, in which inputs and outputs have the graph's names. GraphError where it can't be expressed."""
    try:
        with torch.no_grad(), _quiet():
            made = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:
        raise GraphError(f"ONNX cannot express the {graph.name}: {_operation(error)}") from error
    assert made is not None
    nodes = made.model.graph
    for number, node in enumerate(nodes):
        for place, value in enumerate(node.outputs):
            value.name = f"v{number}_{place}"  # an inner value may have the name of an output otherwise
    for values, names in ((nodes.inputs, graph.inputs), (nodes.outputs, graph.outputs)):
        for value, name in zip(values, names, strict=True):
            value.name = name
            assert value.shape is not None
            if any_batch:
                value.shape[0] = "N"
    return bytes(made.model_proto.SerializeToString())


def _operation(error: BaseException) -> str:
    """The operation that an exporter could not translate, or the first line of its reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    named = re.search(r"op='([\w.:]+)'", str(error))
    return f"it has no operation {named[1]}" if named else first_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of what they do inside themselves, log and print; what fails is raised all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
