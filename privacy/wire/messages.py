"""Messages on the signalling websocket and the `ctl` data channel.

All are JSON objects tagged by `type`; `privacy.wire.codec` encodes and decodes them within their
limits. Times are microseconds; `*_monotonic_us` on the sender's monotonic clock, `*_utc_us` since
the Unix epoch.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SessionSetup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a classify worker needs to open one epoch of one session (protocol rules K1-K4)."""

    session: str
    tenant: str
    epoch: int
    key_id: str
    not_after_utc_us: int
    device_public_key: bytes
    encapsulated: bytes
    device_signature: bytes
    receipt: str


class Offer(msgspec.Struct, frozen=True, kw_only=True, tag="offer", forbid_unknown_fields=True):
    """Agent -> ingest: an SDP offer without trickle, the session ticket and the epoch's setup."""

    ticket: str
    sdp: str
    setup: SessionSetup


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer", forbid_unknown_fields=True):
    """Ingest -> agent: the SDP answer; this ingest process owns the session from now on."""

    sdp: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", forbid_unknown_fields=True):
    """Ingest -> agent: no session; `code` as in HTTP (401, 403, 409, 410, 422, 503)."""

    code: int
    reason: str
    retry_after_ms: int = 0


class Clock(msgspec.Struct, frozen=True, kw_only=True, tag="clock", forbid_unknown_fields=True):
    """Agent -> ingest: start of a four-timestamp exchange."""

    t1_monotonic_us: int


class ClockReply(msgspec.Struct, frozen=True, kw_only=True, tag="clock_reply", forbid_unknown_fields=True):
    """Ingest -> agent: receive and send time of the exchange on the server's UTC clock."""

    t1_monotonic_us: int
    t2_utc_us: int
    t3_utc_us: int


class ClockOffset(msgspec.Struct, frozen=True, kw_only=True, tag="clock_offset", forbid_unknown_fields=True):
    """Agent -> ingest: add `offset_us` to the agent's monotonic clock to get the server's UTC."""

    offset_us: int
    error_us: int


class Segment(msgspec.Struct, frozen=True, kw_only=True, tag="segment", forbid_unknown_fields=True):
    """Agent -> ingest: a playback segment begins; media time advances at `rate_permille` / 1000."""

    segment: int
    media_time_us: int
    monotonic_us: int
    rate_permille: int


class Counters(msgspec.Struct, frozen=True, kw_only=True, tag="counters", forbid_unknown_fields=True):
    """Agent -> ingest: totals since the session began; `skipped` counts frames by `SkipReason` value."""

    captured: int
    with_face: int
    sent: int
    skipped: dict[str, int]


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap", forbid_unknown_fields=True):
    """Agent -> ingest: frames first..last (inclusive) were not sent, for one reason."""

    first_frame: int
    last_frame: int
    segment: int
    media_time_us: int
    reason: str


class Withdraw(msgspec.Struct, frozen=True, kw_only=True, tag="withdraw", forbid_unknown_fields=True):
    """Agent -> ingest: consent is withdrawn; stop at once. The API call makes it permanent."""

    monotonic_us: int


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye", forbid_unknown_fields=True):
    """Agent -> ingest: the session ends in order; no frame after `last_frame` was captured."""

    last_frame: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack", forbid_unknown_fields=True):
    """Ingest -> agent: these frames of pack `bucket` are committed; bit i is frame `bucket * 30 + i`."""

    bucket: int
    mask: int
    committed_utc_us: int


class Revoked(msgspec.Struct, frozen=True, kw_only=True, tag="revoked", forbid_unknown_fields=True):
    """Ingest -> agent: stop capturing; the session is over."""

    reason: str


SignallingMessage = Offer | Answer | Refused | Revoked
ControlFromAgent = Clock | ClockOffset | Segment | Counters | Gap | Withdraw | Bye
ControlFromIngest = ClockReply | Ack | Revoked


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
