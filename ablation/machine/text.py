"""Names of a user's own as they may be stored and shown: in one line, and as UTF-8. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

# control characters, line and paragraph ends, marks that turn the direction of what follows, bytes of a name that are no UTF-8
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with a visible escape in place of each character that cannot be shown in a line: 'a\\nb' has four characters then.

    >>> printable("a\\tb")
    'a\\\\tb'
    """
    return _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode("ascii")


def first_line(error: BaseException, empty: str | None = None) -> str:
    """The first line of an error's message; of one without a message `empty`, or else the name of its class.

    >>> first_line(ValueError("shapes differ\\n  at line 3"))
    'shapes differ'
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__ if empty is None else empty


def shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """Each name in at most `width` characters, and no two alike: cut at the end where that tells them apart, else in the middle.

    >>> shortened(["a_very_long_name", "a_very_long_game"], 10)
    {'a_very_long_name': 'a_ver…name', 'a_very_long_game': 'a_ver…game'}
    """
    names = list(dict.fromkeys(names))
    tail = (width - 1) // 2
    ends = {n: n if len(n) <= width else f"{n[: width - 1]}…" for n in names}
    middles = {n: n if len(n) <= width else f"{n[: width - 1 - tail]}…{n[len(n) - tail :]}" for n in names}
    for short in (ends, middles):
        if len(set(short.values())) == len(names):
            return short
    marks = {n: f"…{number}" for number, n in enumerate(names, 1)}
    return {n: n if len(n) <= width else f"{n[: max(width - len(marks[n]), 0)]}{marks[n]}" for n in names}
