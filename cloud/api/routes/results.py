"""Results of a session: timeline, summary, report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse

from cloud.analytics.baseline import (
    PREROLL,
    Baseline,
    BaselineKind,
    BaselineWindow,
    baseline_document,
    viewer_baseline,
)
from cloud.api.context import Context
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.openapi import refuses
from cloud.api.result_schemas import Summary, Timeline
from cloud.api.schemas import DAY_MS
from cloud.api.security import Principal, Scope, needs
from cloud.api.session_data import load_session_data
from cloud.reports.documents import frame_columns, gap_columns, second_columns, summary_document
from cloud.reports.model_note import model_rows
from cloud.reports.page import TimelinePage, content_security_policy, render_timeline_page
from cloud.reports.smoothing import Smoothing, installed_filter, kernel_document, smooth_viewer
from cloud.reports.tables import frames_csv, seconds_csv
from cloud.reports.validity import VALIDITY
from cloud.reports.viewers import ViewerTimeline
from cloud.streams.scoring import ON_DEVICE
from cloud.web.problems import ProblemError
from privacy.protocol.ids import SessionId

router = APIRouter(prefix="/v1/sessions", tags=["results"], route_class=CredentialFirstRoute)

Reader = Annotated[Principal, Depends(needs(Scope.RESULTS_READ))]


_TABLE: dict[str, Any] = {
    "content": {"text/csv": {"schema": {"type": "string"}}},
    "headers": {
        "Content-Disposition": {"description": "Of a table: its name.", "schema": {"type": "string"}},
        "Link": {"description": "Of a table: its models' errors.", "schema": {"type": "string"}},
    },
}


class Resolution(StrEnum):
    """Every scored frame, or one median a second."""

    FRAME = "frame"
    SECOND = "second"


class TableFormat(StrEnum):
    """JSON columns, or CSV."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineQuery:
    """The neutral window that is subtracted, if any."""

    kind: BaselineKind
    start_ms: int
    end_ms: int

    def _window(self) -> BaselineWindow:
        try:
            return BaselineWindow(start_ms=self.start_ms, end_ms=self.end_ms)
        except ValueError as error:
            raise ProblemError(422, "baseline-window", f"{str(error).capitalize()}.") from None

    def of(self, viewer: ViewerTimeline) -> Baseline | None:
        """Take the viewer's baseline.

        Raises:
            ProblemError: 422, the window does not end after it starts, or is longer than ten minutes.
        """
        window = self._window()
        if self.kind is BaselineKind.NONE:
            return None
        return viewer_baseline(viewer.trace, window, gaps=viewer.gaps, opted_out=viewer.opted_out)


def read_baseline(
    baseline: Annotated[BaselineKind, Query()] = BaselineKind.NONE,
    baseline_from_ms: Annotated[int, Query(ge=-DAY_MS, le=DAY_MS)] = PREROLL.start_ms,
    baseline_to_ms: Annotated[int, Query(ge=-DAY_MS, le=DAY_MS)] = PREROLL.end_ms,
) -> BaselineQuery:
    """Read the baseline's parameters."""
    return BaselineQuery(kind=baseline, start_ms=baseline_from_ms, end_ms=baseline_to_ms)


@router.get(
    "/{session_id}/timeline",
    response_model=Timeline,
    responses=refuses(410) | {200: {"description": "JSON columns, or a table.", **_TABLE}},
)
async def read_timeline(
    session_id: UUID,
    context: Context,
    principal: Reader,
    baseline: Annotated[BaselineQuery, Depends(read_baseline)],
    resolution: Annotated[Resolution, Query()] = Resolution.SECOND,
    table: Annotated[TableFormat, Query(alias="format")] = TableFormat.JSON,
    smoothing: Annotated[Smoothing, Query()] = Smoothing.RAW,
) -> Response:
    """Give a session's timeline with its gaps.

    Columns are parallel lists. A second is the median of its frames and is null unless at least half of
    the frames captured in it were scored; an opted-out expression is null throughout. Nothing is ever
    filled in. `smoothing=hmm` filters the scores over time, forward only; what is stored stays raw.
    Each of `models` brings its errors on test sets, confusion matrices included; a CSV links to them.
    `baseline=preroll` adds what the six are above their mean in a neutral window of media time, by default
    the 30 s before the title begins.
    """
    data = await load_session_data(context, principal.tenant, SessionId(session_id))
    viewer = await asyncio.to_thread(smooth_viewer, data.viewer, smoothing, installed_filter())
    found = await asyncio.to_thread(baseline.of, viewer)
    if table is TableFormat.CSV:
        as_csv = frames_csv if resolution is Resolution.FRAME else seconds_csv
        text = await asyncio.to_thread(as_csv, viewer, duration_ms=data.duration_ms, baseline=found)
        kernel = "" if smoothing is Smoothing.RAW else f"-{smoothing}"
        name = f"{viewer.session}-{resolution}{kernel}.csv"
        return Response(text, media_type="text/csv", headers=_table_headers(name, viewer))
    columns = frame_columns if resolution is Resolution.FRAME else second_columns
    document: dict[str, Any] = {
        "session_id": viewer.session,
        "resolution": str(resolution),
        "smoothing": kernel_document(smoothing, installed_filter()),
        "baseline": baseline_document(found),
        "duration_ms": data.duration_ms,
        "opted_out": sorted(viewer.opted_out),
        "validity": VALIDITY,
        "models": model_rows(viewer.models),
        "columns": await asyncio.to_thread(columns, viewer, duration_ms=data.duration_ms, baseline=found),
        "gaps": await asyncio.to_thread(gap_columns, viewer.gaps),
    }
    return await asyncio.to_thread(_json, document)


@router.get("/{session_id}/summary", response_model=Summary, responses=refuses(410))
async def read_summary(session_id: UUID, context: Context, principal: Reader) -> Response:
    """Give counters, gaps by reason, duplicates, latencies and the share of frames each expression leads."""
    data = await load_session_data(context, principal.tenant, SessionId(session_id))
    document = await asyncio.to_thread(summary_document, data.viewer, duration_ms=data.duration_ms)
    return _json({"state": data.state, **document})


@router.get("/{session_id}/report", response_class=HTMLResponse, responses=refuses(410))
async def read_report(session_id: UUID, context: Context, principal: Reader) -> Response:
    """Give the timeline as one self-contained page."""
    data = await load_session_data(context, principal.tenant, SessionId(session_id))
    page = TimelinePage(
        title=data.title,
        study=data.study,
        duration_ms=data.duration_ms,
        viewers=[data.viewer],
        made_at=context.now(),
    )
    html = await asyncio.to_thread(render_timeline_page, page)
    return HTMLResponse(html, headers={"Content-Security-Policy": content_security_policy()})


def _table_headers(name: str, viewer: ViewerTimeline) -> dict[str, str]:
    """Name the file, and where the errors of the models that scored it are told: a table has no room for them."""
    links = ", ".join(
        f'</v1/models/{scored.model.sha256.hex()}>; rel="describedby"'
        for scored in viewer.models
        if scored.model != ON_DEVICE
    )
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return headers | {"Link": links} if links else headers


def _json(document: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
