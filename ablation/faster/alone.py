"""Runs a graph in another runtime, in a process of its own: `python -I alone.py RUNTIME GRAPH INPUTS.npz OUTPUTS.npz THREADS`.

Neither torch nor this package is imported here: what such a process computes, the file alone is enough for, and a runtime that
crashes takes nothing else with it. INPUTS may hold several sets, "0/image", "1/image" ...; OUTPUTS gets "0/reconstruction" ...
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]


def onnxruntime(path: str, num_threads: int) -> Callable[[Arrays], Arrays]:
    """An ONNX file in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def openvino(path: str, num_threads: int) -> Callable[[Arrays], Arrays]:
    """An ONNX file or an OpenVINO model in OpenVINO on the CPU, in float32."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it tells its makers of every import
    import openvino

    settings = {"INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    names = [value.get_any_name() for value in compiled.outputs]
    return lambda inputs: {name: value.copy() for name, value in zip(names, compiled(dict(inputs)).values(), strict=True)}


RUNTIMES = {"onnxruntime": onnxruntime, "openvino": openvino}


def main(runtime: str, graph: str, inputs: str, outputs: str, num_threads: str) -> None:
    """All sets of inputs through the graph."""
    run = RUNTIMES[runtime](graph, int(num_threads))
    sets: dict[str, dict[str, Any]] = {}
    with np.load(inputs) as stored:
        for key in stored.files:
            number, _, name = key.partition("/")
            sets.setdefault(number, {})[name] = stored[key]
    np.savez(outputs, **{f"{number}/{name}": value for number, each in sets.items() for name, value in run(each).items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
