"""Messages on the signalling websocket and the `ctl` data channel.

All are JSON objects tagged by `type`; `privacy.protocol.codec` encodes and decodes them within their
limits. Times are microseconds; `*_monotonic_us` on the sender's monotonic clock, `*_utc_us` since
the Unix epoch. The bounds in the annotations (protocol rule W8) are those of the JSON Schemas as well.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from privacy.protocol import limits

MINOR = 1
"""The latest minor version of protocol version 1 that this code speaks (protocol rule S14)."""

_U16_END: Final = 1 << 16
_U32_END: Final = 1 << 32
_TIME_END: Final = 1 << 53


class SkipReason(StrEnum):
    """Why a captured frame was not sent, or not stored; values travel in `Counters.skipped` and `Gap.reason`."""

    NO_FACE = "no_face"
    SECOND_FACE = "second_face"
    AMBIGUOUS_TRACK = "ambiguous_track"
    LOW_QUALITY = "low_quality"
    DARK = "dark"
    TOO_LARGE = "too_large"
    BUSY_CHANNEL = "busy_channel"
    NOT_CONNECTED = "not_connected"
    CAMERA_LOST = "camera_lost"
    OVERLOAD = "overload"
    WITHDRAWN = "withdrawn"
    LOST = "lost"


SKIP_REASONS = frozenset(reason.value for reason in SkipReason)
"""Every value that may travel. `lost` is only ever a gap: sent, never acked, and out of the resend ring."""


class RefusalReason(StrEnum):
    """Why a datagram was dropped; values travel in `Refusals.counts` (protocol rules S10, S15).

    The first group is ingest's, the second the classify worker's; `stale` may come from either.
    """

    RATE = "rate"
    MALFORMED = "malformed"
    FOREIGN_SESSION = "foreign_session"
    FENCED = "fenced"
    STALE = "stale"
    FUTURE = "future"
    REPLAYED = "replayed"
    OVER = "over"
    CONSENT_EXPIRED = "consent_expired"

    ENVELOPE = "envelope"
    NO_SETUP = "no_setup"
    REVOKED = "revoked"
    SEAL = "seal"
    PAYLOAD = "payload"
    CONTENT = "content"
    SCORES = "scores"
    FACE = "face"


REFUSAL_REASONS = frozenset(reason.value for reason in RefusalReason)
"""Every value that may travel."""


U16 = Annotated[int, Meta(ge=0, lt=_U16_END)]
U32 = Annotated[int, Meta(ge=0, lt=_U32_END)]
Epoch = Annotated[int, Meta(ge=1, lt=_U32_END)]
LastFrame = Annotated[int, Meta(ge=-1, lt=_U32_END, description="-1 where no frame was captured")]
Time = Annotated[int, Meta(ge=0, lt=_TIME_END, description="microseconds")]
SignedTime = Annotated[int, Meta(ge=-_TIME_END, lt=_TIME_END, description="microseconds, may be negative")]
Reason = Annotated[str, Meta(min_length=1, max_length=200, description="a sentence for a person")]
Text = Annotated[str, Meta(min_length=1)]
Uuid = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36)
]
"""The length is bounded too, since Python's `$` lets a final line feed pass."""

KeyName = Annotated[str, Meta(min_length=1, max_length=200, description="16 hex digits (K1)")]
Receipt = Annotated[str, Meta(max_length=limits.RECEIPT_MAX_BYTES, description="compact JWS (K6)")]
SkipName = Annotated[str, Meta(extra_json_schema={"enum": [reason.value for reason in SkipReason]})]
RefusalName = Annotated[str, Meta(extra_json_schema={"enum": [reason.value for reason in RefusalReason]})]


def _setup_bytes(length_bytes: int) -> Meta:
    """Bound a setup's bytes; their exact length is told to clients here and checked on opening."""
    digits, pad = -(-length_bytes * 4 // 3), -length_bytes % 3
    pattern = f"^[A-Za-z0-9+/]{{{digits}}}{'=' * pad}$"
    return Meta(
        max_length=limits.SETUP_FIELD_MAX_BYTES,
        extra_json_schema={"pattern": pattern, "description": f"{length_bytes} bytes, base64 with padding"},
    )


PublicKeyBytes = Annotated[bytes, _setup_bytes(32)]
EncapsulatedBytes = Annotated[bytes, _setup_bytes(80)]
SignatureBytes = Annotated[bytes, _setup_bytes(64)]


class SessionSetup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a classify worker needs to open one epoch of one session (protocol rules K1-K4)."""

    session: Uuid
    tenant: Uuid
    epoch: Epoch
    key_id: KeyName
    not_after_utc_us: Time
    device_public_key: PublicKeyBytes
    encapsulated: EncapsulatedBytes
    device_signature: SignatureBytes
    receipt: Receipt


class Offer(
    msgspec.Struct, frozen=True, kw_only=True, tag="offer", forbid_unknown_fields=True, omit_defaults=True
):
    """Agent -> ingest: an SDP offer without trickle, the session ticket and the epoch's setup.

    `minor` is the latest minor version that the agent speaks; 0 is left out, so that version 1 stays as it was.
    """

    ticket: Text
    sdp: Text
    setup: SessionSetup
    minor: U16 = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer", forbid_unknown_fields=True):
    """Ingest -> agent: the SDP answer; this ingest process owns the session from now on."""

    sdp: Text


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", forbid_unknown_fields=True):
    """Ingest -> agent: no session; `code` as in HTTP (401, 403, 409, 410, 422, 503)."""

    code: Annotated[int, Meta(ge=400, lt=600)]
    reason: Reason
    retry_after_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0


class Clock(msgspec.Struct, frozen=True, kw_only=True, tag="clock", forbid_unknown_fields=True):
    """Agent -> ingest: start of a four-timestamp exchange."""

    t1_monotonic_us: Time


class ClockReply(msgspec.Struct, frozen=True, kw_only=True, tag="clock_reply", forbid_unknown_fields=True):
    """Ingest -> agent: receive and send time of the exchange on the server's UTC clock."""

    t1_monotonic_us: Time
    t2_utc_us: Time
    t3_utc_us: Time


class ClockOffset(msgspec.Struct, frozen=True, kw_only=True, tag="clock_offset", forbid_unknown_fields=True):
    """Agent -> ingest: add `offset_us` to the agent's monotonic clock to get the server's UTC."""

    offset_us: SignedTime
    error_us: Time


class Segment(msgspec.Struct, frozen=True, kw_only=True, tag="segment", forbid_unknown_fields=True):
    """Agent -> ingest: a playback segment begins; media time advances at `rate_permille` / 1000."""

    segment: U16
    media_time_us: SignedTime
    monotonic_us: Time
    rate_permille: Annotated[int, Meta(ge=0, le=16_000)]


class Counters(msgspec.Struct, frozen=True, kw_only=True, tag="counters", forbid_unknown_fields=True):
    """Agent -> ingest: totals since the session began; `skipped` counts frames by `SkipReason` value."""

    captured: U32
    with_face: U32
    sent: U32
    skipped: dict[SkipName, U32]


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap", forbid_unknown_fields=True):
    """Agent -> ingest: frames first..last (inclusive) were not sent, for one reason."""

    first_frame: U32
    last_frame: U32
    segment: U16
    media_time_us: SignedTime
    reason: SkipName


class Withdraw(msgspec.Struct, frozen=True, kw_only=True, tag="withdraw", forbid_unknown_fields=True):
    """Agent -> ingest: consent is withdrawn; stop at once. The API call makes it permanent."""

    monotonic_us: Time


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye", forbid_unknown_fields=True):
    """Agent -> ingest: the session ends in order; no frame after `last_frame` was captured."""

    last_frame: LastFrame


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack", forbid_unknown_fields=True):
    """Ingest -> agent: these frames of pack `bucket` are committed; bit i is frame `bucket * 30 + i`."""

    bucket: Annotated[int, Meta(ge=0, le=_U32_END // limits.FRAMES_PER_PACK)]
    mask: Annotated[int, Meta(ge=0, lt=1 << limits.FRAMES_PER_PACK)]
    committed_utc_us: Time


class Revoked(msgspec.Struct, frozen=True, kw_only=True, tag="revoked", forbid_unknown_fields=True):
    """Ingest -> agent: stop capturing; the session is over."""

    reason: Reason


class Refusals(msgspec.Struct, frozen=True, kw_only=True, tag="refusals", forbid_unknown_fields=True):
    """Ingest -> agent, from minor version 1 on: datagrams dropped since the last such message, by `RefusalReason`."""

    counts: dict[RefusalName, U32]


SignallingMessage = Offer | Answer | Refused | Revoked
ControlFromAgent = Clock | ClockOffset | Segment | Counters | Gap | Withdraw | Bye
ControlFromIngest = ClockReply | Ack | Revoked | Refusals
