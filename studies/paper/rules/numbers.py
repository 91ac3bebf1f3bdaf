"""Numbers, shares and lists as the verdicts' sentences show them. No torch."""

from __future__ import annotations

import math

from ablation.report.kit import numbers as kit

# digits of a number without an interval; of one with an interval at most
SIGNIFICANT, MOST_DIGITS = 3, 4
# digits of half an interval that are shown, and with them those of its value
OF_INTERVAL = 2


def plain(value: float, decimals: int | None = None) -> str:
    """Whole numbers exactly, others to three significant digits or to these decimals; a real minus sign."""
    if decimals is None and math.isfinite(value):
        whole = isinstance(value, int) or (value == round(value) and abs(value) >= 10**SIGNIFICANT)
        decimals = 0 if whole else _decimals(value, SIGNIFICANT)
    return kit.decimal(value, decimals or 0)


def spanned(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """'0.0998 (0.0943 to 0.1053)': as many decimals as the interval's width justifies; no bracket without an interval."""
    decimals = None
    if low is not None and high is not None:
        half = (high - low) / 2
        most = _decimals(max(abs(value), half), MOST_DIGITS)
        decimals = min(_decimals(half, OF_INTERVAL), most) if half else most
    text, *ends = (("+" if signed and v > 0 else "") + plain(v, decimals) for v in (value, low, high) if v is not None)
    return f"{text} ({ends[0]} to {ends[1]})" if len(ends) == 2 else text


def percent(share: float, decimals: int | None = None) -> str:
    """'52 %'; one decimal below 10 %, or these decimals."""
    if decimals is None:
        decimals = 1 if 0 < abs(100 * share) < 9.95 else 0
    return f"{plain(100 * share, decimals)}\u00a0%"


def percent_span(value: float, low: float | None, high: float | None) -> str:
    """'25.1 % (23.8 to 26.3)' of shares."""
    ends = (None if v is None else 100 * v for v in (low, high))
    text, _, bracket = spanned(100 * value, *ends).partition(" (")
    return f"{text}\u00a0%" + (f" ({bracket}" if bracket else "")


def _decimals(value: float, digits: int) -> int:
    return 0 if value == 0 else min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)
