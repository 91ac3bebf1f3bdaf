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
from ablation.faster.runtimes import RUNTIMES, Session, quantised, silent_openvino
from ablation.machine.device import own_randomness

Key = tuple[str, tuple[int, ...]]
# of a graph in a process of its own, after which it hangs
LONGEST_S = 1800


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
        """Load anew what is loaded; into other memory, since the old sessions go only when the new ones are there."""
        made: dict[Key, Session] = {}
        for name, shape in self.sessions:
            inputs = [value.new_zeros((shape[0], *value.shape[1:])) for value in self.graphs[name].example]
            made[name, shape] = self.session(name, inputs)
        self.sessions = made

    def operations(self, image: Tensor) -> list[tuple[str, float]]:
        """(type, ms) of the operations of a reconstruction, by the runtime's own profiler."""
        inputs = [image, *(value.new_zeros((len(image), *value.shape[1:])) for value in self.graphs[RECONSTRUCTION].example[1:])]
        return self.session(RECONSTRUCTION, inputs, profile=True).operations(*inputs)

    def _loadable(self, name: str) -> Any:
        graph = self.graphs[name]
        made = self.onnx[name] = self.onnx.get(name) or onnx_of(exported(graph), graph)
        self._survives(name, made)
        if self.precision != "int8":
            return made
        assert self.calibration is not None
        reduced = quantised(made, [self._inputs(name, image[None]) for image in self.calibration])
        with tempfile.TemporaryDirectory() as folder:
            silent_openvino().save_model(reduced, Path(folder) / "graph.xml", compress_to_fp16=False)
            self._survives(name, Path(folder) / "graph.xml")
        return reduced

    def _survives(self, name: str, graph: bytes | Path) -> None:
        """CrashError where the runtime crashes on a graph, which it does in another process."""
        example = self.graphs[name].example
        if self.runtime in alone.RUNTIMES and example[0].device.type == "cpu":
            inputs = dict(zip(self.graphs[name].inputs, example, strict=True))
            outputs_alone(graph, self.runtime, [inputs], precision=self.precision)

    def _inputs(self, name: str, image: Tensor) -> tuple[Tensor, ...]:
        """What a graph is given for an image."""
        graph = self.graphs[name]
        with torch.inference_mode(), own_randomness(image.device, 0):
            if graph.inputs[0] == "image":
                return image, *(torch.randn((1, *value.shape[1:])) for value in graph.example[1:])
            return (self.network.encode(image)[0],)


class CrashError(RuntimeError):
    """A runtime ended its process, or refused a graph, in its own code."""


def outputs_alone(
    graph: bytes | Path, runtime: str, sets: Sequence[Mapping[str, Tensor]], *, num_threads: int = 1, precision: str = "float32"
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
        files = (path, folder / "inputs.npz", folder / "outputs.npz")
        command = [sys.executable, "-P", alone.__file__, runtime, *files, num_threads, precision]
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace", timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            raise CrashError(f"{RUNTIMES[runtime].title} did not end within {LONGEST_S} s") from None
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
