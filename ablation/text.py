"""Names of a user's own as they may be stored and shown: in one line, and as UTF-8. No torch."""

from __future__ import annotations

import re

# control characters, line and paragraph ends, marks that turn the direction of what follows, bytes of a name that are no UTF-8
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with a visible escape in place of each character that cannot be shown in a line: 'a\\nb' has four characters then.

    >>> printable("a\\tb")
    'a\\\\tb'
    """
    return _HIDDEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode("ascii")
