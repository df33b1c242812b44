"""What a check of a data set found: one kind of fault a `Problem`, with what would mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from segkit._checks import listed

__all__ = ["SEVERITIES", "Place", "Problem", "Severity"]

Severity: TypeAlias = Literal["error", "warning", "note"]
"""How bad: training would fail or learn what is wrong; look at it; good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Place: TypeAlias = tuple[int, int]
"""Which data set of those inspected, and which item of it."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of fault, with all items that have it.

    Attributes:
        kind: a word for programs, such as ``"one_too_high"``.
        severity: ``"error"`` (training fails or learns what is wrong), ``"warning"`` (look at it) or ``"note"``.
        message: what was found.
        suggestion: what would mend it; empty where there is nothing to do.
        items: names of the items or files, all of them.
        values: what values of the mask files would have to become; empty where no mapping mends it.
        places: the items as (data set, index), as far as they are items; two by two where ``paired``.
        paired: whether the places belong together two by two, as copies do.
    """

    kind: str
    severity: Severity
    message: str
    suggestion: str = ""
    items: tuple[str, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    paired: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the mapping's keys are text there."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "suggestion": self.suggestion,
            "items": list(self.items),
            "values": {str(value): becomes for value, becomes in self.values.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.message}"]
        if self.items:
            lines.append(f"  {listed(self.items, 5)}")
        if self.suggestion:
            lines.append(f"  {self.suggestion}")
        return "\n".join(lines)
