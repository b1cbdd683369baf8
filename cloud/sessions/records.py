"""Rows of the registry as values, as the API and the lifecycle see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from privacy.protocol import limits
from privacy.protocol.ids import SessionId, TenantId


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


class StudyContext(StrEnum):
    """In which contexts a study may run (rule A2, AI Act Art 5(1)(f)): where people can freely say no; a closed list.

    The same words stand in the database's constraint `study_context_allowed`.
    """

    HOME = "home"
    AUDIENCE_RESEARCH = "audience_research"
    TRAILER_TEST = "trailer_test"
    FILM_TEST = "film_test"
    SERIES_TEST = "series_test"
    ADVERTISING_TEST = "advertising_test"
    GAME_TEST = "game_test"
    MUSIC_VIDEO_TEST = "music_video_test"
    ACADEMIC_AUDIENCE_STUDY = "academic_audience_study"


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

    @property
    def is_context_allowed(self) -> bool:
        """Whether its context is on the list; an earlier version also took others."""
        return self.context in set(StudyContext)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerRecord:
    """Who watches, by a pseudonym the studio chose."""

    id: UUID
    pseudonym: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One viewing; the receipt fields are empty before consent and after erasure.

    Attributes:
        state: `WITHDRAWN` also while only its deletion is queued, because somebody holds the row.
        device_public_key: Ed25519, of the device whose consent came first; no other device may consent.
        receipt_ordinal: how many consents this session has had; the latest receipt's number.
    """

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
    device_public_key: bytes | None = None
    receipt_ordinal: int = 0

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
class SignedConsent:
    """What a device signed when its viewer consented; kept as evidence (rule G3).

    Attributes:
        device_public_key: Ed25519, 32 bytes.
        device_signature: 64 bytes, over `request`.
        request: the request in canonical JSON, without the signature.
    """

    device_public_key: bytes
    device_signature: bytes
    request: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEventRecord:
    """One line of the consent ledger.

    Attributes:
        receipt_jws: the signed receipt of a consent.
        device_public_key: Ed25519, of the device that asked for it.
        device_signature: over `signed_request`.
        signed_request: the request in canonical JSON, as the device signed it.
    """

    id: UUID
    kind: str
    receipt_sha256: bytes | None
    notice_sha256: bytes | None
    purposes: tuple[str, ...]
    opted_out: tuple[str, ...]
    at: datetime
    receipt_jws: str | None = field(default=None, repr=False)
    device_public_key: bytes | None = None
    device_signature: bytes | None = None
    signed_request: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureJob:
    """A deletion that was asked for; `done_at` is None while it waits.

    Attributes:
        owed: the ending that the session's row does not have yet, because somebody held it; None in the usual case.
        actor: who caused that ending.
    """

    tenant: TenantId
    id: UUID
    session: SessionId
    reason: str
    requested_at: datetime
    done_at: datetime | None
    owed: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionReceiptRecord:
    """A signed receipt of a finished deletion."""

    id: UUID
    session: SessionId
    receipt_jws: str
    at: datetime
