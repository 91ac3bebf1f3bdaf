"""The formats of an export, each written for every graph of the network and run as its user would run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ablation.faster.graph import RECONSTRUCTION, Graph
from ablation.faster.in_runtime import outputs_alone
from ablation.faster.runtimes import EXPORTERS, RUNTIMES, not_installed, openvino_core, quantised, silent_openvino

# file of a graph, without its ending
STEMS: Mapping[str, str] = {RECONSTRUCTION: "model"}

Inputs = Sequence[Mapping[str, Tensor]]


class Format(ABC):
    """One way of writing a graph."""

    # how it is called, its file's ending, what must be installed to write and to check it
    title: ClassVar[str]
    ending: ClassVar[str]
    packages: ClassVar[Sequence[str]] = ()
    # largest error; None: it is no copy to rounding, and what it loses is stated instead
    tolerance: ClassVar[float | None] = 1e-4

    def missing(self) -> str:
        """Why it can't be written here; empty where it can."""
        return not_installed(self.packages)

    def path(self, folder: Path, graph: str) -> Path:
        """The file of a graph."""
        return folder / f"{STEMS.get(graph, graph)}{self.ending}"

    @abstractmethod
    def write(self, graph: Graph, path: Path) -> None:
        """Write the file (and what lies beside it). Raises whatever fails."""

    @abstractmethod
    def run(self, path: Path, graph: Graph, inputs: Inputs) -> list[dict[str, Tensor]]:
        """The outputs of the file for each set of inputs, by name."""

    @abstractmethod
    def loaded(self, path: Path, graph: Graph) -> nn.Module:
        """The file as a module that takes images, to be timed."""

    def remove(self, path: Path) -> None:
        """Take away what was written."""
        for each in path.parent.glob(f"{path.stem}.*"):
            if each.name.startswith(path.name) or (each.suffix == ".bin" and path.suffix == ".xml"):
                each.unlink()


class TorchExport(Format):
    """A program of torch.export, which `torch.export.load` reads without this package."""

    title, ending = "torch.export", ".pt2"

    def write(self, graph: Graph, path: Path) -> None:
        """See `Format`."""
        torch.export.save(graph.program, path)

    def run(self, path: Path, graph: Graph, inputs: Inputs) -> list[dict[str, Tensor]]:
        """See `Format`."""
        call = torch.export.load(path).module()
        with torch.inference_mode():
            outputs = [call(*each.values()) for each in inputs]
        return [dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True)) for made in outputs]

    def loaded(self, path: Path, graph: Graph) -> nn.Module:
        """See `Format`."""
        return _Loaded(lambda example: torch.export.load(path).module(), graph)


class Onnx(Format):
    """ONNX, run by ONNX Runtime."""

    title, ending, runtime = "ONNX", ".onnx", "onnxruntime"
    packages: ClassVar[Sequence[str]] = (*EXPORTERS, "onnxruntime")

    def write(self, graph: Graph, path: Path) -> None:
        """See `Format`."""
        path.write_bytes(graph.onnx)

    def run(self, path: Path, graph: Graph, inputs: Inputs) -> list[dict[str, Tensor]]:
        """See `Format`; in a process of its own."""
        return outputs_alone(path, self.runtime, inputs, num_threads=torch.get_num_threads())

    def loaded(self, path: Path, graph: Graph) -> nn.Module:
        """See `Format`."""
        source = path.read_bytes()
        return _Loaded(lambda example: RUNTIMES[self.runtime](source, example), graph)


class OpenVinoFiles(Onnx):
    """OpenVINO's own format, by way of ONNX."""

    title, ending, runtime = "OpenVINO", ".xml", "openvino"
    packages: ClassVar[Sequence[str]] = (*EXPORTERS, "openvino")

    def write(self, graph: Graph, path: Path) -> None:
        """See `Format`; the weights lie beside it, in a file `.bin`."""
        self.save(self._onnx(graph), path)

    def save(self, model: Any, path: Path) -> None:
        """A model of OpenVINO, or one in ONNX, as a file."""
        openvino = silent_openvino()
        openvino.save_model(openvino_core().read_model(model) if isinstance(model, bytes) else model, path, compress_to_fp16=False)

    def loaded(self, path: Path, graph: Graph) -> nn.Module:
        """See `Format`."""
        model = openvino_core().read_model(path)
        return _Loaded(lambda example: RUNTIMES[self.runtime](model, example), graph)

    def _onnx(self, graph: Graph) -> bytes:
        # a crash in the runtime's own code is met there first
        outputs_alone(graph.onnx, self.runtime, [dict(zip(graph.inputs, graph.example, strict=True))])
        return graph.onnx


class OpenVinoInt8(OpenVinoFiles):
    """OpenVINO in 8-bit integers, calibrated on images by NNCF."""

    title, ending = "OpenVINO, int8", "_int8.xml"
    packages = (*EXPORTERS, "openvino", "nncf")
    tolerance = None

    def __init__(self, calibration: Mapping[str, Sequence[Sequence[Tensor]]]) -> None:
        # graph -> sets of inputs
        self.calibration = calibration

    def write(self, graph: Graph, path: Path) -> None:
        """See `Format`."""
        self.save(quantised(self._onnx(graph), self.calibration[graph.name]), path)


class _Loaded(nn.Module):
    """A file's graph as a module that takes images: loaded for each shape, anew for each copy."""

    def __init__(self, load: Any, graph: Graph) -> None:
        super().__init__()
        self.load, self.graph = load, graph
        self.calls: dict[tuple[int, ...], Any] = {}

    def forward(self, x: Tensor) -> Any:
        """The graph's outputs; with noise, where it takes any, that is 0."""
        more = (x.new_zeros((len(x), *value.shape[1:]), dtype=value.dtype) for value in self.graph.example[1:])
        inputs = [x.to(self.graph.example[0].dtype), *more]
        shape = tuple(x.shape)
        if shape not in self.calls:
            self.calls[shape] = self.load(inputs)
        return self.calls[shape](*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Loaded:
        return _Loaded(self.load, self.graph)


FORMATS: tuple[Format, ...] = (TorchExport(), Onnx(), OpenVinoFiles())
