"""A session's stored rows as what the report works on."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.analytics.traces import FrameTrace
from cloud.api.context import ApiContext
from cloud.reports.viewers import ViewerTimeline
from cloud.results.latency import classified_histogram
from cloud.results.packs import count_duplicates
from cloud.sessions.records import SessionState
from cloud.web.problems import ProblemError
from privacy.protocol.expressions import Expression
from privacy.protocol.ids import SessionId, TenantId

VIEWER_FACE = 0
"""Only the consented viewer's face is ever sealed, and it is always the first."""

REMARKS = {
    SessionState.CREATED: "The viewer has not consented yet.",
    SessionState.CONSENTED: "The viewer has consented but not begun.",
    SessionState.LIVE: "The session is live: these are the figures so far.",
}
"""What a reader must know of a session that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionData:
    """All that a report says of a session."""

    state: str
    study: str
    title: str
    duration_ms: int
    viewer: ViewerTimeline


async def load_session_data(context: ApiContext, tenant: TenantId, session: SessionId) -> SessionData:
    """Read a session.

    Raises:
        NotFoundError: no such session for this tenant.
        ProblemError: 410, it was withdrawn or erased.
        StoreError: the store is away.
    """
    found = await context.registry.get_session_context(tenant, session)
    if found.session.state in (SessionState.WITHDRAWN, SessionState.ERASED):
        raise ProblemError(
            410, "session-erased", "Consent was withdrawn or the session erased: nothing is left."
        )
    frames = await context.timelines.read_frames(tenant, session)
    gaps = await context.timelines.read_gaps(tenant, session)
    counters = await context.timelines.read_counters(tenant, session)
    committed = await context.timelines.read_latency(tenant, session)
    frames = frames[frames["face"] == VIEWER_FACE]
    viewer = ViewerTimeline(
        pseudonym=found.viewer.pseudonym,
        session=str(session),
        trace=FrameTrace.from_records(frames),
        gaps=gaps,
        counters=counters,
        latency={"classified": classified_histogram(frames).tolist(), "committed": committed},
        duplicates=count_duplicates(frames),
        redelivered=await context.timelines.read_redelivered(tenant, session),
        models=await context.timelines.read_models(tenant, session),
        opted_out=frozenset(Expression(name) for name in found.session.opted_out),
        remark=REMARKS.get(found.session.state, ""),
    )
    return SessionData(
        state=str(found.session.state),
        study=found.study.name,
        title=found.title.name,
        duration_ms=found.title.duration_ms,
        viewer=viewer,
    )
