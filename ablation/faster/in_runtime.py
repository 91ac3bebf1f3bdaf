"""A network whose graphs run in another runtime: loaded for each batch size when it is first asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablation.design.compose import VAE
from ablation.faster import alone
from ablation.faster.graph import RECONSTRUCTION, exported, graphs, onnx_of
from ablation.faster.runtimes import RUNTIMES, Session, quantised
from ablation.machine.device import own_randomness

Key = tuple[str, tuple[int, ...]]


class InRuntime:
    """`run(graph, *inputs)` in a runtime, as the network's own functions would give it; tensors in float32 on the network's device.

    `sample` as of `graphs`; `precision` one of the runtime's. For "int8", `calibration` are images N x C x S x S. `onnx`: graphs of
    this network that were exported already, by name; those that are exported here are added.
    """

    def __init__(
        self,
        network: VAE,
        runtime: str,
        *,
        sample: bool,
        precision: str = "float32",
        calibration: Tensor | None = None,
        onnx: dict[str, bytes] | None = None,
    ) -> None:
        self.kind, self.runtime, self.precision = RUNTIMES[runtime], runtime, precision
        self.network, self.graphs, self.calibration = network, graphs(network, sample=sample), calibration
        self.onnx = {} if onnx is None else onnx
        self.loadable: dict[str, Any] = {}
        self.sessions: dict[Key, Session] = {}
        # as the runtime said of the last session
        self.num_threads: int | None = None

    def __call__(self, graph: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        key = graph, tuple(inputs[0].shape)
        if key not in self.sessions:
            self.sessions[key] = self.session(graph, inputs)
        return self.sessions[key](*inputs)

    def session(self, graph: str, inputs: Sequence[Tensor], *, profile: bool = False) -> Session:
        """The graph loaded for inputs of this shape, with torch's current number of threads."""
        if graph not in self.loadable:
            self.loadable[graph] = self._loadable(graph)
        made = self.kind(self.loadable[graph], inputs, precision=self.precision, profile=profile)
        self.num_threads = made.num_threads
        return made

    def reload(self) -> None:
        """Load anew what is loaded, into other memory."""
        keys, self.sessions = list(self.sessions), {}
        for name, shape in keys:
            example = self.graphs[name].example
            inputs = [value.new_zeros((shape[0], *value.shape[1:])) for value in example]
            self.sessions[name, shape] = self.session(name, inputs)

    def operations(self, image: Tensor) -> list[tuple[str, float]]:
        """(type, ms) of the operations of a reconstruction, by the runtime's own profiler."""
        inputs = [image, *(value.new_zeros((len(image), *value.shape[1:])) for value in self.graphs[RECONSTRUCTION].example[1:])]
        return self.session(RECONSTRUCTION, inputs, profile=True).operations(*inputs)

    def _loadable(self, name: str) -> Any:
        graph = self.graphs[name]
        made = self.onnx[name] = self.onnx.get(name) or onnx_of(exported(graph), graph)
        if self.runtime in alone.RUNTIMES and graph.example[0].device.type == "cpu":
            outputs_alone(made, self.runtime, [dict(zip(graph.inputs, graph.example, strict=True))])  # raises where it crashes
        if self.precision != "int8":
            return made
        assert self.calibration is not None
        return quantised(made, [self._inputs(name, image[None]) for image in self.calibration])

    def _inputs(self, name: str, image: Tensor) -> tuple[Tensor, ...]:
        """What a graph is given for an image."""
        graph = self.graphs[name]
        with torch.inference_mode(), own_randomness(image.device):
            if graph.inputs[0] == "image":
                return image, *(torch.randn((1, *value.shape[1:])) for value in graph.example[1:])
            return (self.network.encode(image)[0],)


class CrashError(RuntimeError):
    """A runtime ended its process, or refused a graph, in its own code."""


def outputs_alone(
    graph: bytes | Path, runtime: str, sets: Sequence[Mapping[str, Tensor]], *, num_threads: int = 1
) -> list[dict[str, Tensor]]:
    """The outputs of a graph for each set of inputs, computed in a process that can import neither torch nor this package.

    CrashError with its last line where that process fails.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = graph if isinstance(graph, Path) else folder / "graph.onnx"
        if isinstance(graph, bytes):
            path.write_bytes(graph)
        arrays = {f"{number}/{name}": value.numpy() for number, each in enumerate(sets) for name, value in each.items()}
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
        command = [
            sys.executable,
            "-I",
            alone.__file__,
            runtime,
            path,
            folder / "inputs.npz",
            folder / "outputs.npz",
            str(num_threads),
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
        if done.returncode:
            end = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise CrashError(f"{RUNTIMES[runtime].title} ended with {end}: {lines[-1].strip() if lines else 'no message'}")
        outputs: list[dict[str, Tensor]] = [{} for _ in sets]
        with np.load(folder / "outputs.npz") as stored:
            for key in stored.files:
                number, _, name = key.partition("/")
                outputs[int(number)][name] = torch.from_numpy(stored[key])
    return outputs
