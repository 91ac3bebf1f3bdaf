"""File names in messages and keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence


def digest(values: object) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def few(names: Sequence[str], limit: int = 3) -> str:
    """The first few names of a list, for a message: in one line, and printable also where they are not UTF-8."""
    shown = [name if name.isprintable() else repr(name)[1:-1] for name in names[:limit]]
    return ", ".join(shown) + (", ..." if len(names) > limit else "")
