"""Two small plots as SVG text: the reliability diagram and the risk-coverage curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SIDE, MARGIN = 260, 44
COLOURS = ("#1b6ca8", "#c2571a", "#3f7d3a", "#7a4b94")
_FONT = "font-family='sans-serif' font-size='11' fill='#333'"

Curve = Sequence[tuple[float, float]]


def reliability_svg(sets: Mapping[str, Any]) -> str:
    """Draw accuracy over confidence in 15 bins, one line per test set; on the diagonal, confidence is earned."""
    curves = {
        name: [(b["confidence"], b["accuracy"]) for b in entry["int8"]["reliability"]]
        for name, entry in sets.items()
        if "reliability" in entry["int8"]
    }
    diagonal = _line([(0.0, 0.0), (1.0, 1.0)], _unit, colour="#999", dashed=True)
    return _frame("Confidence", "Share that is right", curves, _unit, extra=diagonal)


def risk_coverage_svg(sets: Mapping[str, Any]) -> str:
    """Draw accuracy among the answers that are given over the share that is given, one line per test set."""
    curves = {
        name: [(p["coverage"], p["accuracy"]) for p in entry["int8"]["risk_coverage"]]
        for name, entry in sets.items()
        if "risk_coverage" in entry["int8"]
    }
    goal = _line([(0.0, 0.98), (1.0, 0.98)], _upper_half, colour="#999", dashed=True)
    return _frame(
        "Share answered, surest first", "Share that is right", curves, _upper_half, extra=goal, low=0.5
    )


def _unit(point: tuple[float, float]) -> tuple[float, float]:
    return MARGIN + SIDE * point[0], 10 + SIDE * (1 - point[1])


def _upper_half(point: tuple[float, float]) -> tuple[float, float]:
    return MARGIN + SIDE * point[0], 10 + SIDE * (1 - (max(point[1], 0.5) - 0.5) / 0.5)


Scale = Callable[[tuple[float, float]], tuple[float, float]]


def _line(curve: Curve, scale: Scale, *, colour: str, dashed: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(scale, curve))
    dash = " stroke-dasharray='4 3'" if dashed else ""
    return f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.6'{dash}/>"


def _frame(
    across: str, up: str, curves: Mapping[str, Curve], scale: Scale, *, extra: str, low: float = 0.0
) -> str:
    width, height = SIDE + MARGIN + 110, SIDE + 54
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}'>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
        f"<rect x='{MARGIN}' y='10' width='{SIDE}' height='{SIDE}' fill='none' stroke='#bbb'/>",
        f"<text x='{MARGIN + SIDE / 2}' y='{height - 8}' text-anchor='middle' {_FONT}>{across}</text>",
        f"<text transform='translate(12 {10 + SIDE / 2}) rotate(-90)' text-anchor='middle' {_FONT}>{up}</text>",
        extra,
    ]
    for step in range(6):
        x, y = MARGIN + SIDE * step / 5, 10 + SIDE * (1 - step / 5)
        parts.append(f"<text x='{x}' y='{SIDE + 26}' text-anchor='middle' {_FONT}>{step / 5:g}</text>")
        mark = low + (1 - low) * step / 5
        parts.append(f"<text x='{MARGIN - 5}' y='{y + 4}' text-anchor='end' {_FONT}>{mark:g}</text>")
    for index, (name, curve) in enumerate(curves.items()):
        colour, y = COLOURS[index % len(COLOURS)], 26 + 18 * index
        parts.append(_line(curve, scale, colour=colour))
        parts.append(f"<text x='{MARGIN + SIDE + 10}' y='{y}' {_FONT} style='fill:{colour}'>{name}</text>")
    return "\n".join([*parts, "</svg>"]) + "\n"
