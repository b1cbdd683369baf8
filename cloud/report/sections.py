"""Parts of the timeline page as HTML; every text from outside is escaped here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from cloud.report.gaps import REASON_TEXT, FrameFunnel, GapBand
from cloud.report.latency import summarise
from cloud.report.seconds import SecondBins, coverage
from cloud.report.traces import FrameTrace
from privacy.expressions import EXPRESSIONS, Expression

VALIDITY = (
    "These curves describe the expressions that faces showed, not what people felt. The same inner state "
    "shows on different faces in different ways, and display rules differ between cultures and situations "
    "(Barrett et al. 2019, doi:10.1177/1529100619832930). Do not use them to judge a person."
)

_LATENCY_TEXT = {"classified": "camera to score", "committed": "camera to stored"}


def overview(traces: Sequence[FrameTrace], *, duration_ms: int) -> str:
    """Give the figures at the top of the page."""
    frames = sum(len(trace) for trace in traces)
    facts = [
        ("viewers", str(len(traces))),
        ("title", f"{duration_ms / 1_000:.0f} <small>s</small>"),
        ("frames scored", f"{frames:,}"),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def viewer_card(
    *,
    chart_id: str,
    pseudonym: str,
    session: str,
    remark: str,
    bins: SecondBins,
    bands: Sequence[GapBand],
    shares: Mapping[Expression, float | None],
    funnel: FrameFunnel,
    duplicates: int,
    redelivered: int,
    latency: Mapping[str, Sequence[int]],
    scheduled: bool,
    frames: int,
) -> str:
    """Give one viewer's part: timeline, shares, funnel, gaps, latency, table."""
    lead = f"{coverage(bins):.0%} of the title's seconds are valid; {frames:,} frames scored."
    panels = (
        _panel("Share of scored frames led by", _share_bars(shares))
        + _panel(
            "Where the frames went", _funnel_bars(funnel, duplicates=duplicates, redelivered=redelivered)
        )
        + _panel("Gaps", _gap_table(bands))
        + _panel("Latency (ms)", _latency_table(latency))
    )
    return (
        f'<section class="viewer" aria-labelledby="{chart_id}-name">'
        f'<h2 id="{chart_id}-name">{escape(pseudonym)}</h2>'
        f"<p>{lead} {escape(remark)}</p>"
        f'<div class="chart" id="{chart_id}" role="img" '
        f'aria-label="Expressions of {escape(pseudonym)} over the title; the table below has the values"></div>'
        f"{_key(scheduled=scheduled)}"
        f'<div class="panels">{panels}</div>'
        f"{_seconds_table(bins)}"
        f"<!-- session {escape(session)} --></section>"
    )


def method(*, sigma_bins: float) -> str:
    """Say how the values came about and what they are not."""
    return (
        f'<p class="validity">{escape(VALIDITY)}</p><ul>'
        "<li>Dots are 1-second medians of one viewer's frames. A second counts if at least half of the frames "
        "expected in it were scored; otherwise it is missing: never zero, never filled in.</li>"
        f"<li>Lines are those medians smoothed with one fixed Gaussian kernel (sigma {sigma_bins:g} s). Missing "
        "seconds stay missing and do not spread.</li>"
        "<li>The faint trace is every scored frame. A median is taken expression by expression, so the six need "
        "not sum to exactly 1.</li>"
        "<li>Grey bands are gaps: frames that were captured but carry no score, with the reason the agent gave. "
        "An expression that the viewer opted out of was removed before any score was stored.</li>"
        "<li>Nothing is averaged over viewers here: figures of a group need a group.</li></ul>"
    )


def _panel(name: str, body: str) -> str:
    return f"<div><h3>{escape(name)}</h3>{body}</div>"


def _key(*, scheduled: bool) -> str:
    entries = [
        ("smoothed", "smoothed"),
        ("median", "1-s median"),
        ("raw", "each frame"),
        ("band", "gap (hover for the reason; drag to zoom, double-click to reset)"),
    ]
    if scheduled:
        entries.append(("schedule", "what this performed viewer was told to show"))
    items = "".join(f'<li><i class="{kind}"></i>{text}</li>' for kind, text in entries)
    return f'<ul class="key">{items}</ul>'


def _bar(share: float, *, colour: str = "") -> str:
    tint = f";background:var(--{colour})" if colour else ""
    return f'<div class="track"><span style="width:{100 * share:.1f}%{tint}"></span></div>'


def _share_bars(shares: Mapping[Expression, float | None]) -> str:
    rows = []
    for expression, share in shares.items():
        value = "" if share is None else f"{share:.0%}"
        bar = '<span class="num">not read</span>' if share is None else _bar(share, colour=str(expression))
        rows.append(f'<dt>{expression}</dt><dd>{bar}</dd><dd class="num">{value}</dd>')
    return f'<dl class="bars">{"".join(rows)}</dl>'


def _funnel_bars(funnel: FrameFunnel, *, duplicates: int, redelivered: int) -> str:
    whole = max(1, funnel.captured)
    rows = [
        ("captured", funnel.captured, False),
        ("with a face", funnel.with_face, False),
        ("sent", funnel.sent, False),
        *((REASON_TEXT.get(reason, reason), count, True) for reason, count in funnel.skipped.items()),
        ("stored", funnel.stored, False),
        ("lost, flagged", funnel.flagged_lost, True),
        ("lost, not flagged", funnel.unflagged_lost, True),
    ]
    body = "".join(
        f"<dt{' class=sub' if sub else ''}>{escape(name)}</dt><dd>{_bar(count / whole)}</dd>"
        f'<dd class="num">{count:,}</dd>'
        for name, count, sub in rows
        if count or not sub
    )
    notes = "".join(
        f'<dt class="sub">{name}</dt><dd></dd><dd class="num">{count:,}</dd>'
        for name, count in (("stored twice", duplicates), ("sent again, ignored", redelivered))
    )
    return f'<dl class="bars">{body}{notes}</dl>'


def _gap_table(bands: Sequence[GapBand]) -> str:
    if not bands:
        return "<p>None.</p>"
    totals: dict[str, tuple[int, int]] = {}
    for band in bands:
        count, frames = totals.get(band.text, (0, 0))
        totals[band.text] = (count + 1, frames + band.frames)
    rows = "".join(
        f"<tr><th scope=row>{escape(text)}</th><td>{count:,}</td><td>{frames:,}</td></tr>"
        for text, (count, frames) in sorted(totals.items(), key=lambda item: -item[1][1])
    )
    return f"<table><thead><tr><th>reason</th><th>gaps</th><th>frames</th></tr></thead><tbody>{rows}</tbody></table>"


def _latency_table(latency: Mapping[str, Sequence[int]]) -> str:
    rows = []
    for kind, histogram in latency.items():
        figures = summarise(histogram)
        cells = "".join(
            f"<td>{'' if value is None else format(value, '.0f')}</td>"
            for value in (figures.p50_ms, figures.p95_ms, figures.p99_ms)
        )
        rows.append(f"<tr><th scope=row>{escape(_LATENCY_TEXT.get(kind, kind))}</th>{cells}</tr>")
    if not rows:
        return "<p>Not measured.</p>"
    return (
        "<table><thead><tr><th>from</th><th>p50</th><th>p95</th><th>p99</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _seconds_table(bins: SecondBins) -> str:
    head = "".join(f"<th>{expression}</th>" for expression in EXPRESSIONS)
    rows = []
    for second in range(len(bins)):
        cells = "".join(f"<td>{_number(float(v))}</td>" for v in bins.probabilities[second])
        rows.append(f"<tr><th scope=row>{second}</th>{cells}<td>{bins.frames[second]}</td></tr>")
    return (
        "<details><summary>Every second as a table</summary><div class='scroll'><table><thead><tr><th>s</th>"
        f"{head}<th>frames</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
