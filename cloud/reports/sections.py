"""Parts of the timeline page as HTML; every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from cloud.analytics.baseline import Baseline
from cloud.analytics.gaps import FrameFunnel, GapBand
from cloud.analytics.latency import summarise
from cloud.analytics.seconds import SecondBins, coverage
from cloud.analytics.traces import is_flagged
from cloud.reports.confusion import confusion_tables
from cloud.reports.model_note import RecordedModel
from cloud.reports.panels import (
    baseline_table,
    funnel_bars,
    gap_table,
    latency_table,
    panel,
    percent,
    seconds_table,
    share_bars,
)
from cloud.reports.validity import VALIDITY
from cloud.reports.viewers import ViewerTimeline
from cloud.streams.entries import FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from privacy.protocol.expressions import Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerFigures:
    """One viewer's timeline with what was worked out from it."""

    viewer: ViewerTimeline
    bins: SecondBins
    bands: Sequence[GapBand]
    shares: Mapping[Expression, float | None]
    certain_shares: Mapping[Expression, float | None]
    baseline: Baseline
    funnel: FrameFunnel


def overview(viewings: Sequence[ViewerFigures], *, duration_ms: int) -> str:
    """Give the figures at the top of the page."""
    captured = sum(figures.funnel.captured for figures in viewings)
    stored = sum(figures.funnel.stored for figures in viewings)
    facts = [
        ("viewers", str(len(viewings)), ""),
        ("length of the title", duration_text(duration_ms), ""),
        ("frames scored", f"{stored:,}", f"of {captured:,} captured"),
        ("frames uncertain", *_pooled_uncertain(viewings)),
        ("seconds with data", _pooled_coverage(viewings), "of the title" if viewings else ""),
        ("camera to score", *_pooled_latency(viewings)),
    ]
    items = "".join(
        f"<div><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>" for name, value, note in facts
    )
    return f'<dl class="facts">{items}</dl>'


def viewer_card(figures: ViewerFigures, *, chart_id: str) -> str:
    """Give one viewer's part: timeline, shares, funnel, gaps, latency, table."""
    viewer = figures.viewer
    funnel = funnel_bars(figures.funnel, duplicates=viewer.duplicates, redelivered=viewer.redelivered)
    panels = (
        panel("Leading expression, share of scored frames", share_bars(figures.shares))
        + panel("The same, of certain frames alone", share_bars(figures.certain_shares))
        + panel("Against the viewer's own baseline", baseline_table(figures.baseline, figures.bins))
        + panel("Where the frames went", funnel)
        + panel("When data are missing, and why", gap_table(figures.bands))
        + panel("Latency from the camera", latency_table(viewer.latency))
    )
    return (
        f'<section class="viewer" aria-labelledby="{chart_id}-name">'
        f'<h2 id="{chart_id}-name">{escape(viewer.pseudonym)}</h2>'
        f"<p>{_lead(figures)}</p>"
        f'<div class="chart" id="{chart_id}" role="img" '
        f'aria-label="Expressions of {escape(viewer.pseudonym)} over the title; the table below has the values">'
        "</div>"
        f"{_key(scheduled=bool(viewer.schedule), has_gaps=bool(figures.bands))}"
        f'<div class="panels">{panels}</div>'
        f"{seconds_table(figures.bins, figures.bands)}"
        f'<p class="note">Session {escape(viewer.session)}</p></section>'
    )


def method(*, sigma_bins: float, models: Sequence[RecordedModel], frames: int) -> str:
    """Say how the values came about, by which models, and what they are not; `frames` is how many are stored."""
    return (
        f'<p class="validity">{escape(VALIDITY)}</p><ul>'
        "<li>A strip's height is the score of one expression, from 0 to 1; the six scores of a frame sum to 1.</li>"
        "<li>Dots are 1-second medians of one viewer's frames. A second counts if at least half of the frames "
        "captured in it were scored; otherwise it is missing: never zero, never filled in. A median is taken "
        "expression by expression, so the six need not sum to exactly 1.</li>"
        "<li>A frame is uncertain if no expression stands out clearly enough, or if the face shows none of the six "
        "(where the model can tell). Uncertain frames count in the medians and shares unless it says otherwise; the "
        "lowest strip shows how large a part of each second they are.</li>"
        f"<li>Lines are those medians smoothed with one fixed Gaussian kernel (sigma {sigma_bins:g} s). Missing "
        "seconds stay missing and do not spread.</li>"
        "<li>Grey bands are gaps: no score is there, and the band says why. An expression that the viewer opted "
        "out of was removed before any score was stored.</li>"
        "<li>Nothing is averaged over viewers here: figures of a group need a group.</li></ul>"
        f"{_models(models, frames=frames)}"
    )


def duration_text(duration_ms: int) -> str:
    """Write a title's length as people say it."""
    minutes, seconds = divmod(round(duration_ms / 1_000), 60)
    if minutes < 3:
        return f"{60 * minutes + seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _lead(figures: ViewerFigures) -> str:
    viewer, funnel = figures.viewer, figures.funnel
    scored = len(viewer.trace)
    sentences = [
        f"{scored:,} of {funnel.captured:,} captured frames scored; "
        f"{percent(coverage(figures.bins))} of the title's seconds have data."
    ]
    if scored:
        uncertain = float(is_flagged(viewer.trace, FLAG_UNCERTAIN).mean())
        sentences.append(f"{percent(uncertain)} of the scored frames are uncertain{_strangers(viewer)}.")
    if viewer.opted_out:
        names = " and ".join(sorted(viewer.opted_out))
        sentences.append(f"Opted out of {escape(names)}: not read.")
    return " ".join([*sentences, escape(viewer.remark)])


def _strangers(viewer: ViewerTimeline) -> str:
    share = float(is_flagged(viewer.trace, FLAG_OUT_OF_SCOPE).mean())
    return f", {percent(share)} show none of the six" if share else ""


def _pooled_coverage(viewings: Sequence[ViewerFigures]) -> str:
    seconds = sum(figures.bins.title_seconds for figures in viewings)
    if not seconds:
        return "&ndash;"
    return percent(sum(coverage(f.bins) * f.bins.title_seconds for f in viewings) / seconds)


def _pooled_uncertain(viewings: Sequence[ViewerFigures]) -> tuple[str, str]:
    marks = [is_flagged(figures.viewer.trace, FLAG_UNCERTAIN) for figures in viewings]
    scored = sum(len(found) for found in marks)
    if not scored:
        return "&ndash;", ""
    return percent(sum(int(found.sum()) for found in marks) / scored), "of those scored"


def _pooled_latency(viewings: Sequence[ViewerFigures]) -> tuple[str, str]:
    histograms = [figures.viewer.latency.get("classified", ()) for figures in viewings]
    longest = max((len(histogram) for histogram in histograms), default=0)
    pooled = [sum(h[i] for h in histograms if i < len(h)) for i in range(longest)]
    found = summarise(pooled)
    if found.p50_ms is None:
        return "&ndash;", "not measured"
    return f"{found.p50_ms:,.0f} ms", f"median, 99 % within {found.p99_ms:,.0f} ms"


def _key(*, scheduled: bool, has_gaps: bool) -> str:
    entries = [
        ("smoothed", "smoothed"),
        ("median", "1-second median"),
        ("raw", "each frame"),
        ("uncertain", "uncertain share of a second"),
    ]
    if has_gaps:
        entries.append(("band", "no data, and why"))
    if scheduled:
        entries.append(("schedule", "what this performed viewer was told to show"))
    items = "".join(f'<li><i class="{kind}"></i>{text}</li>' for kind, text in entries)
    return f'<ul class="key">{items}<li>Drag to zoom, double-click to reset</li></ul>'


def _models(models: Sequence[RecordedModel], *, frames: int) -> str:
    unrecorded = frames - sum(model.frames for model in models)
    parts = [_model(model) for model in models]
    if unrecorded > 0:
        parts.append(f"<p>Which model scored {unrecorded:,} of the frames was not recorded.</p>")
    if not parts:
        return ""
    return f'<div class="model"><h3>What read the expressions</h3>{"".join(parts)}</div>'


def _model(model: RecordedModel) -> str:
    named = f"<p>{escape(model.label)}: {model.frames:,} frames."
    if model.note is None:
        return f"{named} Its figures are not installed where this page was made.</p>"
    note = model.note
    figures = "".join(f"<tr><th scope=row>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in note.figures)
    measured = f"<table><tbody>{figures}</tbody></table>" if figures else "<p>No figures were measured.</p>"
    clear = (
        f" A frame is uncertain if its largest score is below {note.confident_above:.2f}."
        if note.confident_above is not None
        else ""
    )
    errors = (
        confusion_tables(model.measured)
        if model.measured
        else "<p>What it takes for what was not measured on this very file.</p>"
    )
    return f'{named}{clear}</p>{measured}{errors}<p class="note">{escape(note.licence)}.</p>'
