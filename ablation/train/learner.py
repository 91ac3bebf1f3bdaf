"""A network with its optimiser, precision and noise: one training step, and all the state from which training goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.protocol import Protocol
from ablation.measure.quality.losses import check_masks, loss_parts, outputs, part_names


def columns(protocol: Protocol) -> tuple[str, ...]:
    """What a step returns, in this order; the same as ever for the default protocol, so that its checkpoints still fit."""
    return (*part_names(protocol), "grad_norm")


class Learner:
    """Adam on a VAE under a protocol, on one device. Nothing here waits for the device but `state`."""

    def __init__(self, model: nn.Module, protocol: Protocol, device: torch.device) -> None:
        check_masks(model, protocol)
        self.model, self.protocol, self.device = model.to(device), protocol, device
        if protocol.uses_channels_last(device.type):
            self.model.to(memory_format=torch.channels_last)
        self.network: Callable[..., Any] = torch.compile(model) if protocol.compile else model
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=protocol.learning_rate, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=protocol.precision == "float16")

    def step(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """One update; what `columns` names as one tensor on the device. The gradient's norm is the global one, before any clipping.

        `mask`: N x S x S, 1 on the face; given exactly where the protocol has a mask weight.
        """
        with self.autocast():
            reconstruction, mean, log_var, *logits = outputs(self.network, x, mask)
        parts = loss_parts(reconstruction, x, mean, log_var, self.protocol, mask, *logits)
        self.scaler.scale(parts.total).backward()
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.protocol.clip_norm:
            clip_each(gradients, self.protocol.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack([*parts, norm]).detach()

    def autocast(self) -> AbstractContextManager[Any]:
        """The protocol's precision, for forward passes."""
        if self.protocol.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.protocol.precision))

    def weights(self) -> dict[str, Tensor]:
        """A copy of parameters and buffers, on the device."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Weights, optimiser, loss scale and the state of the noise, for `load_state`."""
        noise = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            noise["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "noise": noise,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, but for the noise: see `load_noise`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def load_noise(self, noise: dict[str, Tensor]) -> bool:
        """Noise goes on where it stopped; False where it was another device's, so that it cannot."""
        torch.set_rng_state(noise["cpu"])
        if self.device.type == "cuda" and "cuda" in noise:
            torch.cuda.set_rng_state(noise["cuda"], self.device)
        return (self.device.type == "cuda") == ("cuda" in noise)


def clip_each(gradients: list[Tensor], largest: float) -> None:
    """Scales down every tensor whose own norm is above `largest` to that norm, in place, as Keras' `clipnorm` does."""
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = largest / norms.clamp_min(largest)  # 1 where a norm is small enough
    torch._foreach_mul_(gradients, list(factors.unbind()))
