"""The timeline figure: a strip per expression and one of uncertainty over media time, gaps as shaded bands.

A figure is plain JSON for plotly.js. Colours are names (`"happy"`, `"gap"`) that the page's script
replaces by the reader's light or dark palette.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud.analytics.gaps import GapBand, drawn_bands
from cloud.analytics.seconds import SecondBins, smooth
from cloud.analytics.traces import Float64Array, FrameTrace
from cloud.reports.gap_marks import gap_hovers, gap_labels, gap_shapes
from privacy.protocol.expressions import EXPRESSIONS, Expression

RAW_FRAMES_MAX = 20_000
"""Above this many frames the raw trace is left out of the page, which says so."""

_STRIP_SHARE = 0.80
_UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledExpression:
    """What a performed viewer was told to show in [start, end) of the title; for checks, not for people."""

    start_ms: int
    end_ms: int
    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One row of the figure: its name and, for an expression, whether the viewer did not allow it."""

    name: str
    opted_out: bool = False


def timeline_figure(
    trace: FrameTrace,
    bins: SecondBins,
    *,
    bands: Sequence[GapBand],
    duration_ms: int,
    opted_out: frozenset[Expression] = frozenset(),
    schedule: Sequence[ScheduledExpression] = (),
) -> dict[str, Any]:
    """Lay the figure out.

    Returns:
        `{"data": [...], "layout": {...}}`: per strip the raw frames (unless there are too many), the
        second bins as dots and their smoothed line; missing values are null, so lines break there. The
        lowest strip has a bar per second, as high as the share of its frames that are uncertain.
    """
    strips = [Strip(name=str(e), opted_out=e in opted_out) for e in EXPRESSIONS]
    strips.append(Strip(name=_UNCERTAIN))
    smoothed = smooth(bins.probabilities)
    end_s = max(duration_ms / 1_000, float(len(bins)))
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = _frame_layout(end_s)
    for row, strip in enumerate(strips):
        axis = _axis_name(row)
        layout[f"yaxis{axis}"] = _strip_axis(row, len(strips), strip)
        if strip.name == _UNCERTAIN:
            data.append(_uncertain_bars(bins, row))
            continue
        if strip.opted_out:
            continue
        if len(trace) <= RAW_FRAMES_MAX:
            data.append(_raw_trace(trace, row, strip))
        data.extend(_second_traces(bins.probabilities[:, row], smoothed[:, row], row, strip))
    bottom = _domain(len(strips) - 1, len(strips))[0]
    bands = drawn_bands(bands)
    layout["shapes"] = [*gap_shapes(bands, bottom=bottom), *_schedule_shapes(schedule, strips)]
    layout["annotations"] = [
        *(_strip_label(row, len(strips), strip) for row, strip in enumerate(strips)),
        *gap_labels(bands, bottom=bottom, end_s=end_s),
    ]
    data.append(gap_hovers(bands))
    return {"data": data, "layout": layout}


def nullable(values: Float64Array, *, digits: int = 3) -> list[float | None]:
    """Give rounded numbers with null for NaN, as JSON has no NaN."""
    return [None if math.isnan(v) else round(v, digits) for v in values.tolist()]


def _axis_name(row: int) -> str:
    return "" if row == 0 else str(row + 1)


def _domain(row: int, rows: int) -> list[float]:
    top = 1.0 - row / rows
    return [round(top - _STRIP_SHARE / rows, 4), round(top, 4)]


def _frame_layout(end_s: float) -> dict[str, Any]:
    return {
        "height": 560,
        "margin": {"l": 104, "r": 20, "t": 12, "b": 44},
        "showlegend": False,
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "xaxis": {
            "range": [0, end_s],
            "title": {"text": "position in the title (s)", "standoff": 8},
            "anchor": f"y{len(EXPRESSIONS) + 1}",
            "zeroline": False,
            "ticks": "outside",
            "ticklen": 4,
            "hoverformat": ".1f",
            "unifiedhovertitle": {"text": "%{x:.1f} s into the title"},
        },
    }


def _strip_axis(row: int, rows: int, strip: Strip) -> dict[str, Any]:
    return {
        "domain": _domain(row, rows),
        "range": [0, 1],
        "fixedrange": True,
        "tickvals": [0, 1],
        "ticktext": ["", ""] if strip.opted_out else ["0", "1"],
        "tickfont": {"size": 9},
        "zeroline": False,
        "showgrid": False,
    }


def _strip_label(row: int, rows: int, strip: Strip) -> dict[str, Any]:
    low, high = _domain(row, rows)
    text = strip.name + ("<br><i>opted out</i>" if strip.opted_out else "")
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "xshift": -26,
        "y": (low + high) / 2,
        "text": text,
        "showarrow": False,
        "xanchor": "right",
        "yanchor": "middle",
        "meta": "soft" if strip.name == _UNCERTAIN else strip.name,
    }


def _raw_trace(trace: FrameTrace, row: int, strip: Strip) -> dict[str, Any]:
    seconds = trace.media_time_ms / 1_000.0
    shares = trace.probabilities[:, row] / 255.0
    # A jump over missing frames must not be drawn as a line.
    breaks = np.flatnonzero((np.diff(trace.frame) > 3) | (np.diff(trace.segment) != 0)) + 1
    seconds = np.insert(seconds, breaks, np.nan)
    shares = np.insert(shares, breaks, np.nan)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{strip.name}, each frame",
        "meta": {"colour": strip.name, "kind": "raw"},
        "x": nullable(seconds, digits=2),
        "y": nullable(shares, digits=2),
        "yaxis": f"y{_axis_name(row)}",
        "line": {"width": 0.8},
        "opacity": 0.28,
        "connectgaps": False,
        "hoverinfo": "skip",
    }


def _second_traces(
    medians: Float64Array, smoothed: Float64Array, row: int, strip: Strip
) -> list[dict[str, Any]]:
    middle = np.arange(len(medians)) + 0.5
    common = {"type": "scatter", "yaxis": f"y{_axis_name(row)}"}
    # One trace per unbroken run: plotly.js would fill the area across missing values.
    lines = [
        {
            **common,
            "mode": "lines",
            "name": f"{strip.name}, smoothed",
            "meta": {"colour": strip.name, "kind": "smoothed"},
            "x": middle[run].tolist(),
            "y": nullable(smoothed[run]),
            "line": {"width": 2.2, "shape": "spline", "smoothing": 0.4},
            "fill": "tozeroy",
            "hovertemplate": "%{y:.2f}<extra>" + strip.name + "</extra>",
        }
        for run in _unbroken_runs(smoothed)
    ]
    dots = {
        **common,
        "mode": "markers",
        "name": f"{strip.name}, 1-s median",
        "meta": {"colour": strip.name, "kind": "second"},
        "x": middle.tolist(),
        "y": nullable(medians),
        "marker": {"size": 3.2},
        "hoverinfo": "skip",
    }
    return [*lines, dots]


def _uncertain_bars(bins: SecondBins, row: int) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "uncertain share of the second's frames",
        "meta": {"colour": "soft", "kind": "uncertain"},
        "x": (np.arange(len(bins)) + 0.5).tolist(),
        "y": nullable(bins.uncertain_share),
        "width": 1,
        "yaxis": f"y{_axis_name(row)}",
        "marker": {"line": {"width": 0}},
        "opacity": 0.6,
        "hovertemplate": "%{y:.0%} of the frames<extra>" + _UNCERTAIN + "</extra>",
    }


def _unbroken_runs(values: Float64Array) -> list[slice]:
    present = np.concatenate([[False], ~np.isnan(values), [False]])
    edges = np.flatnonzero(present[1:] != present[:-1])
    return [slice(int(low), int(high)) for low, high in edges.reshape(-1, 2)]


def _schedule_shapes(
    schedule: Sequence[ScheduledExpression], strips: Sequence[Strip]
) -> list[dict[str, Any]]:
    rows = {strip.name: row for row, strip in enumerate(strips)}
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": part.start_ms / 1_000,
            "x1": part.end_ms / 1_000,
            "y0": _domain(rows[str(part.expression)], len(strips))[0],
            "y1": _domain(rows[str(part.expression)], len(strips))[1],
            "layer": "below",
            "line": {"width": 1, "dash": "dot"},
            "meta": f"schedule:{part.expression}",
        }
        for part in schedule
    ]
