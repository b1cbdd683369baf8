"""Requests and answers of the API; data from outside enters here and nowhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from cloud.api.security import KeyRole, Scope
from cloud.sessions.records import (
    ConsentEventRecord,
    SessionRecord,
    StudyContext,
    StudyRecord,
    TitleRecord,
    ViewerRecord,
)
from privacy.crypto.jws import encode_base64url
from privacy.governance.consent import Purpose
from privacy.governance.notices import LOCALES
from privacy.protocol.expressions import Expression

DAY_MS = 86_400_000

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Pseudonym = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Jurisdiction = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
Locale = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(LOCALES)})(-[A-Z]{{2}})?$")]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/_-]{1,200}={0,2}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

_WRITTEN_OUT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")
_FIRST_MOMENT = datetime(1, 1, 2, tzinfo=UTC)
_LAST_MOMENT = datetime(9999, 12, 30, tzinfo=UTC)


def _as_utc(moment: datetime) -> datetime:
    """Take a moment without an offset for UTC; refuse what lies outside the years 1 to 9999 somewhere on Earth."""
    # Compared without arithmetic on the moment itself: near either end, turning it to UTC overflows.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not _FIRST_MOMENT <= aware <= _LAST_MOMENT:
        raise ValueError("the moment must lie between 0001-01-02 and 9999-12-30 in UTC")
    return aware.astimezone(UTC)


def _written_out(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    is_text = isinstance(value, str) and _WRITTEN_OUT.match(value) is not None
    if not is_text and not isinstance(value, datetime):
        raise ValueError("write the moment as 2026-03-01T12:00:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_as_utc)]
"""Between 0001-01-02 and 9999-12-30, as 2026-03-01T12:00:00Z; without an offset it is UTC."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class NewStudio(_Request):
    """Register a studio."""

    name: Name = Field(examples=["Lighthouse Pictures"])


class Studio(_Answer):
    """A registered studio with its first key, which is shown this once."""

    tenant_id: UUID
    api_key: str


class NewKey(_Request):
    """Make a further key."""

    role: KeyRole
    scopes: frozenset[Scope] | None = Field(None, description="All that the role allows when left out.")
    expires_at: Moment | None = None


class Key(_Answer):
    """A new key, which is shown this once."""

    key_id: UUID
    role: KeyRole
    scopes: list[Scope]
    expires_at: datetime | None
    api_key: str


class NewTitle(_Request):
    """Add what will be shown."""

    name: Name = Field(examples=["Harbour Lights (trailer)"])
    duration_ms: int = Field(gt=0, le=DAY_MS, examples=[62_000])
    media_sha256: Sha256Hex | None = None


class Title(_Answer):
    """What is shown."""

    title_id: UUID
    name: str
    duration_ms: int
    media_sha256: str | None
    created_at: datetime

    @classmethod
    def of(cls, record: TitleRecord) -> Title:
        """Write a record."""
        return cls(
            title_id=record.id,
            name=record.name,
            duration_ms=record.duration_ms,
            media_sha256=record.media_sha256.hex() if record.media_sha256 else None,
            created_at=record.created_at,
        )


class NewStudy(_Request):
    """Plan a study; it takes viewers once its impact assessment is approved and it is launched."""

    name: Name = Field(examples=["Harbour Lights, first cut"])
    title_id: UUID
    context: Word = Field(
        examples=[StudyContext.AUDIENCE_RESEARCH],
        description="One of a closed list; whatever is not on it is refused, workplace and education first of all.",
        json_schema_extra={"enum": [str(context) for context in StudyContext]},
    )
    jurisdictions: Annotated[list[Jurisdiction], Field(min_length=1, max_length=100)]


class Study(_Answer):
    """A study."""

    study_id: UUID
    title_id: UUID
    name: str
    context: str
    jurisdictions: list[str]
    dpia_version: str | None
    dpia_approved_at: datetime | None
    state: str
    created_at: datetime

    @classmethod
    def of(cls, record: StudyRecord) -> Study:
        """Write a record."""
        return cls(
            study_id=record.id,
            title_id=record.title_id,
            name=record.name,
            context=record.context,
            jurisdictions=list(record.jurisdictions),
            dpia_version=record.dpia_version,
            dpia_approved_at=record.dpia_approved_at,
            state=record.state,
            created_at=record.created_at,
        )


class DpiaApproval(_Request):
    """Say that a version of the impact assessment is approved."""

    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    approved_by: Pseudonym = Field(description="A role or pseudonym; no name, no address.")


class NewViewer(_Request):
    """Add a viewer by a pseudonym that only the studio can resolve."""

    pseudonym: Pseudonym


class Viewer(_Answer):
    """A viewer."""

    viewer_id: UUID
    pseudonym: str
    created_at: datetime

    @classmethod
    def of(cls, record: ViewerRecord) -> Viewer:
        """Write a record."""
        return cls(viewer_id=record.id, pseudonym=record.pseudonym, created_at=record.created_at)


class NewSession(_Request):
    """Invite a viewer to one viewing."""

    study_id: UUID
    viewer_id: UUID
    jurisdiction: Jurisdiction = Field(description="Where the viewer is; unlisted means denied.")
    locale: Locale = "en"


class Invitation(_Answer):
    """What the viewer is sent; the part behind # is a secret and is shown this once."""

    session_id: UUID
    invite: str


class Session(_Answer):
    """A viewing."""

    session_id: UUID
    study_id: UUID
    title_id: UUID
    viewer_id: UUID
    jurisdiction: str
    locale: str
    state: str
    purposes: list[str]
    opted_out: list[str]
    created_at: datetime
    connected_at: datetime | None
    closed_at: datetime | None
    sealed_at: datetime | None
    erased_at: datetime | None
    close_reason: str | None

    @classmethod
    def of(cls, record: SessionRecord) -> Session:
        """Write a record."""
        return cls(
            session_id=record.id,
            study_id=record.study_id,
            title_id=record.title_id,
            viewer_id=record.viewer_id,
            jurisdiction=record.jurisdiction,
            locale=record.locale,
            state=str(record.state),
            purposes=list(record.purposes),
            opted_out=list(record.opted_out),
            created_at=record.created_at,
            connected_at=record.connected_at,
            closed_at=record.closed_at,
            sealed_at=record.sealed_at,
            erased_at=record.erased_at,
            close_reason=record.close_reason,
        )


class NoticeText(_Answer):
    """A notice as the viewer must be shown it."""

    text: str
    sha256: str
    locale: str
    version: str


class TitleFacts(_Answer):
    """What the agent must know of the title."""

    name: str
    duration_ms: int


class Join(_Answer):
    """All that an agent needs to ask for consent and to connect."""

    session_id: UUID
    tenant_id: UUID
    study: str
    title: TitleFacts
    jurisdiction: str
    capture_allowed: bool
    minimum_age_years: int
    notice: NoticeText
    controller: str
    signing_public_key: str = Field(description="Ed25519, base64.")
    key_bundle: str = Field(description="Signed list of the classifier pool's public keys (JWS).")
    ingest_url: str
    expressions: list[Expression]
    purposes: list[Purpose]
    state: str
    receipt: str | None
    server_utc_us: int = Field(description="The platform's clock, for agents whose own is wrong.")


class NoticeShown(_Request):
    """Say that a notice was shown, before consent can be given."""

    sha256: Sha256Hex
    locale: Locale


class NoticeStored(_Answer):
    """The notice event is stored."""

    notice_event_id: UUID


class Consent(_Request):
    """Give consent. `device_signature` signs the canonical JSON (RFC 8785) of all other members."""

    purposes: Annotated[list[Purpose], Field(max_length=len(Purpose))]
    opted_out: Annotated[list[Expression], Field(max_length=len(Expression))] = []
    notice_sha256: Sha256Hex
    device_public_key: Base64 = Field(description="Ed25519, base64.")
    adult: bool = Field(description="The viewer says that they have the minimum age.")
    device_signature: Base64 = Field(description="Ed25519, base64.")


class Receipt(_Answer):
    """The signed consent receipt (JWS)."""

    receipt: str
    receipt_sha256: str
    expires_at: datetime


class TicketRequest(_Request):
    """Ask to be let into signalling."""

    receipt_sha256: Sha256Hex


class IceServerFacts(_Answer):
    """A STUN or TURN server for this one connection; user name and credential are empty for STUN."""

    url: str
    username: str
    credential: str


class Ticket(_Answer):
    """Lets this agent into signalling for a short time (JWS), with the servers to reach ingest by."""

    ticket: str
    ingest_url: str
    expires_at: datetime
    ice_servers: list[IceServerFacts]
    protocol_minor: int = Field(
        description="The latest minor version of protocol version 1 that an offer may name (rule S14)."
    )


class Withdrawal(_Answer):
    """Consent is withdrawn; how far it has come. Repeating it is harmless and tells how far it is by then."""

    stream: Literal["stopped", "stopping"] = Field(
        description="Whether everybody who carries frames was told; `stopping` is tried on."
    )
    record: Literal["done", "queued"] = Field(
        description="Whether the withdrawal is written to the session; `queued` is tried on."
    )
    deletion: Literal["done", "queued"] = Field(
        description="`done` once everything is deleted: fetch the receipt at /v1/join/deletion-receipt."
    )


class ConsentEvidence(_Answer):
    """One consent event as evidence: what was agreed to, and what the viewer's device signed."""

    event_id: UUID
    kind: str = Field(description="given, refused, withdrawn or declared_minor.")
    at: datetime
    purposes: list[str]
    opted_out: list[str]
    notice_sha256: str | None
    receipt: str | None = Field(description="The signed receipt (JWS).")
    receipt_sha256: str | None
    device_public_key: str | None = Field(description="Ed25519, base64url: the device that consented.")
    device_signature: str | None = Field(description="Ed25519, base64url: over `signed_request`.")
    signed_request: str | None = Field(description="The request for consent as the device signed it.")

    @classmethod
    def of(cls, record: ConsentEventRecord) -> ConsentEvidence:
        """Write a record."""
        return cls(
            event_id=record.id,
            kind=record.kind,
            at=record.at,
            purposes=list(record.purposes),
            opted_out=list(record.opted_out),
            notice_sha256=record.notice_sha256.hex() if record.notice_sha256 else None,
            receipt=record.receipt_jws,
            receipt_sha256=record.receipt_sha256.hex() if record.receipt_sha256 else None,
            device_public_key=_base64url(record.device_public_key),
            device_signature=_base64url(record.device_signature),
            signed_request=record.signed_request,
        )


def _base64url(data: bytes | None) -> str | None:
    return None if data is None else encode_base64url(data)


class Deletion(_Answer):
    """A deletion and, once it is carried out, its signed receipt (JWS)."""

    deletion: str
    receipt: str | None = None


class DeletionReceipt(_Answer):
    """A signed deletion receipt (JWS)."""

    receipt: str
    at: datetime


class Keys(_Answer):
    """The platform's public keys."""

    signing_public_key: str
    key_bundle: str
