"""The timeline page: one self-contained HTML file that asks nobody for anything.

Its scripts are constant texts, so a content-security policy names them by digest; figures travel as a
JSON block, which is not executed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from cloud.analytics.baseline import viewer_baseline
from cloud.analytics.gaps import frame_funnel, gap_bands, silent_bands
from cloud.analytics.seconds import SMOOTHING_SIGMA_BINS, bin_seconds
from cloud.analytics.traces import frame_step_ms, share_of_frames
from cloud.reports import sections
from cloud.reports.figures import timeline_figure
from cloud.reports.model_note import recorded_models
from cloud.reports.viewers import ViewerTimeline

__all__ = [
    "TimelinePage",
    "ViewerTimeline",
    "content_security_policy",
    "plotly_script",
    "render_timeline_page",
    "report_script_digests",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePage:
    """A page of one title.

    Attributes:
        title: name of the title or trailer.
        study: name of the study.
        duration_ms: length of the title.
        viewers: the viewers shown, each on its own; nothing is averaged over them.
        made_at: aware UTC.
    """

    title: str
    study: str
    duration_ms: int
    viewers: Sequence[ViewerTimeline]
    made_at: datetime


def render_timeline_page(page: TimelinePage) -> str:
    """Draw the page.

    Returns:
        A complete HTML document with plotly.js in it; readable in light and dark.
    """
    charts: dict[str, Any] = {}
    cards = []
    viewings = [_figures(viewer, duration_ms=page.duration_ms) for viewer in page.viewers]
    for number, figures in enumerate(viewings):
        chart_id = f"timeline-{number}"
        charts[chart_id] = timeline_figure(
            figures.viewer.trace,
            figures.bins,
            bands=figures.bands,
            duration_ms=page.duration_ms,
            opted_out=figures.viewer.opted_out,
            schedule=figures.viewer.schedule,
        )
        cards.append(sections.viewer_card(figures, chart_id=chart_id))
    return Template(_asset("page.html")).substitute(
        title=html.escape(page.title),
        lede=html.escape(
            f"{page.study}. The expressions that {_viewers(len(page.viewers))} showed, second by second: "
            "what was on the face, not what was felt."
        ),
        css=_asset("page.css"),
        csp=content_security_policy(),
        overview=sections.overview(viewings, duration_ms=page.duration_ms),
        viewers="\n".join(cards) or "<section class='viewer'><p>No viewer has a timeline yet.</p></section>",
        method=sections.method(
            sigma_bins=SMOOTHING_SIGMA_BINS,
            models=recorded_models(scored for viewer in page.viewers for scored in viewer.models),
            frames=sum(len(viewer.trace) for viewer in page.viewers),
        ),
        footer=html.escape(f"Made by Countenance on {page.made_at:%Y-%m-%d at %H:%M} UTC."),
        figures=_json_block(charts),
        plotly=plotly_script(),
        script=_asset("page.js"),
    )


def _figures(viewer: ViewerTimeline, *, duration_ms: int) -> sections.ViewerFigures:
    bins = bin_seconds(viewer.trace, viewer.gaps, duration_ms=duration_ms, opted_out=viewer.opted_out)
    bands = gap_bands(viewer.gaps, step_ms=frame_step_ms(viewer.trace))
    silent = silent_bands(bins.frames, bands, title_seconds=bins.title_seconds, duration_ms=duration_ms)
    return sections.ViewerFigures(
        viewer=viewer,
        bins=bins,
        bands=sorted([*bands, *silent], key=lambda band: band.start_ms),
        shares=share_of_frames(viewer.trace, opted_out=viewer.opted_out),
        certain_shares=share_of_frames(viewer.trace, opted_out=viewer.opted_out, certain_only=True),
        baseline=viewer_baseline(viewer.trace, gaps=viewer.gaps, opted_out=viewer.opted_out),
        funnel=frame_funnel(viewer.trace, gaps=viewer.gaps, counters=viewer.counters),
    )


@cache
def report_script_digests() -> tuple[str, ...]:
    """Give the SHA-256 digests (base64) of the page's two scripts, for content-security policies."""
    return tuple(
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (plotly_script(), _asset("page.js"))
    )


@cache
def content_security_policy() -> str:
    """Give the policy of the page: its own two scripts, by digest, and nothing from anywhere."""
    digests = " ".join(f"'sha256-{digest}'" for digest in report_script_digests())
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def plotly_script() -> str:
    """Give plotly.js as the plotly wheel carries it, safe to stand inside a script element."""
    source = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return source.replace("</script", "<\\/script")


@cache
def _asset(name: str) -> str:
    return resources.files("cloud.reports").joinpath(name).read_text(encoding="utf-8")


def _json_block(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _viewers(count: int) -> str:
    return "one viewer" if count == 1 else f"{count} viewers"
