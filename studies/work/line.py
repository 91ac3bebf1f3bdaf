"""The command line: how this program is named, and what of it may be stored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ablation.machine.text import printable

SCRIPT = "ablation"  # the installed command
# environment variable that stands for --storage: unlike a command line and a script, nobody else on a machine can read it
STORAGE = "ABLATION_STORAGE"


def program() -> str:
    """How this program was started, as messages and help name it."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m studies.run"


def public_line(arguments: Sequence[str]) -> str:
    """The command as it may be stored and passed on: no credentials, and of this machine's folders only their names."""
    shown = []
    for argument in arguments:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if "://" in value:
            from studies.store.storage import public_url

            value = public_url(value)
        elif Path(value).is_absolute():
            value = Path(value).name
        shown.append(shlex.quote(printable(f"{flag}{equals}{value}")))
    return " ".join([program(), *shown])
