"""Markdown tables of figures with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table; every row has as many cells as there are columns."""
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def percent(value: float | None, interval: Sequence[float] | None = None, *, digits: int = 1) -> str:
    """Write a share in percent, with its interval if there is one; a dash for no value."""
    if value is None:
        return "-"
    text = f"{100 * value:.{digits}f} %"
    if interval is None:
        return text
    return f"{text} [{100 * interval[0]:.{digits}f}, {100 * interval[1]:.{digits}f}]"


def share(figures: dict[str, Any], name: str) -> str:
    """Write the figure `name` with the interval `name_95` beside it."""
    return percent(figures[name], figures[f"{name}_95"])


def points(values: Sequence[float | None]) -> str:
    """Write a difference in points with its bounds; a dash where nothing could be compared."""
    if any(value is None for value in values):
        return "-"
    return f"{values[0]:+.2f} [{values[1]:+.2f}, {values[2]:+.2f}]"


def p_value(value: float) -> str:
    """Write an adjusted p value."""
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")
