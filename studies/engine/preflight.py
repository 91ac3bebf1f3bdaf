"""Each network tried on two images before anything is timed or trained, so that what cannot work is known at the start.

A training step tells whether it builds, runs and learns at the study's size. Where a piece is a user's own, what it returns is
looked at, and a second network with the same saved state has to compute the same: what a piece keeps anywhere else is missing
after a stop, and in the weights of the best epoch. Pieces of ours are held to that by their tests.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import FAMILY_FIELDS, ModelSpec
from ablation.measure.costs.static import static_cost
from ablation.train.learner import Learner
from blocks import FAMILIES
from studies.store.retry import may_pass

NUM_IMAGES = 2
# relative and absolute difference up to which two outputs are the same; a GPU may choose another algorithm
CLOSE = {"cpu": (1e-3, 1e-4), "cuda": (1e-2, 1e-3)}
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of trying a network."""

    reason: str = ""  # why it can't be studied; empty where it can
    note: str = ""  # what a person should know of it all the same


class _Unfit(Exception):  # noqa: N818 -- an outcome
    """Why a network can't be studied, in words."""


def check_network(spec: ModelSpec, protocol: Protocol, device: str, *, last_batch: int = NUM_IMAGES) -> Finding:
    """Tries a network; `last_batch` is the size of an epoch's last batch. What may pass the next time is left to the trial."""
    try:
        with _seeded(device):
            finding = _try(spec, replace(protocol, compile=False), torch.device(device), last_batch)
            static_cost(spec)  # last: of an error that a run has too, torch would log a traceback here
            return finding
    except _Unfit as error:
        return Finding(reason=str(error))
    except Exception as error:
        return Finding() if may_pass(error) else Finding(reason=f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def _seeded(device: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=["cuda"] if device == "cuda" else []):
        torch.manual_seed(0)
        yield


def _try(spec: ModelSpec, protocol: Protocol, place: torch.device, last_batch: int) -> Finding:
    model = build(spec, seed=0)
    learner = Learner(model, protocol, place)
    x = torch.rand(NUM_IMAGES, spec.in_channels, spec.image_size, spec.image_size, device=place)
    mask = torch.ones(NUM_IMAGES, spec.image_size, spec.image_size, device=place) if protocol.mask_weight else None
    if protocol.uses_channels_last(place.type):
        x = x.contiguous(memory_format=torch.channels_last)
    if last_batch == 1:
        _check_batch_of_one(model, x[:1])
    if _is_ours(spec):
        _step(learner, x, mask)
        return Finding()
    _check_outputs(model, spec, x)
    _step(learner, x, mask)
    before = state_elsewhere(model)
    _step(learner, x, mask)
    after = state_elsewhere(model)
    changed = [name for name, value in after.items() if before.get(name) != value]
    again = Learner(build(spec, seed=1), protocol, place).model  # in the same memory format, which decides where noise falls
    again.load_state_dict(model.state_dict())
    _check_same(model, again, x, changed)
    if not changed:
        return Finding()
    kept = f"{_listed(changed)} changes in training and is not saved: after a stop it begins anew. Make it a buffer if it matters"
    return Finding(note=kept)


def _is_ours(spec: ModelSpec) -> bool:
    pieces = (FAMILIES[family].get(piece) for name, family in FAMILY_FIELDS.items() for piece in spec.pieces(name))
    return all(piece.__module__.startswith("blocks.") for piece in pieces)


def _check_outputs(model: nn.Module, spec: ModelSpec, x: Tensor) -> None:
    """Shapes and numbers of what a network returns, in both modes."""
    wanted = {"reconstruction": tuple(x.shape), "mean": (len(x), spec.latent_dim), "log_var": (len(x), spec.latent_dim)}
    for training in (False, True):
        with torch.no_grad():
            outputs = model.train(training)(x)
        for (name, shape), value in zip(wanted.items(), outputs, strict=True):
            if tuple(value.shape) != shape:
                raise _Unfit(f"the {name} must have the shape {shape}. Got {tuple(value.shape)} instead: a piece changes it")
            if not bool(value.isfinite().all()):
                raise _Unfit(f"the {name} holds numbers that are not finite before any training")


def _check_batch_of_one(model: nn.Module, x: Tensor) -> None:
    """An epoch's last batch may be one image, which has no spread that a batch norm on 1 x 1 pixels could divide by."""
    try:
        with torch.no_grad():
            model.train()(x)
    except ValueError as error:
        remedy = "Take another --batch-size or number of --images, so that more is left for the last batch."
        raise _Unfit(f"the last batch of an epoch is one image: {error}. {remedy}") from error


def _step(learner: Learner, x: Tensor, mask: Tensor | None) -> None:
    learner.model.train()
    loss = float(learner.step(x, mask)[0])
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise _Unfit("the loss is not finite in the first two steps of training")


def _check_same(model: nn.Module, again: nn.Module, x: Tensor, changed: list[str]) -> None:
    """Whether a network made anew from what is saved computes the same, in both modes."""
    relative, absolute = CLOSE[x.device.type]
    for training in (True, False):
        outputs = []
        for network in (model, again):
            torch.manual_seed(1)
            with torch.no_grad():
                outputs.append(network.train(training)(x))
        if not all(torch.allclose(a, b, rtol=relative, atol=absolute) for a, b in zip(*outputs, strict=True)):
            state = _listed(changed) if changed else "state, or another random generator than torch's,"
            raise _Unfit(
                f"it computes something else when its saved weights are loaded: {state} is kept outside of parameters and buffers. "
                "Register it as a buffer"
            )


def state_elsewhere(model: nn.Module) -> dict[str, bytes]:
    """Attributes of modules that `state_dict` does not hold, by name, as bytes to compare; what can't be pickled is left out."""
    state: dict[str, bytes] = {}
    for path, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            continue  # it saves what else it has
        values = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
        values |= {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        for name, value in values.items():
            try:
                plain = value.get_state() if isinstance(value, torch.Generator) else value
                state[".".join(part for part in (path, name) if part)] = pickle.dumps(plain)
            except Exception:
                continue  # a function, a lock: no state of a training
    return state


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
