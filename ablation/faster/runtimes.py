"""Other programs that run a network: ONNX Runtime, TensorRT through it, OpenVINO. Each is used where it is installed.

A `Session` holds one graph (`ablation.faster.graph`) for one batch size. Threads are torch's current number, set when a session is
made and read back from the runtime. Float32 unless asked otherwise: OpenVINO would choose bfloat16 by itself where a CPU has it.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor

from ablation.record.explanation import RuntimeShare

# what an operation of a runtime is counted as, by the beginning of its type, lower case; the first that fits
KINDS: Mapping[str, tuple[str, ...]] = {
    "memory layout": ("reorder", "transpose", "convert", "cast"),
    "transposed convolution": ("convtranspose", "convolutionbackprop", "deconvolution", "groupconvolutionbackprop"),
    "convolution": ("conv", "groupconv", "nhwcconv", "fusedconv", "qlinearconv"),
    "linear": ("gemm", "matmul", "fullyconnected", "fusedgemm", "fusedmatmul"),
    "normalisation": ("batchnorm", "layernorm", "groupnorm", "instancenorm", "mvn", "normalize", "skiplayernorm"),
    "activation": (
        "elu",
        "relu",
        "sigmoid",
        "silu",
        "swish",
        "gelu",
        "hardsw",
        "hardsig",
        "leakyrelu",
        "fastgelu",
        "quickgelu",
        "erf",
    ),
    "pooling": ("maxpool", "averagepool", "avgpool", "pooling", "globalaverage", "reducemean", "reduce"),
    "concatenation": ("concat",),
    "upsampling and rearranging": ("resize", "interpolate", "upsample", "depthtospace", "spacetodepth", "shufflechannels"),
    "elementwise": (
        "add",
        "mul",
        "sub",
        "div",
        "exp",
        "eltwise",
        "subgraph",
        "sum",
        "math",
        "fakequantize",
        "quantize",
        "dequantize",
    ),
}
OTHER = "other"
WARM_UP, PROFILED = 2, 10
# what writes the graphs that all of them load
EXPORTERS = ("onnx", "onnxscript")


class Session(ABC):
    """A graph in a runtime, for inputs of one batch size on one device: `session(*inputs) -> outputs`, torch tensors in float32."""

    # how it is called, what has to be installed, for int8 too, and on which kinds of device it runs
    title: ClassVar[str]
    packages: ClassVar[Sequence[str]]
    packages_int8: ClassVar[Sequence[str]] = ()
    devices: ClassVar[Sequence[str]] = ("cpu",)
    # precisions beside float32
    precisions: ClassVar[tuple[str, ...]] = ()
    # that the runtime says it uses; None where it has none on this device
    num_threads: int | None = None

    @classmethod
    def missing(cls, kind: str, precision: str = "float32") -> str:
        """Why it can't be used on a kind of device ("cpu", "cuda"); empty where it can."""
        if kind not in cls.devices:
            return f"does not run on {kind}"
        return not_installed((*cls.packages, *(cls.packages_int8 if precision == "int8" else ())))

    @abstractmethod
    def __init__(self, graph: Any, example: Sequence[Tensor], *, precision: str = "float32", profile: bool = False) -> None:
        """Load a graph in ONNX (or what `quantised` of the runtime gave) for inputs of these shapes."""

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs, in its order."""

    @abstractmethod
    def operations(self, *inputs: Tensor) -> list[tuple[str, float]]:
        """(type, ms) of every operation that ran in a call, by the runtime's own profiler; for a session made with `profile`."""


class OnnxRuntime(Session):
    """ONNX Runtime, on the CPU or by its CUDA provider."""

    title = "ONNX Runtime"
    packages: ClassVar[Sequence[str]] = (*EXPORTERS, "onnxruntime")
    devices: ClassVar[Sequence[str]] = ("cpu", "cuda")
    provider: ClassVar[Mapping[str, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

    @classmethod
    def missing(cls, kind: str, precision: str = "float32") -> str:
        """See `Session`."""
        reason = super().missing(kind, precision)
        if not reason and kind != "cpu":
            import onnxruntime

            has = cls.provider[kind] in onnxruntime.get_available_providers()
            reason = "" if has else "not installed: pip install onnxruntime-gpu"
        return reason

    def __init__(self, graph: Any, example: Sequence[Tensor], *, precision: str = "float32", profile: bool = False) -> None:
        import onnxruntime

        self._folder = tempfile.TemporaryDirectory() if profile else None
        self.place = example[0].device
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        # idle threads would run on beside what is timed next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        if self._folder:
            options.enable_profiling, options.profile_file_prefix = True, str(Path(self._folder.name) / "profile")
        provider = self.provider[self.place.type]
        chosen = [provider] if self.place.type == "cpu" else [(provider, {"device_id": self.place.index or 0})]
        self.session = onnxruntime.InferenceSession(graph, options, providers=chosen, enable_fallback=0)
        if provider not in self.session.get_providers():
            raise RuntimeError(f"{provider} is not usable here")
        self.num_threads = self.session.get_session_options().intra_op_num_threads
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.place.type == "cpu":
            arrays = {name: value.numpy() for name, value in zip(self.inputs, inputs, strict=True)}
            return tuple(torch.from_numpy(value) for value in self.session.run(self.outputs, arrays))
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"{self.title} cannot be captured in a CUDA graph")
        import numpy as np

        binding = self.session.io_binding()
        place = {"device_type": "cuda", "device_id": self.place.index or 0}
        held = [value.contiguous() for value in inputs]
        for name, value in zip(self.inputs, held, strict=True):
            binding.bind_input(name, element_type=np.float32, shape=tuple(value.shape), buffer_ptr=value.data_ptr(), **place)
        for name in self.outputs:
            binding.bind_output(name, **place)
        torch.cuda.current_stream(self.place).synchronize()  # the runtime has a stream of its own
        self.session.run_with_iobinding(binding)
        return tuple(torch.from_dlpack(value._ortvalue) for value in binding.get_outputs())

    def operations(self, *inputs: Tensor) -> list[tuple[str, float]]:
        """See `Session`; the median over PROFILED calls. On the CPU, where an operation has ended when its time is taken."""
        if self.place.type != "cpu":
            raise RuntimeError(f"{self.title} profiles on a CPU alone")
        for _ in range(WARM_UP + PROFILED):
            self(*inputs)
        events = json.loads(Path(self.session.end_profiling()).read_text())
        assert self._folder is not None
        self._folder.cleanup()
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times[event["name"], event["args"]["op_name"]].append(event["dur"] / 1e3)
        return [(kind, median(each[WARM_UP:])) for (_, kind), each in times.items()]


class TensorRT(OnnxRuntime):
    """TensorRT, through ONNX Runtime's provider."""

    title, devices = "TensorRT", ("cuda",)
    packages: ClassVar[Sequence[str]] = (*EXPORTERS, "onnxruntime", "tensorrt")
    provider: ClassVar[Mapping[str, str]] = {"cuda": "TensorrtExecutionProvider"}


class OpenVino(Session):
    """OpenVINO on the CPU."""

    title, precisions = "OpenVINO", ("bfloat16", "int8")
    packages: ClassVar[Sequence[str]] = (*EXPORTERS, "openvino")
    packages_int8: ClassVar[Sequence[str]] = ("nncf",)

    def __init__(self, graph: Any, example: Sequence[Tensor], *, precision: str = "float32", profile: bool = False) -> None:
        core = openvino_core()
        model = core.read_model(graph) if isinstance(graph, bytes) else graph.clone()
        model.reshape({value.get_any_name(): list(x.shape) for value, x in zip(model.inputs, example, strict=True)})
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32", "PERF_COUNT": profile,
        }  # fmt: skip
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeError("this CPU does not compute in bfloat16")
        compiled = core.compile_model(model, "CPU", settings)
        self.num_threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        if self.num_threads != torch.get_num_threads():
            raise RuntimeError(f"OpenVINO uses {self.num_threads} threads in place of {torch.get_num_threads()}")
        self.request = compiled.create_infer_request()
        self.count = len(compiled.outputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = self.request.infer([value.contiguous().numpy() for value in inputs], share_inputs=True)
        return tuple(torch.from_numpy(values[number]) for number in range(self.count))

    def operations(self, *inputs: Tensor) -> list[tuple[str, float]]:
        """See `Session`; the median over PROFILED calls."""
        calls = []
        for _ in range(WARM_UP + PROFILED):
            self(*inputs)
            calls.append({(i.node_name, i.node_type): i.real_time.total_seconds() * 1e3 for i in self.request.get_profiling_info()})
        return [(kind, ms) for name, kind in calls[-1] if (ms := median([call[name, kind] for call in calls[WARM_UP:]]))]


RUNTIMES: Mapping[str, type[Session]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "tensorrt": TensorRT}


def kind_of(operation: str) -> str:
    """The class that an operation of a runtime is counted in, by its type.

    >>> kind_of("ConvTranspose"), kind_of("Reorder")
    ('transposed convolution', 'memory layout')
    """
    name = operation.lower()
    return next((kind for kind, beginnings in KINDS.items() if name.startswith(beginnings)), OTHER)


def shares(operations: Sequence[tuple[str, float]], *, runtime: str, network: str) -> tuple[RuntimeShare, ...]:
    """Time by class of operation, the largest first."""
    classes: dict[str, list[float]] = defaultdict(list)
    for kind, ms in operations:
        classes[kind_of(kind)].append(ms)
    total = sum(map(sum, classes.values())) or 1.0
    made = [
        RuntimeShare(runtime=runtime, network=network, kind=kind, ms=sum(times), share=sum(times) / total, num_ops=len(times))
        for kind, times in classes.items()
    ]
    return tuple(sorted(made, key=lambda share: -share.ms))


def not_installed(packages: Sequence[str]) -> str:
    """'not installed: pip install ...' for those of these that are not; empty where all are."""
    absent = [name for name in packages if find_spec(name) is None]
    return f"not installed: pip install {' '.join(absent)}" if absent else ""


def silent_openvino() -> Any:
    """The package, without the one beside it that tells its makers of every import and use over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def openvino_core() -> Any:
    """The one Core of this process, with its CPU plugin loaded, to be used wherever one is needed.

    Each plugin that is loaded gives the thread a stack for signal handlers and takes its own away at its end: two that do not end
    in turn leave one that is gone, and the next Ctrl-C ends the process by a segmentation fault.
    """
    core = silent_openvino().Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def quantised(graph: bytes, calibration: Sequence[Sequence[Tensor]]) -> Any:
    """An OpenVINO model in int8: post-training quantisation by NNCF, calibrated on sets of inputs. Raises what NNCF raises."""
    openvino = silent_openvino()
    # it looks for compilers when it is imported, and warns of a GPU that isn't there
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = openvino_core().read_model(graph)
    names = [value.get_any_name() for value in model.inputs]
    sets = [{name: value.numpy() for name, value in zip(names, inputs, strict=True)} for inputs in calibration]
    # no progress bar, and no Core but ours
    with redirect_stdout(io.StringIO()), patch.object(openvino, "Core", openvino_core):
        return nncf.quantize(model, nncf.Dataset(sets), subset_size=len(sets))
