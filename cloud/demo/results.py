"""What a demonstration leaves behind: `summary.json`, `timeline.csv`, `index.html`."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from cloud.analytics.latency import summarise
from cloud.analytics.traces import FrameTrace
from cloud.demo.schedule import Schedule, balanced_agreement
from cloud.demo.studio import Seat
from cloud.reports.figures import ScheduledExpression
from cloud.reports.model_note import models_of_rows
from cloud.reports.page import TimelinePage, render_timeline_page
from cloud.reports.tables import seconds_csv
from cloud.reports.viewers import ViewerTimeline
from cloud.results.changes import Counted, FramesSkipped
from cloud.streams.entries import FLAG_GREY, FLAG_LATE, FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from privacy.protocol.expressions import EXPRESSIONS, Expression

LATENCIES = {"captured_to_classified": "classified", "captured_to_committed": "committed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """What is known of one viewer afterwards.

    Attributes:
        seat: the place in the study.
        agent: the summary that the agent wrote at its end.
        summary: the studio's figures of the session.
        timeline: the studio's timeline at frame resolution, as columns.
        schedule: what was shown, where it is known.
    """

    seat: Seat
    agent: Mapping[str, Any]
    summary: Mapping[str, Any]
    timeline: Mapping[str, Any]
    schedule: Schedule | None = None


def write_results(
    out: Path, viewings: Sequence[Viewing], *, title: str, duration_ms: int
) -> list[tuple[Path, str]]:
    """Write all results.

    Returns:
        Each file with a few words on what it is.
    """
    now = datetime.now(UTC)
    figures = summarise_run(viewings, made_at=now)
    (out / "summary.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (out / "timeline.csv").write_text(seconds_table(viewings, duration_ms=duration_ms), encoding="utf-8")
    timelines = [viewer_timeline(viewing) for viewing in viewings]
    page = TimelinePage(
        title=title, study="Demonstration", duration_ms=duration_ms, viewers=timelines, made_at=now
    )
    (out / "index.html").write_text(render_timeline_page(page), encoding="utf-8")
    return [
        (out / "index.html", "the timelines, drawn: open it in a browser"),
        (out / "summary.json", summary_line(figures)),
        (out / "timeline.csv", "every second of every viewer"),
    ]


def summarise_run(viewings: Sequence[Viewing], *, made_at: datetime) -> dict[str, Any]:
    """Put the figures of all viewers together; latencies are pooled over viewers."""
    frames = [viewing.summary["frames"] for viewing in viewings]
    gaps = [viewing.summary["gaps"] for viewing in viewings]
    agreements = [agreement_of(viewing) for viewing in viewings]
    known = [agreement["balanced"] for agreement in agreements if agreement is not None]
    return {
        "made_at": made_at.isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "sessions": len(viewings),
        "frames_captured": sum(count["captured"] for count in frames),
        "frames_with_face": sum(count["with_face"] for count in frames),
        "frames_sent": sum(count["sent"] for count in frames),
        "frames_skipped": sum(sum(count["skipped"].values()) for count in frames),
        "frames_skipped_by_reason": _added(count["skipped"] for count in frames),
        "frames_stored": sum(count["stored"] for count in frames),
        "frames_uncertain": sum(count["uncertain"] for count in frames),
        "frames_lost_unflagged": sum(count["lost_unflagged"] for count in frames),
        "duplicates": sum(viewing.summary["duplicates"] for viewing in viewings),
        "gaps": sum(gap["count"] for gap in gaps),
        "gap_frames_by_reason": _added(gap["frames_by_reason"] for gap in gaps),
        "latency_ms": {name: _pooled(viewings, kind) for name, kind in LATENCIES.items()},
        "schedule_agreement": round(min(known), 4) if known else None,
        "viewers": [
            {
                "pseudonym": viewing.seat.pseudonym,
                "session_id": viewing.seat.session_id,
                "frames": dict(viewing.summary["frames"]),
                "latency_ms": {
                    name: _percentiles(viewing.summary["latency_ms"][kind]["histogram"])
                    for name, kind in LATENCIES.items()
                },
                "share_of_time": dict(viewing.summary["share_of_frames"]),
                "schedule_agreement": agreement,
                "agent": dict(viewing.agent),
            }
            for viewing, agreement in zip(viewings, agreements, strict=True)
        ],
    }


def agreement_of(viewing: Viewing) -> dict[str, float] | None:
    """Compare a viewer's timeline with what is known to have been shown; None where nothing is known."""
    if viewing.schedule is None:
        return None
    columns = viewing.timeline["columns"]
    shares = np.array([columns[name] for name in EXPRESSIONS], np.float64).T.reshape(-1, len(EXPRESSIONS))
    read = [str(EXPRESSIONS[index]) for index in shares.argmax(axis=1)]
    agreement = balanced_agreement(viewing.schedule, columns["media_time_ms"], read)
    return {name: round(share, 4) for name, share in agreement.items()}


def seconds_table(viewings: Sequence[Viewing], *, duration_ms: int) -> str:
    """Write one row for each second of each viewer: what was shown, where it is known, and what was read."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for number, viewing in enumerate(viewings):
        rows = csv.reader(io.StringIO(seconds_csv(viewer_timeline(viewing), duration_ms=duration_ms)))
        head, *seconds = rows
        if number == 0:
            writer.writerow(["viewer", "shown", *head])
        for row in seconds:
            middle_ms = int(row[0]) * 1000 + 500
            shown = viewing.schedule.settled_expression(middle_ms) if viewing.schedule else None
            writer.writerow([viewing.seat.pseudonym, shown or "", *row])
    return out.getvalue()


def viewer_timeline(viewing: Viewing) -> ViewerTimeline:
    """Turn the API's answers back into what a report is drawn from."""
    columns, gaps = viewing.timeline["columns"], viewing.timeline["gaps"]
    counts = viewing.summary["frames"]
    return ViewerTimeline(
        pseudonym=viewing.seat.pseudonym,
        session=viewing.seat.session_id,
        trace=_trace(columns),
        gaps=[
            FramesSkipped(first_frame=first, last_frame=last, segment=segment, media_time_ms=media_ms, reason=reason)
            for first, last, segment, media_ms, reason in zip(
                gaps["first_frame"], gaps["last_frame"], gaps["segment"], gaps["media_time_ms"], gaps["reason"],
                strict=True,
            )
        ],
        models=models_of_rows(viewing.summary.get("models", ())),
        counters=Counted(
            captured=counts["captured"],
            with_face=counts["with_face"],
            sent=counts["sent"],
            skipped=counts["skipped"],
        ),
        latency={kind: viewing.summary["latency_ms"][kind]["histogram"] for kind in LATENCIES.values()},
        duplicates=viewing.summary["duplicates"],
        opted_out=frozenset(Expression(name) for name in viewing.summary["opted_out"]),
        schedule=[
            ScheduledExpression(
                start_ms=moment.start_ms, end_ms=moment.end_ms, expression=Expression(moment.expression)
            )
            for moment in (viewing.schedule.moments if viewing.schedule else ())
        ],
        remark=_remark(viewing),
    )  # fmt: skip


def summary_line(figures: Mapping[str, Any]) -> str:
    """Say the most important figures in a few words."""
    classified = figures["latency_ms"]["captured_to_classified"]
    text = (
        f"{figures['frames_stored']} of {figures['frames_captured']} frames stored, "
        f"{figures['duplicates']} duplicates, classified within {classified['p50']} ms (p50), "
        f"{classified['p99']} ms (p99)"
    )
    if figures["schedule_agreement"] is not None:
        text += f", agreement with the schedule {figures['schedule_agreement']:.2f}"
    return text


def _trace(columns: Mapping[str, Sequence[Any]]) -> FrameTrace:
    def scaled(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        shares = np.array([value or 0.0 for value in columns[name]], np.float64)
        return (shares * 255).round().astype(np.uint8)

    flags = sum(
        np.array(columns[name], np.uint8) * np.uint8(flag)
        for name, flag in (
            ("late", FLAG_LATE),
            ("grey", FLAG_GREY),
            ("uncertain", FLAG_UNCERTAIN),
            ("out_of_scope", FLAG_OUT_OF_SCOPE),
        )
    )
    return FrameTrace(
        frame=np.array(columns["frame"], np.int64),
        segment=np.array(columns["segment"], np.int32),
        media_time_ms=np.array(columns["media_time_ms"], np.int32),
        probabilities=np.stack([scaled(str(name)) for name in EXPRESSIONS], axis=1),
        confidence=scaled("confidence"),
        attention=scaled("attention"),
        flags=np.asarray(flags, np.uint8),
    )


def _remark(viewing: Viewing) -> str:
    agreement = agreement_of(viewing)
    if agreement is None:
        return ""
    parts = ", ".join(f"{name} {share:.0%}" for name, share in agreement.items() if name != "balanced")
    return (
        f"A made-up viewer: dotted frames show what was performed. Settled frames read as performed: {parts}."
    )


def _added(tables: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(total.most_common())


def _pooled(viewings: Sequence[Viewing], kind: str) -> dict[str, float | None]:
    histograms = [viewing.summary["latency_ms"][kind]["histogram"] for viewing in viewings]
    return _percentiles([sum(counts) for counts in zip_longest(*histograms, fillvalue=0)])


def _percentiles(histogram: Sequence[int]) -> dict[str, float | None]:
    figures = summarise(histogram)
    return {"p50": figures.p50_ms, "p95": figures.p95_ms, "p99": figures.p99_ms}
