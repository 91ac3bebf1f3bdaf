"""How numbers are written on every page and plot: with a real minus sign, enough digits, and no exponent. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

MINUS = "−"
NOTHING = "-"  # stands where a number is missing
MOST_DIGITS = 12
NEAR_ONE, SMALL = 0.05, 0.3  # ratios this near to 1, or this small, get a digit more


def decimal(value: float | None, digits: int) -> str:
    """Fixed decimals: '1,234.50', '−0.3'; '-' where there is nothing."""
    if value is None or not math.isfinite(value):
        return NOTHING if value is None else str(value)
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """Significant digits: '12.3', '0.00123'; '-' where there is nothing."""
    if not value or not math.isfinite(value):
        return NOTHING if value is None else f"{value:g}"
    return f"{value:,.{min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)}f}".replace("-", MINUS)


def tiny(value: float | None) -> str:
    """An error: '0', '3.1e-06' or '-'."""
    return NOTHING if value is None else "0" if value == 0 else f"{value:.1e}"


def signed(value: float, digits: int) -> str:
    """'+0.0123' or '−0.0123'; what isn't 0 is not printed as 0."""
    if not value:
        return "0"
    if not float(f"{value:.{digits}f}"):
        # the first digits that are within 5 % of it
        close = (n for n in range(digits, MOST_DIGITS) if abs(float(f"{value:.{n}f}") - value) < 0.05 * abs(value))
        digits = next(close, MOST_DIGITS)
    return f"{value:+.{digits}f}".replace("-", MINUS)


def percent(share: float, digits: int = 1) -> str:
    """'+2.2 %'."""
    return f"{signed(100 * share, digits)}\u00a0%"


def share_text(share: float | None) -> str:
    """'+52 %' of a whole; '-' where there is none."""
    if share is None:
        return NOTHING
    if not share:
        return "0\u00a0%"
    if float(f"{100 * share:.0f}"):
        return percent(share, 0)
    side = "+" if share > 0 else MINUS
    return percent(share) if abs(share) >= 0.0005 else f"under {side}0.1\u00a0%"


def times(ratio: float, digits: int | None = None) -> str:
    """'×5.83'; without `digits` three decimals near 1 or below 0.3, and two elsewhere."""
    return f"×{ratio:.{digits_of(ratio) if digits is None else digits}f}"


def times_span(ratio: float | None, low: float | None, high: float | None) -> str:
    """'×5.83 (5.71 to 5.95)', without the bracket where there is no interval."""
    if ratio is None:
        return NOTHING
    digits = digits_of(ratio)
    return times(ratio) if low is None or high is None else f"{times(ratio)} ({low:.{digits}f} to {high:.{digits}f})"


def digits_of(ratio: float) -> int:
    """Decimals of a ratio: three where it is near 1, or so small that two say little."""
    return 2 if abs(ratio - 1) > NEAR_ONE and ratio >= SMALL else 3


def count(number: int, noun: str) -> str:
    """'1 pair', '2 pairs'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    """Its first letter as a capital."""
    return text[:1].upper() + text[1:]


def joined(texts: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *rest, last = list(texts) or [""]
    return f"{', '.join(rest)} and {last}" if rest else last
