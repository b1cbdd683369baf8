"""What an SCTP packet may be, and what an association may hold, before a library gets to see it."""

from __future__ import annotations

import struct

import pytest
from aiortc.rtcsctptransport import (
    DataChunk,
    ForwardTsnChunk,
    HeartbeatChunk,
    InitChunk,
    ReconfigChunk,
    SackChunk,
    ShutdownChunk,
    StreamResetOutgoingParam,
    serialize_packet,
)
from hypothesis import given
from hypothesis import strategies as st

from privacy.protocol.sctp import (
    CHUNKS_BURST,
    CHUNKS_PER_S,
    GAP_POSITIONS_MAX,
    MISORDERED_MAX,
    STREAMS_MAX,
    UNFINISHED_BYTES_MAX,
    UNFINISHED_CHUNKS_MAX,
    WAITING_MAX,
    Backlog,
    Breach,
    SctpBounds,
    Verdict,
    read_chunks,
)


def packet(*chunks: bytes) -> bytes:
    return bytes(12) + b"".join(chunks)


def chunk(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    said = len(body) + 4 if length is None else length
    return struct.pack("!BBH", kind, 0, said) + body + bytes(-len(body) % 4)


def data(content: bytes = b"x") -> bytes:
    return chunk(0, bytes(12) + content)


def sack(*gaps: tuple[int, int]) -> bytes:
    return chunk(
        3, bytes(8) + struct.pack("!HH", len(gaps), 0) + b"".join(struct.pack("!HH", *g) for g in gaps)
    )


def backlog(**held: int) -> Backlog:
    nothing = dict.fromkeys(("unfinished_chunks", "unfinished_bytes", "misordered", "streams", "waiting"), 0)
    return Backlog(**nothing | held)


def test_what_aiortc_itself_writes_is_sound() -> None:
    hello = InitChunk()
    hello.params = [(0xC000, b""), (0x8008, bytes([192, 130]))]
    beat = HeartbeatChunk()
    beat.params = [(1, b"12345")]
    seen = SackChunk()
    seen.gaps, seen.duplicates = [(2, 3), (5, 5)], [7]
    skip = ForwardTsnChunk()
    skip.streams = [(1, 2)]
    reset = ReconfigChunk()
    reset.params = [
        (
            13,
            bytes(StreamResetOutgoingParam(request_sequence=1, response_sequence=2, last_tsn=3, streams=[1])),
        )
    ]
    message = DataChunk()
    message.user_data = b"abc"
    for made in (hello, beat, seen, skip, reset, message, ShutdownChunk()):
        assert read_chunks(serialize_packet(5000, 5000, 1, made)) == 1, made
    assert read_chunks(packet(data(), data(b"four"), sack())) == 3


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(15),
        packet(chunk(0, b"", length=3)),
        packet(chunk(0, b"abcd", length=40)),
        packet(chunk(0, bytes(12))),
        packet(chunk(1, bytes(8))),
        packet(chunk(1, bytes(16) + b"\0\1")),
        packet(chunk(4, b"\0\1\0\0")),
        packet(chunk(9, b"\0\1\0\3")),
        packet(chunk(6, b"\0\1\0\x20")),
        packet(chunk(130, b"\0\x0d\0\x08" + bytes(4))),
        packet(chunk(130, b"\0\x0d\0\x11" + bytes(13))),
        packet(chunk(3, bytes(4))),
        packet(chunk(3, bytes(8) + struct.pack("!HH", 9, 0))),
        packet(sack((3, 2))),
        packet(chunk(7, b"")),
        packet(chunk(192, bytes(6))),
    ],
)
def test_a_packet_that_is_not_what_it_says_is_a_breach(broken: bytes) -> None:
    assert read_chunks(broken) is Breach.MALFORMED


def test_one_acknowledgement_cannot_name_millions_of_chunks() -> None:
    assert read_chunks(packet(sack((1, GAP_POSITIONS_MAX)))) == 1
    assert read_chunks(packet(sack((1, GAP_POSITIONS_MAX + 1)))) is Breach.GAPS
    assert read_chunks(packet(sack(*[(1, 65_535)] * 250))) is Breach.GAPS


@given(st.binary(max_size=80))
def test_any_bytes_are_judged(content: bytes) -> None:
    assert isinstance(read_chunks(bytes(12) + content), int | Breach)


def test_chunks_over_the_rate_are_dropped_and_no_breach() -> None:
    bounds = SctpBounds()
    full = packet(*[data()] * 60)
    taken = sum(bounds.judge(full, now_us=0) is Verdict.TAKEN for _ in range(100))
    assert taken == CHUNKS_BURST // 60
    assert (bounds.dropped, bounds.breach) == (100 - taken, None)
    assert bounds.judge(packet(data()), now_us=1_000_000 // CHUNKS_PER_S + 1) is Verdict.TAKEN


@pytest.mark.parametrize(
    ("held", "limit", "breach"),
    [
        ("unfinished_chunks", UNFINISHED_CHUNKS_MAX, Breach.UNFINISHED),
        ("unfinished_bytes", UNFINISHED_BYTES_MAX, Breach.UNFINISHED),
        ("misordered", MISORDERED_MAX, Breach.MISORDERED),
        ("streams", STREAMS_MAX, Breach.STREAMS),
        ("waiting", WAITING_MAX, Breach.WAITING),
    ],
)
def test_what_an_association_holds_is_bounded_and_a_breach_is_final(
    held: str, limit: int, breach: Breach
) -> None:
    bounds = SctpBounds()
    bounds.settle(backlog(**{held: limit}))
    assert bounds.breach is None
    bounds.settle(backlog(**{held: limit + 1}))
    bounds.settle(backlog())
    assert bounds.breach is breach
    assert bounds.judge(packet(data()), now_us=0) is Verdict.REFUSED
