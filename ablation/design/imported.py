"""A function named by where it stands, `package.module:name`: imported, and identified by its source."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ablation.design.call_text import EXAMPLE
from ablation.machine.text import first_line
from blocks.errors import must_be, near

MAIN = "__main__"  # what a script or a notebook defines


def import_callable(
    path: str, what: str = "A network", gives: str = "a callable that returns a module", example: str = EXAMPLE
) -> Callable[..., Any]:
    """The callable at 'package.module:name'; the current folder's own modules come first. InputError where there is none."""
    module_name, _, name = path.partition(":")
    if (here := os.getcwd()) not in sys.path:  # the user's own modules lie where the command is run
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = "There is no such module." if error.name and f"{module_name}.".startswith(f"{error.name}.") else f"{error}."
        raise must_be(what, f"importable, as {example}", path, missing) from None
    except (Exception, SystemExit) as error:  # a script that ends when it is imported
        raise must_be(what, "importable", path, f"{type(error).__name__}: {first_line(error)}.") from None
    for part in name.split("."):
        if not hasattr(found, part):
            if module_name == MAIN:
                raise must_be(what, "in a module that can be imported", path, "A notebook or a script defined it.")
            names = [each for each in dir(found) if callable(getattr(found, each)) and not each.startswith("_")]
            raise must_be(what, f"a callable of {module_name}", name, near(part, names, "It has none of that name."))
        found = getattr(found, part)
    if not callable(found):
        raise must_be(what, gives, f"{path}, which is {type(found).__name__}")
    return found


def path_of(function: Callable[..., Any], what: str) -> str:
    """'package.module:name' of a function at the top level of a module or a notebook; InputError for any other.

    >>> path_of(import_callable("torch.nn:Linear"), "A network")
    'torch.nn.modules.linear:Linear'
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or "<" in name or not all(part.isidentifier() for part in name.split(".")):
        rule = "a function or a class at the top level of a module or a notebook"
        raise must_be(what, rule, repr(function), "A study finds it by its name again, when it goes on.")
    return f"{module}:{name}"


def source_of(function: Callable[..., Any]) -> str:
    """Digest of the file that a callable stands in, in a script or a notebook of its own lines; empty for what has none."""
    return _digest(inspect.unwrap(function))


@cache  # as it was when it was first asked for: a file that is edited since says nothing of the function that is loaded
def _digest(inner: Callable[..., Any]) -> str:
    try:
        if getattr(inner, "__module__", "") == MAIN:
            text = inspect.getsource(inner).encode()
        else:
            text = Path(inspect.getsourcefile(inner) or "").read_bytes()
        return hashlib.sha256(text).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
