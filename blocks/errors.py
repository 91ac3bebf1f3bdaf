"""The one kind of error that a user can cause and mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Bad input, in one line: parameter, rule, value, remedy. The command line prints it and exits with code 2."""


class WriteError(InputError):
    """A folder that can't be written, or has no room left: nobody's trial is at fault."""


def must_be(parameter: str, rule: str, got: object, remedy: str = "") -> InputError:
    """An InputError in the one template of this project, to be raised by the caller."""
    line = f"{parameter} must be {rule}. Got {got!r} instead."
    return InputError(f"{line} {remedy}".rstrip())


def near(name: object, names: Sequence[str], otherwise: str = "") -> str:
    """'Did you mean ...?' for a name that is almost one of these, as the remedy of `must_be`."""
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean {close[0]!r}?" if close else otherwise


def choices(names: Iterable[str]) -> str:
    """'one of a, b, c' for the rule of `must_be`."""
    return "one of " + ", ".join(names)


def check_whole(parameter: str, value: object, least: int = 1) -> None:
    """InputError unless the value is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise must_be(parameter, f"a whole number of at least {least}", value)
