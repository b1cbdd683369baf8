"""The panels under a viewer's timeline as HTML; every text from outside is escaped here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from cloud.analytics.baseline import SUFFICIENT_SECONDS, Baseline
from cloud.analytics.gaps import REASON_TEXT, FrameFunnel, GapBand, reasons_by_second
from cloud.analytics.latency import summarise
from cloud.analytics.seconds import SecondBins
from privacy.protocol.expressions import EXPRESSIONS, Expression

_LATENCY_TEXT = {"classified": "camera to score", "committed": "camera to stored"}
_PLACES_MAX = 4


def panel(name: str, body: str) -> str:
    """Give a panel its heading."""
    return f"<div><h3>{escape(name)}</h3>{body}</div>"


def share_bars(shares: Mapping[Expression, float | None]) -> str:
    """Draw which share of the frames each expression leads."""
    if all(share is None for share in shares.values()):
        return "<p>No frame was scored.</p>"
    rows = []
    for expression, share in shares.items():
        value = "" if share is None else percent(share)
        bar = '<span class="num">opted out</span>' if share is None else _bar(share, colour=str(expression))
        rows.append(f'<dt>{expression}</dt><dd>{bar}</dd><dd class="num">{value}</dd>')
    return f'<dl class="bars">{"".join(rows)}</dl>'


def baseline_table(baseline: Baseline, bins: SecondBins) -> str:
    """List the mean of the title's seconds, of the pre-roll's, and the difference; flag a thin baseline."""
    if not baseline.valid_seconds:
        return "<p>None: no second before the title was scored. Levels of an expression may be this face's habit.</p>"
    seconds = bins.probabilities[: bins.title_seconds][bins.valid[: bins.title_seconds]]
    title = seconds.mean(axis=0) if len(seconds) else np.full(len(EXPRESSIONS), np.nan)
    rows = "".join(
        f"<tr><th scope=row>{expression}</th><td>{_number(shown)}</td><td>{_number(before)}</td>"
        f"<td>{'' if math.isnan(shown - before) else f'{shown - before:+.2f}'}</td></tr>"
        for expression, shown, before in zip(EXPRESSIONS, title.tolist(), baseline.mean.tolist(), strict=True)
    )
    note = f"From {baseline.valid_seconds} valid seconds before the title."
    if not baseline.is_sufficient:
        note += f" Too few: at least {SUFFICIENT_SECONDS} are needed, so take it as a hint."
    return (
        "<table><thead><tr><th>mean</th><th>title</th><th>before</th><th>change</th></tr></thead>"
        f'<tbody>{rows}</tbody></table><p class="note">{note}</p>'
    )


def funnel_bars(funnel: FrameFunnel, *, duplicates: int, redelivered: int) -> str:
    """Draw where captured frames went."""
    whole = max(1, funnel.captured)
    rows = [
        ("captured", funnel.captured, False),
        ("with a face", funnel.with_face, False),
        ("not sent", funnel.captured - funnel.sent, False),
        *((REASON_TEXT.get(reason, reason), count, True) for reason, count in funnel.skipped.items()),
        ("sent", funnel.sent, False),
        ("scored and stored", funnel.stored, False),
        ("lost, known to the agent", funnel.flagged_lost, True),
        ("lost, unexplained", funnel.unflagged_lost, True),
    ]
    body = "".join(
        f"<dt{' class=sub' if sub else ''}>{escape(name)}</dt><dd>{_bar(count / whole)}</dd>"
        f'<dd class="num">{count:,}</dd>'
        for name, count, sub in rows
        if count or not sub
    )
    repeated = f"{redelivered:,} frames arrived again and changed nothing; " if redelivered else ""
    stored_twice = f"{duplicates:,} are stored twice." if duplicates else "none is stored twice."
    note = repeated + stored_twice
    return f'<dl class="bars">{body}</dl><p class="note">{note[0].upper()}{note[1:]}</p>'


def gap_table(bands: Sequence[GapBand]) -> str:
    """List why data are missing, for how long and where."""
    if not bands:
        return "<p>Never.</p>"
    by_reason: dict[str, list[GapBand]] = {}
    for band in bands:
        by_reason.setdefault(band.text, []).append(band)
    rows = "".join(
        f"<tr><th scope=row>{escape(text)}</th><td>{_frames(found)}</td><td>{_seconds(found):.1f}</td>"
        f"<td>{_places(found)}</td></tr>"
        for text, found in sorted(by_reason.items(), key=lambda item: -_seconds(item[1]))
    )
    return (
        "<table><thead><tr><th>reason</th><th>frames</th><th>seconds</th><th>at (s)</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def latency_table(latency: Mapping[str, Sequence[int]]) -> str:
    """List how long a frame took from the camera."""
    rows = []
    for kind, histogram in latency.items():
        figures = summarise(histogram)
        values = (figures.p50_ms, figures.p95_ms, figures.p99_ms)
        cells = "".join(
            f"<td>{'&ndash;' if value is None else format(value, ',.0f')}</td>" for value in values
        )
        rows.append(f"<tr><th scope=row>{escape(_LATENCY_TEXT.get(kind, kind))}</th>{cells}</tr>")
    if not rows:
        return "<p>Not measured.</p>"
    head = "".join(f"<th>{share} of frames</th>" for share in ("50 %", "95 %", "99 %"))
    return (
        f"<table><thead><tr><th>at most, in ms</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def seconds_table(bins: SecondBins, bands: Sequence[GapBand]) -> str:
    """List every second; a value that is missing is empty."""
    head = "".join(f"<th>{expression}</th>" for expression in EXPRESSIONS)
    rows = []
    told = reasons_by_second(bands, seconds=len(bins))
    for second in range(len(bins)):
        cells = "".join(f"<td>{_number(float(v))}</td>" for v in bins.probabilities[second])
        count = f"{bins.frames[second]}/{bins.expected[second]}"
        uncertain = bins.frames[second] - bins.certain[second]
        reasons = dict.fromkeys(REASON_TEXT.get(reason, reason) for reason in told[second])
        rows.append(
            f"<tr><th scope=row>{second}</th>{cells}<td>{count}</td><td>{uncertain}</td>"
            f"<td>{escape('; '.join(reasons))}</td></tr>"
        )
    return (
        "<details><summary>Every second as a table</summary><div class='scroll'><table><thead><tr>"
        f"<th>second</th>{head}<th>frames</th><th>uncertain</th><th>missing because</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def percent(share: float) -> str:
    """Write a share; what is not nothing does not read as 0 %, what is not everything not as 100 %."""
    if 0 < share < 0.005:
        return "&lt;1 %"
    if 0.995 <= share < 1:
        return "&gt;99 %"
    return f"{100 * share:.0f} %"


def _bar(share: float, *, colour: str = "") -> str:
    tint = f";background:var(--{colour})" if colour else ""
    return f'<div class="track"><span style="width:{100 * share:.1f}%{tint}"></span></div>'


def _frames(bands: Sequence[GapBand]) -> str:
    frames = sum(band.frames for band in bands)
    return f"{frames:,}" if frames else "&ndash;"


def _seconds(bands: Sequence[GapBand]) -> float:
    return sum(band.end_ms - band.start_ms for band in bands) / 1_000


def _places(bands: Sequence[GapBand]) -> str:
    shown = [
        f"<span class=whole>{band.start_ms / 1_000:.1f}&ndash;{band.end_ms / 1_000:.1f}</span>"
        for band in bands[:_PLACES_MAX]
    ]
    more = [f"and {len(bands) - _PLACES_MAX:,} more"] if len(bands) > _PLACES_MAX else []
    return ", ".join(shown + more)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
