"""Numbers as text, one way in every table."""

from __future__ import annotations

import math

__all__ = ["UNDEFINED", "count", "percent", "score"]

UNDEFINED = "\N{EN DASH}"


def score(value: float) -> str:
    """Three decimals, or a dash where the score is undefined."""
    return f"{value:.3f}" if math.isfinite(value) else UNDEFINED


def percent(share: float) -> str:
    """A share in percent, with one decimal; what is not zero never reads 0.0."""
    if not math.isfinite(share):
        return UNDEFINED
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def count(number: int) -> str:
    """A count with thin spaces, at which no line breaks, between thousands."""
    return f"{int(number):,}".replace(",", "\u202f")
