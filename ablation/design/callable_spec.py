"""A network named by where it is made: any callable that returns a module, its arguments, and the inputs that it takes.

Written `package.module:callable`, with arguments as in Python where it has any: `my_nets:make(width=32, dense=True)`. Its
identity is path, arguments, inputs and the source of the callable's module: another file makes another network. What that module
imports is no part of it.

Inputs, without the batch: "3x224x224" are floats in [0, 1), "128:30522" 128 whole numbers below 30,522. Several are given in the
order of `forward`. Without any, the module's own `example_input()` says them: a tensor, or several, with a batch before all else.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ablation.design.call_text import parsed
from ablation.design.imported import import_callable, source_of
from ablation.design.inputs import Input, with_own_inputs
from ablation.machine.text import first_line
from blocks.errors import InputError, must_be

if TYPE_CHECKING:
    from torch import Tensor, nn

LEFT_OUT = "left out"  # in place of an argument's value


@dataclass(frozen=True, kw_only=True)
class CallableSpec:
    """A network as the call that makes it.

    >>> spec = CallableSpec(path="torch.nn:Linear", arguments={"in_features": 4, "out_features": 2}, inputs=(Input((4,)),))
    >>> spec.build(seed=0)
    Linear(in_features=4, out_features=2, bias=True)
    >>> spec.replace(out_features=3).text
    'torch.nn:Linear(in_features=4, out_features=3)'
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # by name; plain values
    inputs: tuple[Input, ...] = ()

    @classmethod
    def read(cls, text: str, inputs: Sequence[str] = ()) -> CallableSpec:
        """From 'package.module:callable(argument=value)'. InputError for what can't be imported, called or run."""
        spec = cls.parse(text, inputs)
        spec = replace(spec, arguments=spec.bound((), spec.arguments))
        spec.tried()
        return spec if spec.inputs else replace(spec, inputs=spec.own_inputs())

    @classmethod
    def parse(cls, text: str, inputs: Sequence[str] = ()) -> CallableSpec:
        """The same, of which nothing is made yet: arguments may be lacking, for a space to add them."""
        path, arguments, positional = parsed(text)
        spec = cls(path=path, inputs=tuple(map(Input.read, inputs)))
        return replace(spec, arguments=spec.bound(positional, arguments, partial=True))

    @property
    def text(self) -> str:
        """As it is written."""
        inner = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.path}({inner})" if inner else self.path

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input of the module that `build` gives, without the batch."""
        return self.inputs[0].shape if self.takes_one else (1,)

    @property
    def takes_one(self) -> bool:
        """Whether the network takes one tensor of floats, as it stands."""
        return len(self.inputs) == 1 and not self.inputs[0].below

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The callable; InputError where it can't be imported."""
        return import_callable(self.path)

    def bound(self, positional: Sequence[Any], arguments: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
        """The arguments by name; InputError for those that the callable doesn't take and, unless `partial`, that it lacks."""
        function = self.function
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some written in C say nothing of their parameters
            if positional:
                raise must_be("Arguments of a network", "named, as in width=32", list(positional)) from None
            return dict(arguments)
        try:
            given = (signature.bind_partial if partial else signature.bind)(*positional, **arguments).arguments
        except TypeError as error:
            got = ", ".join([*map(repr, positional), *(f"{name}={value!r}" for name, value in arguments.items())])
            takes = f"It takes {signature}." if len(str(signature)) < 200 else ""
            rule = f"those that {self.path} takes ({error})"
            raise must_be("The arguments of a network", rule, f"({got})", takes) from None
        kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
        named = {name: value for name, value in given.items() if kinds[name] != inspect.Parameter.VAR_KEYWORD}
        for name, value in given.items():
            if kinds[name] == inspect.Parameter.VAR_KEYWORD:
                named |= value
            if kinds[name] in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                raise must_be("Arguments of a network", "such as can be named, as in width=32", list(positional))
        # a default that is written out makes no other network
        return {name: value for name, value in named.items() if name not in self.defaults or self.defaults[name] != value}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The arguments that the callable has by itself, in its order."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):
            return {}
        return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}

    def build(self, seed: int | None = None) -> nn.Module:
        """The module on the CPU, in the mode in which the callable leaves it; weights from `seed`, the global generator left alone.

        Of several inputs, or whole numbers, it holds its own and takes one tensor that stands for them (`with_own_inputs`).
        InputError where the callable refuses its arguments or returns no module.
        """
        made = self.build_plain(seed)
        return made if self.takes_one or not self.inputs else with_own_inputs(made, self.inputs)

    def build_plain(self, seed: int | None = None) -> nn.Module:
        """The same as the callable makes it, whatever its inputs."""
        import torch

        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            return self._made()

    def _made(self) -> nn.Module:
        from torch import nn

        function = self.function
        try:
            made = function(**self.arguments)
        except Exception as error:  # whatever the callable raises at these arguments
            reason = first_line(error, type(error).__name__)
            raise InputError(f"{self.text} cannot be made: {reason}") from error
        if not isinstance(made, nn.Module):
            raise must_be(f"What {self.text} returns", "a torch.nn.Module", type(made).__name__)
        return made.to("cpu") if any(p.device.type not in ("cpu", "meta") for p in made.parameters()) else made

    def tried(self) -> nn.Module:
        """The module, made twice and run once on a batch of 2; InputError where the two differ, or it doesn't take its inputs."""
        import torch

        made, again = (self.build(seed=0) for _ in range(2))
        shapes, others = ({name: tuple(value.shape) for name, value in each.state_dict().items()} for each in (made, again))
        if shapes != others:
            differing = sorted(name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name))
            raise must_be(self.text, "the same network at every call", f"other parameters, such as {differing[0]}")
        memory, shared = ({value.untyped_storage()._cdata for value in each.parameters()} for each in (made, again))
        if made is again or memory & shared:
            rule = "a new network at every call: one that is kept would go on with the weights of the trial before"
            raise must_be(self.text, rule, "the same one" if made is again else "the same parameters")
        inputs = self.inputs or self.own_inputs(made)
        try:
            with torch.no_grad():
                made.eval()(*_arguments(self, inputs))
        except Exception as error:
            rule = f"a network that runs on {', '.join(map(str, inputs))} (its input)"
            raise must_be(self.text, rule, f"{type(error).__name__}: {first_line(error)}") from None
        return made

    def own_inputs(self, module: nn.Module | None = None) -> tuple[Input, ...]:
        """What `example_input()` of the module says; InputError where it has none."""
        import torch
        from torch import Tensor

        example = getattr(module or self.build(seed=0), "example_input", None)
        if example is None:
            remedy = "For example --input 3x224x224; or give the module a method example_input()."
            raise must_be("The input", f"given for {self.path}", None, remedy)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            try:
                values = example()
            except Exception as error:  # whatever the user's method raises
                raise must_be(
                    "example_input()", "a method that returns inputs", f"{type(error).__name__}: {first_line(error)}"
                ) from error
        several = [values] if isinstance(values, Tensor) else list(values) if isinstance(values, (list, tuple)) else [values]
        if not all(isinstance(value, Tensor) and value.dim() > 1 for value in several):
            rule = "a tensor or several, with the batch before all else"
            raise must_be("What example_input() returns", rule, type(values).__name__)
        return tuple(Input(tuple(v.shape[1:]), 0 if v.is_floating_point() else int(v.max()) + 1) for v in several)

    def replace(self, **arguments: Any) -> CallableSpec:
        """With some arguments changed, or LEFT_OUT; InputError where the callable refuses them."""
        values = {**self.arguments, **arguments}
        made = replace(self, arguments=self.bound((), {name: value for name, value in values.items() if value != LEFT_OUT}))
        made.build_without_weights()
        return made

    def build_without_weights(self) -> nn.Module:
        """The module on the meta device; with weights that nobody set where it looks at values while it is made."""
        import torch

        try:
            with torch.device("meta"):
                return self.build()
        except Exception:
            with _uninitialised():
                return self.build()  # raises again what has nothing to do with values

    @cached_property
    def network_key(self) -> str:
        """16 hex digits that identify the network."""
        facts = {**self.to_dict(), "source": self.source}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:16]

    @property
    def intent_key(self) -> str:
        """The same: what an argument does is not known."""
        return self.network_key

    @cached_property
    def source(self) -> str:
        """Digest of the file that the callable stands in; empty for what has none."""
        return source_of(self.function)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"callable": self.path, "arguments": dict(self.arguments), "inputs": list(map(str, self.inputs))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CallableSpec:
        """The inverse of `to_dict`."""
        inputs = tuple(map(Input.read, values["inputs"]))
        return cls(path=values["callable"], arguments=dict(values["arguments"]), inputs=inputs)

    @property
    def code(self) -> str:
        """Lines of Python that make the module."""
        module, _, name = self.path.partition(":")
        first, *_ = name.split(".")
        inner = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"from {module} import {first}\n\nmodel = {name}({inner})\n"


def _arguments(spec: CallableSpec, inputs: Sequence[Input]) -> list[Tensor]:
    """Values for the module that `build` gave: all inputs, or one that stands for those that it holds."""
    import torch

    if spec.inputs and not spec.takes_one:
        return [torch.zeros(2, 1)]
    return [each.values(2) for each in inputs]


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Inside, modules do not fill their weights: memory that nothing writes to costs nothing, however large it is."""
    from torch.nn import init

    kept = {name: function for name, function in vars(init).items() if name.endswith("_") and callable(function)}
    try:
        for name in kept:
            setattr(init, name, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for name, function in kept.items():
            setattr(init, name, function)
