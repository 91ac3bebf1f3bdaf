"""Runs a graph in another runtime, in a process of its own:

    python -P alone.py RUNTIME GRAPH INPUTS.npz OUTPUTS.npz THREADS PRECISION

Neither torch nor this package can be imported there: for what such a process computes the file alone is enough, and a runtime that
crashes takes nothing else with it. INPUTS may hold several sets, "0/image", "1/image" ...; OUTPUTS gets "0/reconstruction" ...
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]


def onnxruntime(path: str, num_threads: int, precision: str) -> Callable[[Arrays], Arrays]:
    """An ONNX file in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def openvino(path: str, num_threads: int, precision: str) -> Callable[[Arrays], Arrays]:
    """An ONNX file or an OpenVINO model in OpenVINO on the CPU, loaded for each shape of its inputs."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it tells its makers of every import
    import openvino

    core, hint = openvino.Core(), "bf16" if precision == "bfloat16" else "f32"
    settings = {"INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": hint}
    loaded: dict[tuple[Any, ...], Any] = {}

    def run(inputs: Arrays) -> Arrays:
        shapes = tuple((name, value.shape) for name, value in inputs.items())
        if shapes not in loaded:
            model = core.read_model(path)
            model.reshape({name: list(shape) for name, shape in shapes})
            loaded[shapes] = core.compile_model(model, "CPU", settings)
        compiled = loaded[shapes]
        names = [value.get_any_name() for value in compiled.outputs]
        return {name: value.copy() for name, value in zip(names, compiled(dict(inputs)).values(), strict=True)}

    return run


RUNTIMES = {"onnxruntime": onnxruntime, "openvino": openvino}


def main(runtime: str, graph: str, inputs: str, outputs: str, num_threads: str, precision: str) -> None:
    """All sets of inputs through the graph."""
    for name in ("torch", "ablation", "blocks", "studies"):
        sys.modules[name] = None  # type: ignore[assignment]
    run = RUNTIMES[runtime](graph, int(num_threads), precision)
    sets: dict[str, dict[str, Any]] = {}
    with np.load(inputs) as stored:
        for key in stored.files:
            number, _, name = key.partition("/")
            sets.setdefault(number, {})[name] = stored[key]
    np.savez(outputs, **{f"{number}/{name}": value for number, each in sets.items() for name, value in run(each).items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
