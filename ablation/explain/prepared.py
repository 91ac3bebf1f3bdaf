"""Any module under a stack of steps, for inference: what `ablation.faster.Optimised` is to the networks of this project."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ablation.design.compose import VAE
from ablation.design.inputs import holds_inputs
from ablation.faster import alone
from ablation.faster.examples import example_faces
from ablation.faster.fold_traced import fold_traced
from ablation.faster.graph import Graph, exported, onnx_of
from ablation.faster.in_runtime import outputs_alone
from ablation.faster.optimise import difference
from ablation.faster.optimise import prepared as optimised
from ablation.faster.optimised import Optimised, compiled, reallocate
from ablation.faster.rewrite import rewrite
from ablation.faster.runtimes import RUNTIMES, Session
from ablation.faster.steps import RULES, precision_of, runtime_of
from ablation.machine.device import keeping_buffers
from ablation.measure.costs.static import image_shape
from blocks.errors import must_be

# steps that need to know nothing of a network; of the rules folding finds its layers by tracing, the others in `nn.Sequential`s
STEPS = (*RULES, "bf16", "channels_last", "compile", "max-autotune", *RUNTIMES)
# those that would compute what a network makes of its own inputs beforehand, and time nothing
FOLDING = ("compile", "max-autotune", *RUNTIMES)
NUM_CALIBRATED = 32


def common_shape(models: Sequence[nn.Module], shape: tuple[int, ...] | None, image_size: int | None = None) -> tuple[int, ...]:
    """The shape of one input, where it isn't given that of the networks' own images; InputError where these differ."""
    shapes = [shape or image_shape(model, image_size) for model in models]
    if len(set(shapes)) > 1:
        raise must_be("Channels and size of the images", "the same for both networks", shapes)
    return shapes[0]


class Prepared(nn.Module):
    """`forward(x)` of any module that takes one tensor, in float32. A deep copy is itself, with its weights moved in memory."""

    def __init__(self, model: nn.Module, steps: Sequence[str]) -> None:
        super().__init__()
        self.steps, runtime = tuple(steps), runtime_of(steps)
        self.dtype = torch.bfloat16 if "bf16" in steps and runtime is None else torch.float32
        self.memory_format = torch.channels_last if "channels_last" in steps else torch.contiguous_format
        rewritten = rewrite(model, [rule for name, rule in RULES.items() if name in steps])
        self.network = (fold_traced(rewritten) if "fold" in steps else rewritten).to(dtype=self.dtype)
        if "channels_last" in steps:
            self.network.to(memory_format=torch.channels_last)
        tuned = "max-autotune" in steps
        self.elsewhere = Elsewhere(self.network, runtime, precision_of(steps)) if runtime else None
        function: Any = compiled(self.network, tuned=tuned) if tuned or "compile" in steps else self.network
        self.function = self.elsewhere or function
        self.errors: dict[str, float] = {}
        self.max_error, self.prepare_s = float("nan"), 0.0

    def forward(self, x: Tensor) -> Any:
        """What the module gives for `x`."""
        ordered = x.contiguous(memory_format=self.memory_format) if x.dim() == 4 else x
        with torch.inference_mode():
            out = self.function(ordered.to(self.dtype))
        return tree_map(lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, out)

    def _apply(self, fn: Any, recurse: bool = True) -> Prepared:
        # what was prepared keeps its precision and, if compiled, its place
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Prepared:
        if self.elsewhere is not None:
            self.elsewhere.reload()
        else:
            reallocate(self)
        return self


def relative_difference(a: Tensor, b: Tensor) -> float:
    """Largest difference of `a` from `b` as a share of b's largest value: nothing is known of how large an output is."""
    scale = b.double().abs().max().clamp(min=torch.finfo(torch.float64).tiny) if b.numel() else 1.0
    return difference(a.double() / scale, b.double() / scale)


class Elsewhere:
    """The outputs of a module, one after the other, computed in another runtime; loaded for each shape of its input."""

    def __init__(self, network: nn.Module, runtime: str, precision: str) -> None:
        self.network, self.runtime, self.precision = network, runtime, precision
        self.graphs: dict[tuple[int, ...], bytes] = {}
        self.place = next((p.device for p in network.parameters()), torch.device("cpu"))
        self.sessions: dict[tuple[int, ...], Session] = {}
        # as the runtime said of the last session
        self.num_threads: int | None = None

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        key = tuple(x.shape)
        if key not in self.sessions:
            self.sessions[key] = self.session(x)
        return self.sessions[key](x)

    def session(self, x: Tensor, *, profile: bool = False) -> Session:
        """Loaded for inputs of this shape, with torch's current number of threads. CrashError where the runtime crashes on it."""
        if tuple(x.shape) not in self.graphs:
            self.graphs[tuple(x.shape)] = self._exported(x)
        made = RUNTIMES[self.runtime](self.graphs[tuple(x.shape)], [x], precision=self.precision, profile=profile)
        self.num_threads = made.num_threads
        return made

    def reload(self) -> None:
        """Load anew what is loaded, into other memory: the old sessions go only when the new ones are there."""
        self.sessions = {key: self.session(torch.zeros(key, device=self.place)) for key in self.sessions}

    def operations(self, x: Tensor) -> list[tuple[str, float]]:
        """(type, ms) of the operations of a call, by the runtime's own profiler."""
        return self.session(x, profile=True).operations(x)

    def _exported(self, x: Tensor) -> bytes:
        with torch.no_grad():
            count = len([leaf for leaf in tree_leaves(self.network(x)) if isinstance(leaf, Tensor)])
        outputs = tuple(f"output {number}" for number in range(count))
        graph = Graph(name="network", module=self.network, inputs=("x",), outputs=outputs, example=(x,))
        made = onnx_of(exported(graph, any_batch=False), graph, any_batch=False)
        if self.runtime in alone.RUNTIMES and x.device.type == "cpu":
            outputs_alone(made, self.runtime, [{"x": x}], precision=self.precision)
        return made


def prepared(model: nn.Module, steps: Sequence[str], x: Tensor) -> Optimised | Prepared:
    """The stack of steps on a network in evaluation mode, prepared for inputs like `x`, with its errors. Raises whatever fails."""
    if isinstance(model, VAE):
        calibration = example_faces(NUM_CALIBRATED, *x.shape[1:3]) if "int8" in steps else None
        return optimised(model, steps, x, calibration)
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise must_be("The network", "a VAE that `ablation.build` made", type(model).__name__, f"For: {', '.join(unknown)}.")
    if holds_inputs(model) and (named := [step for step in steps if step in FOLDING]):
        raise must_be("The network", "of one input of floats", "several inputs, or whole numbers", f"For: {', '.join(named)}.")
    start = time.perf_counter()
    made = Prepared(model, steps)
    with keeping_buffers(model, made), torch.inference_mode(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its compiler
        made(x)
        made.prepare_s = time.perf_counter() - start
        outputs = []
        for network in (made, model):
            torch.manual_seed(0)
            outputs.append([leaf for leaf in tree_leaves(network(x)) if isinstance(leaf, Tensor)])
    made.errors = {f"output {n}": relative_difference(a, b) for n, (a, b) in enumerate(zip(*outputs, strict=True))}
    made.max_error = max(made.errors.values())
    return made
