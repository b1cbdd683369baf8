"""Titles, studies and viewers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from cloud.api.context import Context
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.openapi import refuses
from cloud.api.schemas import DpiaApproval, NewStudy, NewTitle, NewViewer, Study, Title, Viewer
from cloud.api.security import Principal, Scope, needs
from cloud.sessions.records import StudyContext
from cloud.web.problems import ProblemError

router = APIRouter(prefix="/v1", tags=["studies"], route_class=CredentialFirstRoute)

Reader = Annotated[Principal, Depends(needs(Scope.STUDIES_READ))]
Writer = Annotated[Principal, Depends(needs(Scope.STUDIES_WRITE))]
Approver = Annotated[Principal, Depends(needs(Scope.STUDIES_APPROVE))]
Inviter = Annotated[Principal, Depends(needs(Scope.SESSIONS_WRITE))]
ResultsReader = Annotated[Principal, Depends(needs(Scope.RESULTS_READ))]
Limit = Annotated[int, Query(ge=1, le=1_000)]


@router.post("/titles", status_code=201)
async def add_title(body: NewTitle, context: Context, principal: Writer) -> Title:
    """Add what will be shown."""
    record = await context.registry.create_title(
        principal.tenant,
        name=body.name,
        duration_ms=body.duration_ms,
        media_sha256=bytes.fromhex(body.media_sha256) if body.media_sha256 else None,
        now=context.now(),
    )
    return Title.of(record)


@router.get("/titles")
async def list_titles(context: Context, principal: Reader, limit: Limit = 100) -> list[Title]:
    """List titles, newest first."""
    return [Title.of(r) for r in await context.registry.list_titles(principal.tenant, limit=limit)]


@router.get("/titles/{title_id}")
async def get_title(title_id: UUID, context: Context, principal: Reader) -> Title:
    """Read a title."""
    return Title.of(await context.registry.get_title(principal.tenant, title_id))


@router.post("/studies", status_code=201, responses=refuses(404))
async def plan_study(body: NewStudy, context: Context, principal: Writer) -> Study:
    """Plan a study as a draft."""
    if body.context not in set(StudyContext):
        await _audit(context, principal, "study.refused", str(body.title_id), {"context": body.context})
        raise context_refused()
    denied = sorted(code for code in body.jurisdictions if not context.policy.allows_capture(code))
    if denied:
        await _audit(
            context, principal, "study.refused", str(body.title_id), {"jurisdictions": " ".join(denied)}
        )
        raise ProblemError(
            422, "jurisdiction-denied", f"The policy does not allow capture in {', '.join(denied)}."
        )
    async with context.registry.unit_of_work(principal.tenant):
        record = await context.registry.create_study(
            principal.tenant,
            title_id=body.title_id,
            name=body.name,
            context=body.context,
            jurisdictions=body.jurisdictions,
            now=context.now(),
        )
        await _audit(context, principal, "study.planned", str(record.id), {"context": body.context})
    return Study.of(record)


@router.get("/studies")
async def list_studies(context: Context, principal: Reader, limit: Limit = 100) -> list[Study]:
    """List studies, newest first."""
    return [Study.of(r) for r in await context.registry.list_studies(principal.tenant, limit=limit)]


@router.get("/studies/{study_id}")
async def get_study(study_id: UUID, context: Context, principal: Reader) -> Study:
    """Read a study."""
    return Study.of(await context.registry.get_study(principal.tenant, study_id))


@router.post("/studies/{study_id}/dpia", responses=refuses(409))
async def approve_dpia(study_id: UUID, body: DpiaApproval, context: Context, principal: Approver) -> Study:
    """Note that a version of the data protection impact assessment is approved."""
    async with context.registry.unit_of_work(principal.tenant):
        record = await context.registry.approve_dpia(
            principal.tenant,
            study_id,
            version=body.version,
            approved_by=body.approved_by,
            now=context.now(),
        )
        await _audit(context, principal, "study.dpia_approved", str(study_id), {"version": body.version})
    return Study.of(record)


@router.post("/studies/{study_id}/launch", responses=refuses(409))
async def launch_study(study_id: UUID, context: Context, principal: Writer) -> Study:
    """Open a study for sessions; refused without an approved impact assessment."""
    study = await context.registry.get_study(principal.tenant, study_id)
    if study.dpia_version is None:
        await _audit(
            context, principal, "study.launch_refused", str(study_id), {"reason": "no approved DPIA"}
        )
        raise ProblemError(409, "dpia-missing", "Approve an impact assessment first: POST .../dpia.")
    if not study.is_context_allowed:
        await _audit(context, principal, "study.launch_refused", str(study_id), {"context": study.context})
        raise context_refused()
    async with context.registry.unit_of_work(principal.tenant):
        record = await context.registry.launch_study(principal.tenant, study_id)
        await _audit(context, principal, "study.launched", str(study_id), {"dpia": record.dpia_version})
    return Study.of(record)


@router.post("/viewers", status_code=201)
async def add_viewer(body: NewViewer, context: Context, principal: Inviter) -> Viewer:
    """Add a viewer by pseudonym; the same pseudonym gives the same viewer."""
    record = await context.registry.create_viewer(
        principal.tenant, pseudonym=body.pseudonym, now=context.now()
    )
    return Viewer.of(record)


@router.get("/viewers")
async def list_viewers(context: Context, principal: ResultsReader, limit: Limit = 100) -> list[Viewer]:
    """List viewers, newest first."""
    return [Viewer.of(r) for r in await context.registry.list_viewers(principal.tenant, limit=limit)]


def context_refused() -> ProblemError:
    """Rule A2 (AI Act Art 5(1)(f)): expressions are not read where people cannot freely say no."""
    allowed = ", ".join(StudyContext)
    return ProblemError(
        422,
        "context-refused",
        "Expressions are not read at the workplace, in education, or in any other context that is not one of: "
        f"{allowed} (AI Act Art 5).",
    )


async def _audit(
    context: Context, principal: Principal, action: str, subject: str, detail: dict[str, str | int | None]
) -> None:
    await context.registry.append_audit(
        principal.tenant,
        actor=principal.actor,
        action=action,
        subject=subject,
        detail=detail,
        now=context.now(),
    )
