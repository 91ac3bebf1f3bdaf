"""Modules of a user's own that register pieces when they are imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from ablation.machine.text import first_line
from blocks.errors import InputError


def load_plugins(names: Sequence[str]) -> None:
    """Import modules that register pieces of the user's own; they may lie in the current folder."""
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except InputError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"--plugin must be a module that can be imported from here. Got {name!r} instead: {reason}") from error
