"""A network under a stack of remedies, ready to run: the interface of a `VAE`, for inference on one device.

Modules that are deployed in another form than they are trained in (reparameterised convolutions) are always so here. Steps:
`ablation.faster.steps`.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
import types
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.faster.graph import DECODER, ENCODER, RECONSTRUCTION, mean_of
from ablation.faster.in_runtime import InRuntime
from ablation.faster.steps import RULES, STEPS, check_steps, precision_of, rewritten, runtime_of
from ablation.machine.device import keeping_buffers, own_randomness
from ablation.measure.latency.timers import capture
from blocks.errors import must_be

_unique = itertools.count(1)
# network -> how its graphs were made -> graph -> ONNX: the same for every runtime
_exported: weakref.WeakKeyDictionary[VAE, dict[Any, dict[str, bytes]]] = weakref.WeakKeyDictionary()

Function = Callable[..., Any]


class Optimised(nn.Module):
    """`forward(x) -> (reconstruction, mean, log_var)`, `encode`, `decode`, the five parts and `spec`, as in `VAE`; inference only.

    Images float32 N x C x S x S on the device it was made for. Draws the noise of `forward` from torch's generator exactly as `VAE`
    does, so that both agree under one seed. With "mean only", log_var is None. With "upsample late", the last upsampling belongs to
    the part `output`. It can't be changed: a deep copy is itself, with its weights at another place in memory (`relocate`), and
    moving it to another device raises InputError. Not for several threads at once with "CUDA graph" or in another runtime.
    `calibration`: images for "int8".
    """

    parts = VAE.parts

    def __init__(self, model: VAE, steps: Sequence[str], place: torch.device, calibration: Tensor | None = None) -> None:
        super().__init__()
        check_steps(steps, place)
        self.encoder_body: nn.Module
        self.head: nn.Module
        self.stem: nn.Module
        self.decoder_body: nn.Module
        self.output: nn.Module
        self.steps = tuple(name for name in STEPS if name in steps)
        self.spec, self.place = model.spec, place
        runtime = runtime_of(self.steps)
        self.dtype = torch.bfloat16 if "bf16" in steps and runtime is None else torch.float32
        self.memory_format = torch.channels_last if "channels_last" in steps else torch.contiguous_format
        network = rewritten(model, self.steps).to(device=place, dtype=self.dtype)
        precision = precision_of(self.steps)
        if precision == "int8":
            check_calibration(calibration, model)
        self.elsewhere: InRuntime | None = None
        if runtime is not None:
            sample = "mean only" not in self.steps
            key = sample, tuple(step for step in self.steps if step in RULES), _digest(model)
            onnx = _exported.setdefault(model, {}).setdefault(key, {})
            self.elsewhere = InRuntime(network, runtime, sample=sample, precision=precision, calibration=calibration, onnx=onnx)
        for name in self.parts:
            setattr(self, name, getattr(network, name).to(memory_format=self.memory_format))
        super().train(False)
        # largest difference of any output from the eager network's, once measured (see `optimise.errors`); by output in `errors`
        self.max_error = float("nan")
        self.errors: dict[str, float] = {}
        self.prepare_s = 0.0
        # what `optimise` tried
        self.measured: tuple[Any, ...] = ()
        self._encode: Function = self._encoding
        self._mean: Function = self._encoding_mean
        self._decode: Function = self._decoding
        self._graphs: dict[str, _Replayed] = {}
        if "compile" in steps or "max-autotune" in steps:
            tuned = "max-autotune" in steps
            self._encode, self._mean, self._decode = (compiled(f, tuned=tuned) for f in (self._encode, self._mean, self._decode))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images -> (reconstruction, mean, log_var), in float32."""
        with torch.inference_mode():
            x = self._entering(x)
            replayed = self._graphs.get("forward")
            # a graph can't be replayed while somebody captures another one around it
            if replayed is not None and replayed.fits(x) and not torch.cuda.is_current_stream_capturing():
                outputs: tuple[Tensor, Tensor, Tensor | None] = replayed(x, self._noise(len(x)))
                return outputs
            return self._whole(x)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images -> mean and log-variance, each N x latent_dim, in float32."""
        with torch.inference_mode():
            if self.elsewhere is not None and "mean only" not in self.steps:
                mean, log_var = self.elsewhere(ENCODER, self._entering(x))
            else:
                mean, log_var = self._encode(self._entering(x))
            return mean.float(), log_var.float()

    def decode(self, z: Tensor) -> Tensor:
        """Latent vectors N x latent_dim -> images, in float32."""
        with torch.inference_mode():
            if self.elsewhere is not None:
                return self.elsewhere(DECODER, z.float())[0]
            image: Tensor = self._decode(z.to(self.dtype))
            return image.float()

    def prepare(self, x: Tensor) -> None:
        """Compile and capture for inputs like `x`; the time is kept in `prepare_s`. Raises whatever fails."""
        start = time.perf_counter()
        with keeping_buffers(self), own_randomness(self.place), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its compiler
            self(x)
            if "CUDA graph" in self.steps:
                with torch.inference_mode():
                    self._graphs["forward"] = _Replayed(self._whole, self._entering(x), self._noise(len(x)))
            if self.place.type == "cuda":
                torch.cuda.synchronize()
        self.prepare_s = time.perf_counter() - start

    def train(self, mode: bool = True) -> Optimised:
        """Evaluation mode only; InputError otherwise."""
        if mode:
            raise must_be("The mode of an optimised network", "evaluation", "training", "Train the model it was made from.")
        return self

    def _whole(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.elsewhere is not None:
            return self._in_runtime(self.elsewhere, x)
        if "mean only" in self.steps:
            mean = self._mean(x)
            return self._decode(mean).float(), mean.float(), None
        mean, log_var = (part.float() for part in self._encode(x))
        if noise is None:
            # behind the encoder as in `VAE`, since a piece may draw too
            noise = torch.randn_like(mean)
        z = mean + torch.exp(0.5 * log_var) * noise  # in float32 whatever the network computes in
        return self._decode(z.to(self.dtype)).float(), mean, log_var

    def _in_runtime(self, run: InRuntime, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        noise = self._noise(len(x))
        if noise is None:
            image, mean = run(RECONSTRUCTION, x)
            return image, mean, None
        image, mean, log_var = run(RECONSTRUCTION, x, noise)
        return image, mean, log_var

    def _noise(self, num: int) -> Tensor | None:
        return None if "mean only" in self.steps else torch.randn((num, self.spec.latent_dim), device=self.place)

    def _entering(self, x: Tensor) -> Tensor:
        return x.to(dtype=self.dtype, memory_format=self.memory_format)

    def _encoding(self, x: Tensor) -> Any:
        return self.head(self.encoder_body(x))

    def _encoding_mean(self, x: Tensor) -> Any:
        return mean_of(self, x)

    def _decoding(self, z: Tensor) -> Any:
        return self.output(self.decoder_body(self.stem(z)))

    def _apply(self, fn: Any, recurse: bool = True) -> Optimised:
        # what was compiled and captured holds on to its weights where they are: `to` may only ask for what is there
        probe = fn(torch.empty(0, device=self.place))
        if probe.device.type != self.place.type:
            rule = f"{self.place}, for which the network was optimised"
            raise must_be("device", rule, str(probe.device), "Call `optimise` for it.")
        return self

    def relocate(self) -> None:
        """Move the weights to memory that is allocated anew, as loading does, and capture graphs again; compiled code stays.

        Compiled code of torch 2.15 takes the weights as arguments, so that it uses them wherever they lie.
        """
        if self.elsewhere is not None:
            self.elsewhere.reload()
            return
        reallocate(self)
        with torch.inference_mode():
            self._graphs = {name: _Replayed(self._whole, graph.x, graph.noise) for name, graph in self._graphs.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimised:
        # code that was compiled for this network would have to be compiled again for a copy
        self.relocate()
        return self


def reallocate(module: nn.Module) -> None:
    """Move all parameters and buffers to memory that is allocated anew, each in the layout that it has."""
    with torch.inference_mode(False), torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = tensor.data.clone(memory_format=torch.preserve_format)


def check_calibration(images: Tensor | None, model: VAE) -> None:
    """InputError for what cannot be calibrated on."""
    shape = (model.spec.in_channels, model.spec.image_size, model.spec.image_size)
    rule = f"images N x {' x '.join(map(str, shape))} in float32 on the CPU for the step 'int8'"
    if images is None or not len(images) or (images.shape[1:], images.dtype, images.device.type) != (shape, torch.float32, "cpu"):
        got = None if images is None else f"{' x '.join(map(str, images.shape))}, {images.dtype}, {images.device}"
        raise must_be("calibration", rule, got, "Pass some dozens of training images.")


def _digest(model: nn.Module) -> bytes:
    digest = hashlib.blake2b(repr(model).encode())
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def compiled(function: Function, *, tuned: bool = False) -> Function:
    """`torch.compile` of a function for fixed shapes, its weights as constants; compiled at the first call."""
    # a code object of its own: torch.compile keeps what it compiled by code object, and after 8 networks through one it would
    # quietly run the next ones uncompiled
    name = f"optimised_{next(_unique)}"
    # on a machine without a GPU it warns, at the first compilation, that there is none
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

    def call(argument: Tensor) -> Any:
        return function(argument)

    alone = types.FunctionType(call.__code__.replace(co_name=name), call.__globals__, name, None, call.__closure__)
    options: dict[str, Any] = {"freezing": True, **({"max_autotune": True} if tuned else {})}
    made: Function = torch.compile(alone, dynamic=False, fullgraph=True, options=options)
    return made


class _Replayed:
    """A CUDA graph with inputs of its own; results are copied out, since the next replay overwrites them."""

    def __init__(self, function: Function, x: Tensor, noise: Tensor | None) -> None:
        self.x, self.noise = x.clone(), None if noise is None else noise.clone()
        self.out: Any = None

        def call() -> None:
            self.out = function(self.x, self.noise)

        self.graph = capture(call)

    def fits(self, x: Tensor) -> bool:
        return x.shape == self.x.shape

    def __call__(self, x: Tensor, noise: Tensor | None) -> Any:
        self.x.copy_(x)
        if noise is not None and self.noise is not None:
            self.noise.copy_(noise)
        self.graph.replay()
        return tuple(None if part is None else part.clone() for part in self.out)
