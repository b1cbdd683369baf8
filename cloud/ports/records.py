"""Rows of the registry as values, as the API and the lifecycle see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from privacy.ids import SessionId, TenantId
from privacy.wire import limits


class SessionState(StrEnum):
    """Where a session stands; `WITHDRAWN` and `ERASED` are final for everything but its erasure."""

    CREATED = "created"
    CONSENTED = "consented"
    LIVE = "live"
    CLOSED = "closed"
    SEALED = "sealed"
    WITHDRAWN = "withdrawn"
    ERASED = "erased"


_RESTING = frozenset({SessionState.CLOSED, SessionState.SEALED})

LOST = "lost"
"""The close reason of a session whose connection went away without a word."""

RESUME_FOR = timedelta(seconds=limits.RESUME_MAX_S + 30)
"""From the loss, as the platform noted it; half a minute for the last attempt of an agent that backs off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """A studio's key; `hash` is the SHA-256 of its secret part."""

    tenant: TenantId
    id: UUID
    hash: bytes = field(repr=False)
    role: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Say whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleRecord:
    """What is shown: a trailer, a film, a spot."""

    id: UUID
    name: str
    duration_ms: int
    media_sha256: bytes | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """Why and where viewers are asked; launched only with an approved impact assessment (rule G7)."""

    id: UUID
    title_id: UUID
    name: str
    context: str
    jurisdictions: tuple[str, ...]
    dpia_version: str | None
    dpia_approved_at: datetime | None
    dpia_approved_by: str | None
    state: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerRecord:
    """Who watches, by a pseudonym the studio chose."""

    id: UUID
    pseudonym: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One viewing; the receipt fields are empty before consent and after erasure."""

    tenant: TenantId
    id: SessionId
    study_id: UUID
    title_id: UUID
    viewer_id: UUID
    jurisdiction: str
    locale: str
    state: SessionState
    epoch: int
    created_at: datetime
    connected_at: datetime | None
    closed_at: datetime | None
    sealed_at: datetime | None
    erased_at: datetime | None
    receipt_jws: str | None = field(repr=False)
    receipt_sha256: bytes | None
    receipt_expires_at: datetime | None
    purposes: tuple[str, ...]
    opted_out: tuple[str, ...]
    close_reason: str | None

    def is_resumable(self, now: datetime) -> bool:
        """Say whether its connection was lost so lately that its agent may take it up again."""
        return (
            self.state in _RESTING
            and self.close_reason == LOST
            and self.closed_at is not None
            and now - self.closed_at < RESUME_FOR
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContext:
    """A session together with what it belongs to."""

    session: SessionRecord
    study: StudyRecord
    title: TitleRecord
    viewer: ViewerRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEventRecord:
    """One line of the consent ledger."""

    id: UUID
    kind: str
    receipt_sha256: bytes | None
    notice_sha256: bytes | None
    purposes: tuple[str, ...]
    opted_out: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureJob:
    """A deletion that was asked for; `done_at` is None while it waits."""

    tenant: TenantId
    id: UUID
    session: SessionId
    reason: str
    requested_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionReceiptRecord:
    """A signed receipt of a finished deletion."""

    id: UUID
    session: SessionId
    receipt_jws: str
    at: datetime
