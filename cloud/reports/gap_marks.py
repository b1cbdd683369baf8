"""How gaps look in the timeline figure: a band, its reason written in it, and again on hovering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud.analytics.gaps import GapBand

_LABELLED_SHARE = 0.035
"""A band narrower than this share of the axis has no room for its reason."""

_HOVER_STEP_MS = 1_000
_HOVER_POINTS_MAX = 2_000


def gap_shapes(bands: Sequence[GapBand], *, bottom: float) -> list[dict[str, Any]]:
    """Shade each band from the lowest strip's foot (`bottom`, paper coordinates) to the top."""
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": band.start_ms / 1_000,
            "x1": band.end_ms / 1_000,
            "y0": bottom,
            "y1": 1,
            "layer": "below",
            "line": {"width": 0},
            "meta": "gap",
        }
        for band in bands
    ]


def gap_labels(bands: Sequence[GapBand], *, bottom: float, end_s: float) -> list[dict[str, Any]]:
    """Write the reason upright into every band that has room for it."""
    return [
        {
            "xref": "x",
            "yref": "paper",
            "x": (band.start_ms + band.end_ms) / 2_000,
            "y": (1 + bottom) / 2,
            "text": band.text,
            "textangle": -90,
            "showarrow": False,
            "xanchor": "center",
            "yanchor": "middle",
            "meta": "gap",
        }
        for band in bands
        if band.end_ms - band.start_ms >= _LABELLED_SHARE * end_s * 1_000
    ]


def gap_hovers(bands: Sequence[GapBand]) -> dict[str, Any]:
    """Lay invisible points over each band, so that hovering anywhere in it tells the reason."""
    seconds: list[float] = []
    texts: list[str] = []
    for band in bands:
        inside = range(band.start_ms + _HOVER_STEP_MS // 2, band.end_ms, _HOVER_STEP_MS)
        moments = inside if 1 < len(inside) <= _HOVER_POINTS_MAX else [(band.start_ms + band.end_ms) // 2]
        frames = f", {band.frames:,} frames" if band.frames else ""
        seconds += [moment / 1_000 for moment in moments]
        texts += [f"{band.text}{frames}"] * len(moments)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "gap",
        "meta": {"colour": "gap", "kind": "gap"},
        "x": seconds,
        "y": [0.5] * len(seconds),
        "text": texts,
        "marker": {"size": 10, "opacity": 0},
        "hovertemplate": "no data: %{text}<extra></extra>",
    }
