"""A training function of the user's own: named by where it stands, called with what it takes, held to the metrics that it declares.

    def train(network, seed, report, should_stop): ...  # -> {"accuracy": 0.93}

`network`: the module, its weights drawn from the seed, on the study's device. `report(epoch, value)` gives curves; `value` is one
of the first metric. `should_stop()` says whether to return early: what is returned then does not count, and the trial begins anew
when the study goes on. `folder` is the trial's own, kept until it is complete, for checkpoints of the function's own. It may leave
out what it doesn't need, but for `network`, and take arguments of its own, which `train = "my_training:train(epochs=3)"` sets.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ablation.design.call_text import parsed
from ablation.design.imported import import_callable, source_of
from ablation.machine.device import all_seeded
from ablation.machine.text import first_line
from ablation.record.trial import Metric, own_metrics
from blocks.errors import must_be

WHAT, EXAMPLE = "train", "my_training:train or my_training:train(epochs=3)"
GIVEN = ("network", "seed", "report", "should_stop", "folder")  # what a function may take by these names
Report = Callable[[int, float], None]


class MetricsError(Exception):
    """A training function returned something else than its metrics; in one line."""


class OwnError(Exception):
    """A training function raised; the message says what, and where in the user's own file."""


@dataclass(frozen=True, kw_only=True)
class TrainingFunction:
    """A function that trains a network and returns its metrics, with arguments of its own.

    >>> TrainingFunction.read("my_training:train(epochs=3)", {"accuracy": "higher"}).text
    'my_training:train(epochs=3)'
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any]  # metrics, as `own_metrics` reads them

    @classmethod
    def read(cls, text: str, about: Mapping[str, Any]) -> TrainingFunction:
        """From 'package.module:function(argument=value)'; InputError for what is none. Nothing is imported."""
        path, arguments, positional = parsed(text, WHAT, EXAMPLE)
        if positional:
            raise must_be(f"Arguments of {WHAT}", "named, as in epochs=3", text)
        own_metrics(about)
        return cls(path=path, arguments=arguments, about=about)

    @property
    def text(self) -> str:
        """As it is written."""
        inner = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.path}({inner})" if inner else self.path

    @property
    def metrics(self) -> dict[str, Metric]:
        """What it returns, by name; the first is what networks are ranked by."""
        return own_metrics(self.about)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function; InputError where it can't be imported, or takes something else than it is given."""
        found = import_callable(self.path, WHAT, "a function", EXAMPLE)
        signature = inspect.signature(found)
        if "network" not in signature.parameters:
            raise must_be(WHAT, f"a function of network, and of any of {', '.join(GIVEN[1:])}", f"{self.path}{signature}")
        try:
            signature.bind(**dict.fromkeys(self._taken(found)), **self.arguments)
        except TypeError as error:
            raise must_be(WHAT, f"called with what {self.path} takes ({error})", self.text, f"It takes {signature}.") from None
        return found

    @property
    def reports(self) -> bool:
        """Whether it says how far it is, so that a training may be stopped early."""
        return {"report", "should_stop"} <= set(self._taken(self.function))

    @property
    def source(self) -> str:
        """Digest of the file that it stands in."""
        return source_of(self.function)

    def _taken(self, function: Callable[..., Any]) -> list[str]:
        """Which of what is given the function takes."""
        parameters = inspect.signature(function).parameters
        any_name = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        return [name for name in GIVEN if (name in parameters or any_name) and name not in self.arguments]

    def __call__(
        self,
        network: nn.Module,
        seed: int,
        *,
        report: Report = lambda epoch, value: None,
        should_stop: Callable[[], bool] = lambda: False,
        folder: Path = Path(),
    ) -> dict[str, float]:
        """Train; the metrics, as numbers, with those that no one declared last. MetricsError for others, OwnError where it raises.

        Draws of torch, numpy and random begin from the seed, and leave the caller's generators as they were.
        """
        given = {"network": network, "seed": seed, "report": report, "should_stop": should_stop, "folder": folder}
        with all_seeded(seed):
            try:
                returned = self.function(**{name: given[name] for name in self._taken(self.function)}, **self.arguments)
            except Exception as error:
                raise OwnError(f"{type(error).__name__}: {first_line(error, '')}{_place(error, self.function)}") from error
        return {} if should_stop() else self._checked(returned)

    def _checked(self, returned: Any) -> dict[str, float]:
        names = list(self.metrics)
        if not isinstance(returned, Mapping):
            wanted = ", ".join(f'"{name}": number' for name in names)
            raise MetricsError(f"{self.path} must return {{{wanted}}}. Got {type(returned).__name__} instead")
        if missing := [name for name in names if name not in returned]:
            got = ", ".join(map(str, returned)) or "nothing"
            raise MetricsError(f"{self.path} must return {', '.join(names)}. Got {got} instead, without {', '.join(missing)}")
        values = {str(name): _number(returned[name]) for name in (*names, *(name for name in returned if name not in names))}
        wrong = [name for name in names if values[name] is None or not math.isfinite(values[name] or 0.0)]
        if wrong:
            raise MetricsError(f"{wrong[0]} must be a finite number. {self.path} returned {returned[wrong[0]]!r}")
        return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"train": self.text, "metrics": dict(self.about)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingFunction:
        """The inverse of `to_dict`."""
        return cls.read(values["train"], values["metrics"])


def _number(value: Any) -> float | None:
    """A number, a tensor of one or the like as a number; None for anything else."""
    try:
        plain = value.detach() if isinstance(value, Tensor) else value
        return None if isinstance(plain, (bool, str)) else float(plain)
    except (TypeError, ValueError, RuntimeError):
        return None


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """' (my_training.py, line 12)', the last line of the function's own file that was running."""
    own = inspect.unwrap(function).__code__.co_filename if hasattr(inspect.unwrap(function), "__code__") else ""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" ({Path(own).name}, line {lines[-1].lineno})" if lines else ""
