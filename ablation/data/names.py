"""File names in messages and keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

NUM_SHOWN = 3


def digest(values: object) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def few(names: Sequence[str]) -> str:
    """The first few names of a list, for a message: in one line, and printable also where they are not UTF-8."""
    shown = [name if name.isprintable() else repr(name)[1:-1] for name in names[:NUM_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > NUM_SHOWN else "")
