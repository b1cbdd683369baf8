"""Bounds on what one peer's SCTP association may hold of us, which the library that speaks it does not set.

Both ends run under them. An honest peer stays far below; one that does not is hung up on, and counted.

Rules:

B1  A packet's chunks and their parameters are as long as they say (RFC 9260, section 3.2), before any parser sees
    them: a parameter of length 0 would keep one busy for ever.
B2  A selective acknowledgement names at most `GAP_POSITIONS_MAX` chunks; 16-bit ranges would let one packet name
    nineteen million.
B3  Chunks come at `CHUNKS_PER_S` on average and `CHUNKS_BURST` at once. What is above is dropped, as a network
    might: that is no breach, and SCTP repeats what matters.
B4  What waits is bounded: fragments of unfinished messages, in number and bytes; chunks behind a missing one;
    streams; and what the peer does not acknowledge of what we sent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

from privacy.protocol.rate import TokenBucket

COMMON_HEADER_BYTES = 12
CHUNK_HEADER_BYTES = 4
PARAMETER_HEADER_BYTES = 4

GAP_POSITIONS_MAX = 2_048
"""More chunks than a congestion window holds at our rates."""

CHUNKS_PER_S = 1_200
CHUNKS_BURST = 3_600
"""120 datagrams of three fragments, 60 messages and their acknowledgements a second, twice; the bursts of S10 at once."""

UNFINISHED_CHUNKS_MAX = 512
UNFINISHED_BYTES_MAX = 256 * 1_024
MISORDERED_MAX = 512
"""An honest peer at 60 frames a second that loses three packets in ten has 28 chunks, 14 kB and 41 at its worst."""

STREAMS_MAX = 16
WAITING_MAX = 4_096
"""Chunks and messages that we sent or would send."""

_DATA, _INIT, _INIT_ACK, _SACK, _SHUTDOWN, _RECONFIG, _FORWARD_TSN = 0, 1, 2, 3, 7, 130, 192
_WITH_PARAMETERS = {_INIT: 16, _INIT_ACK: 16, 4: 0, 5: 0, 6: 0, 9: 0, _RECONFIG: 0}
"""Chunk types that end in parameters, and how many bytes come before these."""

_RECONFIG_BYTES = {13: 12, 16: 8, 17: 8}
"""Shortest values of the re-configuration parameters that are read (RFC 6525)."""


class Breach(StrEnum):
    """Why a peer is hung up on."""

    MALFORMED = "malformed"
    GAPS = "gaps"
    UNFINISHED = "unfinished"
    MISORDERED = "misordered"
    STREAMS = "streams"
    WAITING = "waiting"


class Verdict(StrEnum):
    """What becomes of a packet."""

    TAKEN = "taken"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What an association holds now.

    Attributes:
        unfinished_chunks: fragments of messages that are not whole, or wait for their turn.
        unfinished_bytes: the same in bytes.
        misordered: chunks received behind a missing one.
        streams: streams and channels known.
        waiting: chunks and messages that we have sent or queued, and the peer has not acknowledged.
    """

    unfinished_chunks: int
    unfinished_bytes: int
    misordered: int
    streams: int
    waiting: int


class SctpBounds:
    """Judges one association.

    Attributes:
        breach: the first rule that was broken; nothing is taken from then on.
        dropped: packets over the rate (B3).
    """

    def __init__(self) -> None:
        self.breach: Breach | None = None
        self.dropped = 0
        self._chunks = TokenBucket(rate_per_s=CHUNKS_PER_S, burst=CHUNKS_BURST)

    def judge(self, packet: bytes, *, now_us: int) -> Verdict:
        """Judge a packet before it is parsed (B1 to B3); `now_us` is on a monotonic clock."""
        if self.breach is None:
            chunks = read_chunks(packet)
            if isinstance(chunks, Breach):
                self.breach = chunks
            elif not self._chunks.take(max(chunks, 1), now_us=now_us):
                self.dropped += 1
                return Verdict.DROPPED
        return Verdict.TAKEN if self.breach is None else Verdict.REFUSED

    def settle(self, backlog: Backlog) -> None:
        """Judge what is held after a packet was taken (B4)."""
        found = _find_excess(backlog)
        self.breach = self.breach or found


def _find_excess(backlog: Backlog) -> Breach | None:
    if backlog.unfinished_chunks > UNFINISHED_CHUNKS_MAX or backlog.unfinished_bytes > UNFINISHED_BYTES_MAX:
        return Breach.UNFINISHED
    if backlog.misordered > MISORDERED_MAX:
        return Breach.MISORDERED
    if backlog.streams > STREAMS_MAX:
        return Breach.STREAMS
    return Breach.WAITING if backlog.waiting > WAITING_MAX else None


def read_chunks(packet: bytes) -> int | Breach:
    """Walk a packet's chunks; give how many there are, or what is wrong (B1, B2)."""
    at, chunks = COMMON_HEADER_BYTES, 0
    if len(packet) < at + CHUNK_HEADER_BYTES:
        return Breach.MALFORMED
    while at + CHUNK_HEADER_BYTES <= len(packet):
        kind, _, length = struct.unpack_from("!BBH", packet, at)
        if length < CHUNK_HEADER_BYTES or at + length > len(packet):
            return Breach.MALFORMED
        breach = _check_chunk(kind, packet[at + CHUNK_HEADER_BYTES : at + length])
        if breach is not None:
            return breach
        chunks += 1
        at += length + -length % 4
    return chunks


def _check_chunk(kind: int, body: bytes) -> Breach | None:
    if kind == _SACK:
        return _check_sack(body)
    if kind in _WITH_PARAMETERS:
        is_sound = _are_parameters_sound(body, _WITH_PARAMETERS[kind], is_reconfig=kind == _RECONFIG)
    elif kind == _DATA:
        is_sound = len(body) > 12
    elif kind == _SHUTDOWN:
        is_sound = len(body) == 4
    elif kind == _FORWARD_TSN:
        is_sound = len(body) >= 4 and len(body) % 4 == 0
    else:
        is_sound = True
    return None if is_sound else Breach.MALFORMED


def _check_sack(body: bytes) -> Breach | None:
    if len(body) < 12:
        return Breach.MALFORMED
    gaps, duplicates = struct.unpack_from("!HH", body, 8)
    if len(body) != 12 + 4 * (gaps + duplicates):
        return Breach.MALFORMED
    edges = struct.unpack_from(f"!{2 * gaps}H", body, 12)
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    if any(first > last for first, last in ranges):
        return Breach.MALFORMED
    return Breach.GAPS if sum(last - first + 1 for first, last in ranges) > GAP_POSITIONS_MAX else None


def _are_parameters_sound(body: bytes, at: int, *, is_reconfig: bool) -> bool:
    if len(body) < at:
        return False
    while at < len(body):
        if at + PARAMETER_HEADER_BYTES > len(body):
            return False
        kind, length = struct.unpack_from("!HH", body, at)
        if length < PARAMETER_HEADER_BYTES or at + length > len(body):
            return False
        value_bytes = length - PARAMETER_HEADER_BYTES
        if is_reconfig and (value_bytes < _RECONFIG_BYTES.get(kind, 0) or value_bytes % 2):
            return False
        at += length + -length % 4
    return True
