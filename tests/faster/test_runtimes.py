"""Other runtimes: every registered piece in each, threads, precisions, profiles, refusals, and runtimes that crash."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.design.spec import PIECE_FIELDS, PRESETS, preset
from ablation.export.formats import Format, OpenVinoFiles, TorchExport
from ablation.export.parity import eager_outputs, inputs_of
from ablation.faster import alone
from ablation.faster.graph import RECONSTRUCTION, exported, graphs, onnx_of
from ablation.faster.in_runtime import CrashError, outputs_alone
from ablation.faster.optimise import difference, errors, example, optimise, prepared
from ablation.faster.runtimes import RUNTIMES, OpenVino, kind_of, shares
from ablation.faster.steps import REWRITES
from ablation.measure.latency.compare import compare_latency
from blocks import FAMILIES
from blocks.errors import InputError
from tests.faster.test_optimise import MODIFIED, SMALL, network
from tests.faster.test_shared import SHARING
from tests.tiny_grid import SIZES

HERE = ("onnxruntime", "openvino")
SHORT, SHORT_MODIFIED = (spec.replace(**SIZES) for spec in (SMALL, MODIFIED))
PIECES = {field: FAMILIES[family].names() for field, family in PIECE_FIELDS.items()}


def every_piece() -> list[dict[str, object]]:
    """Swaps in which each piece stands once or more in each place: exporting takes long, and `test_optimise` tests each alone."""
    count = max(map(len, PIECES.values()))
    together: list[dict[str, object]] = [{field: names[i % len(names)] for field, names in PIECES.items()} for i in range(count)]
    dense = {"connectivity": "dense", "dense_bottleneck": True, "transposed": True}
    return [*together, dense, {"connectivity": "residual", "depth": 2}]


def at(model: VAE, runtime: str, *steps: str, num: int = 3) -> dict[str, float]:
    return errors(model, prepared(model, (*steps, runtime), example(model, num)), example(model, num, seed=4))


@pytest.mark.parametrize("swaps", every_piece())
def test_every_piece_agrees_with_eager_in_every_runtime_and_format(swaps: dict[str, object], tmp_path: Path) -> None:
    model = network(SHORT.replace(**swaps))
    check_runtimes(model)
    check_files(model, tmp_path, [RECONSTRUCTION])  # in which every piece is; presets are asked for all graphs


def check_runtimes(model: VAE) -> None:
    """Prepared for one batch size and asked for another, rewritten."""
    x, other = example(model, 3), example(model, 2, seed=4)
    for runtime in HERE:
        made = prepared(model, (*REWRITES, runtime), x)
        assert made.max_error < 1e-5, runtime
        assert max(errors(model, made, other).values()) < 1e-5, runtime


def check_files(model: VAE, folder: Path, names: Iterable[str]) -> None:
    """Written and read again: torch.export's program of these graphs, OpenVINO's of the reconstruction."""
    x = example(model, 3, seed=5)
    for graph in map(graphs(model).__getitem__, names):
        [inputs] = inputs_of(model, graph, x, 3)
        [expected] = eager_outputs(model, graph, [inputs])
        program = exported(graph)
        kinds: list[tuple[Format, Any]] = [(TorchExport(), program)]
        if graph.name == RECONSTRUCTION:
            kinds.append((OpenVinoFiles(), onnx_of(program, graph)))
        for kind, made in kinds:
            path = kind.path(folder, graph.name)
            if isinstance(kind, OpenVinoFiles):
                kind.save(made, path)
                outputs = dict(zip(graph.outputs, kind.loaded(path, graph)(x), strict=True))
            else:
                torch.export.save(made, path)
                [outputs] = kind.run(path, graph, [inputs])
            assert all(difference(outputs[key], expected[key]) < 1e-5 for key in graph.outputs), (kind.title, graph.name)


# narrower ones are the same, and `toledo_mask` has all of `toledo`
@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("small") and name != "toledo"])
def test_every_preset_agrees_with_eager_in_every_runtime_and_format(name: str, tmp_path: Path) -> None:
    spec = preset(name)
    model = network(spec if "toledo" in name else spec.replace(image_size=48))
    check_runtimes(model)
    check_files(model, tmp_path, graphs(model))


@pytest.mark.parametrize("share", SHARING)
def test_what_stands_in_several_places(share: Callable[[VAE], None]) -> None:
    model = network(SHORT_MODIFIED, 2)
    share(model)
    for runtime in HERE:
        assert max(at(model, runtime, *REWRITES).values()) < 1e-4, runtime


def test_encoder_and_decoder_run_there_too_and_the_mean_alone() -> None:
    model = network(SHORT)
    x = example(model, 2)
    for runtime in HERE:
        made = prepared(model, (runtime,), x)
        torch.testing.assert_close(made.encode(x), model.encode(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(made.decode(model.encode(x)[0]), model.decode(model.encode(x)[0]), atol=1e-5, rtol=1e-5)
        mean = prepared(model, ("mean only", runtime), x)
        assert mean.max_error < 1e-5
        assert mean(x)[2] is None


def test_weights_that_change_are_exported_again() -> None:
    model = network(SHORT)
    x = example(model, 2)
    prepared(model, ("onnxruntime",), x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert prepared(model, ("onnxruntime",), x).max_error < 1e-5
    model.output = nn.Sequential(model.output, nn.Sigmoid())
    assert prepared(model, ("onnxruntime",), x).max_error < 1e-5


def test_preparing_leaves_the_caller_s_generator_alone() -> None:
    model = network(SHORT)
    x, state = example(model, 2), torch.get_rng_state()
    prepared(model, ("openvino",), x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("runtime", HERE)
def test_threads_are_set_and_read_back(runtime: str) -> None:
    model, before = network(SHORT), torch.get_num_threads()
    made = prepared(model, (runtime,), example(model, 1))
    assert made.elsewhere is not None
    for num in (1, 2):
        compare_latency({"made": made}, num_threads=num, image_size=32, rounds=(2, 2), sittings=1)
        assert made.elsewhere.num_threads == num
    assert torch.get_num_threads() == before


def test_a_copy_is_loaded_anew_and_computes_the_same() -> None:
    model = network(SHORT)
    x = example(model, 2)
    for runtime in HERE:
        made = prepared(model, (runtime,), x)
        assert made.elsewhere is not None
        sessions = dict(made.elsewhere.sessions)
        assert copy.deepcopy(made) is made
        assert sessions.keys() == made.elsewhere.sessions.keys()
        assert all(made.elsewhere.sessions[key] is not session for key, session in sessions.items())
        assert max(errors(model, made, x).values()) < 1e-5


def test_reduced_precision_stands_apart_and_is_near() -> None:
    model = network(SHORT)
    x = example(model, 8)
    reduced = prepared(model, ("openvino", "int8"), x, example(model, 16, seed=2))
    exact = prepared(model, ("openvino",), x)
    assert exact.max_error < 1e-5 < reduced.max_error < 0.3
    fast = optimise(model, runtime="openvino", precision="int8", calibration=x, budget_s=1, tolerance=1.0)
    assert {each.steps for each in fast.measured} >= {("openvino",), ("openvino", "int8"), (*REWRITES, "openvino", "int8")}
    if "BF16" in _capabilities():
        assert 1e-6 < prepared(model, ("openvino", "bf16"), x).max_error < 5e-2


def _capabilities() -> list[str]:
    from ablation.faster.runtimes import openvino_core

    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def test_the_automatic_choice_tries_every_runtime_and_says_what_it_measured() -> None:
    model = network(SHORT)
    made = optimise(model, runtime="auto", compile=False, budget_s=2)
    tried = {candidate.steps: candidate for candidate in made.measured}
    assert {("onnxruntime",), ("openvino",), (*REWRITES, "openvino"), ()} <= set(tried)
    assert all(candidate.latency_ms and candidate.gain for candidate in tried.values())
    assert tried[made.steps].gain == max(candidate.gain or 0 for candidate in tried.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runtime": "tensorflow"}, "runtime must be one of auto, onnxruntime, openvino, tensorrt"),
        ({"runtime": "tensorrt"}, "runtime must be one that can be used here. Got 'tensorrt' instead. Does not run on cpu."),
        ({"steps": ["openvino", "compile"]}, "without what PyTorch alone does"),
        ({"steps": ["openvino", "onnxruntime"]}, "one runtime at most"),
        ({"steps": ["int8"]}, "must be used with 'openvino'"),
        ({"steps": ["openvino", "int8"]}, "calibration must be images"),
        ({"precision": "int8", "runtime": "openvino"}, "calibration must be images"),
        ({"steps": ["openvino", "int8"], "calibration": torch.rand(4, 3, 16, 16)}, "Got '4 x 3 x 16 x 16, torch.float32, cpu'"),
        ({"precision": "int8"}, "runtime must be one that computes in int8. Got None instead. .* these have int8: openvino."),
        ({"precision": "bfloat16", "runtime": "onnxruntime"}, "runtime must be one that computes in bfloat16"),
        ({"steps": ["fold"], "runtime": "auto"}, "runtime must be None where steps are named"),
        ({"steps": ["onnxruntime", "bf16"]}, "must be one of float32"),
    ],
)
def test_bad_requests_are_refused_in_one_line(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")) as refused:
        optimise(network(SMALL), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_a_runtime_that_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVino, "packages", ("no_such_package",))
    assert RUNTIMES["openvino"].missing("cpu") == "not installed: pip install no_such_package"
    with pytest.raises(InputError, match="Not installed: pip install no_such_package"):
        optimise(network(SHORT), runtime="openvino")
    assert all(
        "openvino" not in each.steps for each in optimise(network(SHORT), runtime="auto", compile=False, budget_s=1).measured
    )


class Drawing(nn.Module):
    """Looks at the values of its input, which no graph can."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_network_that_no_graph_expresses_leaves_the_other_stacks() -> None:
    model = network(SHORT)
    model.encoder_body = nn.Sequential(Drawing(), model.encoder_body)
    made = optimise(model, runtime="auto", compile=False, budget_s=1)
    reasons = {each.steps: each.reason for each in made.measured if each.reason}
    assert set(reasons) >= {("onnxruntime",), ("openvino",)}
    assert all("\n" not in reason and reason for reason in reasons.values())


def test_a_runtime_that_crashes_takes_nothing_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(alone.__file__).read_text(encoding="utf-8").replace("import onnxruntime\n", "import os; os.abort()\n", 1)
    (tmp_path / "alone.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr(alone, "__file__", str(tmp_path / "alone.py"))
    model = network(SHORT)
    graph = graphs(model)["decoder"]
    with pytest.raises(CrashError, match="ONNX Runtime ended with signal 6"):
        outputs_alone(onnx_of(exported(graph), graph), "onnxruntime", [{"latent": torch.zeros(2, 8)}])
    with pytest.raises(CrashError, match="OpenVINO ended with exit code 1: "):
        outputs_alone(b"no graph", "openvino", [{"latent": torch.zeros(2, 8)}])
    made = optimise(model, runtime="auto", compile=False, budget_s=1)
    reasons = {each.steps: each.reason for each in made.measured}
    assert "signal 6" in reasons[("onnxruntime",)]
    assert reasons[("openvino",)] == ""


def test_what_a_process_without_torch_and_this_package_computes_is_the_same(tmp_path: Path) -> None:
    model = network(SHORT)
    graph = graphs(model)["reconstruction"]
    path = tmp_path / "graph.onnx"
    path.write_bytes(onnx_of(exported(graph), graph))
    x = example(model, 2)
    for runtime in HERE:
        [outputs] = outputs_alone(path, runtime, [{"image": x}])
        torch.testing.assert_close(outputs["mean"], model.encode(x)[0], atol=1e-5, rtol=1e-5)
    code = "sys.modules[name] = None"
    assert code in Path(alone.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("runtime", HERE)
def test_a_profile_accounts_for_every_class(runtime: str) -> None:
    model = network(SHORT)
    x = example(model, 2)
    made = prepared(model, (runtime,), x)
    assert made.elsewhere is not None
    operations = made.elsewhere.operations(x)
    classes = {share.kind: share for share in shares(operations, runtime=runtime, network="first")}
    assert {"convolution", "linear"} <= set(classes)
    assert sum(share.share for share in classes.values()) == pytest.approx(1)
    assert sum(share.num_ops for share in classes.values()) == len(operations)
    assert classes["convolution"].ms > 0


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("Convert", "memory layout"), ("Convolution", "convolution"), ("ConvolutionBackpropData", "transposed convolution"),
        ("Gemm", "linear"), ("Concat", "concatenation"), ("Elu", "activation"), ("Interpolate", "upsampling and rearranging"),
        ("SomethingNew", "other"),
    ],
)  # fmt: skip
def test_operations_are_counted_in_their_class(operation: str, kind: str) -> None:
    assert kind_of(operation) == kind


def test_openvino_tells_nobody() -> None:
    from ablation.faster.runtimes import silent_openvino

    silent_openvino()
    assert sys.modules["openvino_telemetry"] is None


INTERRUPTED = """
import gc, os, signal, torch
from ablation import preset
from ablation.design.compose import build
from ablation.faster.optimise import prepared

model, x = build(preset("small"), seed=0).eval(), torch.rand(2, 3, 48, 48)
made = [prepared(model, ("openvino", *more), x, x) for more in ((), ("int8",), (), ("int8",))]
while made:
    del made[0]
    gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_is_handled_after_openvino_was_used_several_times() -> None:
    """A plugin of its own for each network took the stack of the signal handlers away with it: a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
