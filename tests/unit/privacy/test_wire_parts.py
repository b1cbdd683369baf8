"""Clock filter, gap folding, resend ring, token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from privacy.protocol import limits
from privacy.protocol.clock_sync import ClockFilter
from privacy.protocol.gaps import GapFolder
from privacy.protocol.messages import Ack
from privacy.protocol.rate import TokenBucket
from privacy.protocol.resend_ring import ACK_WAIT_US, ENTRIES_MAX, RESENDS_BURST, ResendRing, RingEntry


def entry(frame: int, *, sent_us: int = 0) -> RingEntry:
    return RingEntry(frame=frame, segment=0, media_time_us=0, sent_us=sent_us, envelope=b"%d" % frame)


@given(
    st.integers(-(10**12), 10**12),
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**4)),
        min_size=1,
        max_size=20,
    ),
)
def test_the_true_offset_lies_within_the_stated_error(
    offset_us: int, delays: list[tuple[int, int, int]]
) -> None:
    clock = ClockFilter()
    now_us = 10**12
    for there_us, back_us, thinking_us in delays:
        t2 = now_us + offset_us + there_us
        t4 = now_us + there_us + thinking_us + back_us
        assert clock.add(t1_us=now_us, t2_utc_us=t2, t3_utc_us=t2 + thinking_us, t4_us=t4)
        now_us = t4
    best = clock.best()
    assert best is not None
    assert abs(best.offset_us - offset_us) <= best.error_us + 1
    assert best.error_us == min((a + b + 1) // 2 for a, b, _ in delays[-8:])


def test_contradictory_exchanges_are_ignored() -> None:
    clock = ClockFilter()
    assert not clock.add(t1_us=10, t2_utc_us=0, t3_utc_us=0, t4_us=9)
    assert not clock.add(t1_us=0, t2_utc_us=5, t3_utc_us=4, t4_us=9)
    assert not clock.add(t1_us=0, t2_utc_us=0, t3_utc_us=50, t4_us=9)
    assert clock.best() is None


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["dark", "no_face"]), st.integers(0, 1)), max_size=80)
)
def test_gaps_hold_exactly_the_skipped_frames_with_their_reasons(
    frames: list[tuple[bool, str, int]],
) -> None:
    folder = GapFolder(open_max_frames=10)
    closed = []
    for frame, (sent, reason, segment) in enumerate(frames):
        if sent:
            closed += folder.close()
        else:
            closed += folder.add(frame, segment=segment, media_time_us=frame, reason=reason)
    closed += folder.close()
    unfolded = [
        (frame, gap.reason, gap.segment)
        for gap in closed
        for frame in range(gap.first_frame, gap.last_frame + 1)
    ]
    assert unfolded == [(n, reason, segment) for n, (sent, reason, segment) in enumerate(frames) if not sent]
    assert all(gap.media_time_us == gap.first_frame for gap in closed)
    assert all(gap.last_frame - gap.first_frame < 10 for gap in closed)


def test_an_ack_lets_go_of_exactly_its_frames() -> None:
    ring = ResendRing()
    for frame in range(25, 65):
        ring.add(entry(frame))
    assert ring.ack(Ack(bucket=1, mask=0b101, committed_utc_us=0)) == 2
    assert ring.ack(Ack(bucket=1, mask=0b101, committed_utc_us=0)) == 0
    assert ring.ack(Ack(bucket=9, mask=2**30 - 1, committed_utc_us=0)) == 0
    assert [e.frame for e in ring.expire(limits.RESEND_RING_US)] == [
        frame for frame in range(25, 65) if frame not in (30, 32)
    ]


def test_nothing_is_resent_before_an_ack_is_due_or_after_the_ring() -> None:
    ring = ResendRing()
    for frame in range(10):
        ring.add(entry(frame))
    assert ring.take_resends(ACK_WAIT_US - 1) == []
    assert ring.take_resends(ACK_WAIT_US) == [b"0"]
    assert ring.take_resends(ACK_WAIT_US) == []
    assert len(ring.expire(limits.RESEND_RING_US)) == 10
    assert len(ring) == 0


@given(st.integers(10, 400), st.integers(1, 5))
def test_resends_stay_within_a_tenth_of_what_was_sent(frames: int, rounds: int) -> None:
    ring = ResendRing()
    for frame in range(frames):
        ring.add(entry(frame))
    resent = sum(len(ring.take_resends(ACK_WAIT_US * n)) for n in range(1, rounds + 1))
    assert resent <= min(RESENDS_BURST, frames // 10)


def test_the_ring_is_bounded_and_gives_up_its_oldest() -> None:
    ring = ResendRing()
    given_up = [e.frame for frame in range(ENTRIES_MAX + 5) for e in ring.add(entry(frame))]
    assert given_up == [0, 1, 2, 3, 4]
    assert len(ring) == ENTRIES_MAX


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 3)), max_size=100))
def test_a_bucket_never_gives_more_than_burst_and_rate(steps: list[tuple[int, int]]) -> None:
    bucket = TokenBucket(rate_per_s=50, burst=5)
    now_us, taken = 0, 0
    for wait_us, units in steps:
        now_us += wait_us
        taken += units * bucket.take(units, now_us=now_us)
        assert taken <= 5 + 50 * now_us / 1e6


def test_a_server_clock_that_is_set_is_believed_at_the_next_exchange() -> None:
    clock = ClockFilter()
    for step in range(8):
        t1 = step * 5_000_000
        clock.add(t1_us=t1, t2_utc_us=t1 + 1_000_000, t3_utc_us=t1 + 1_000_000, t4_us=t1 + 1)
    clock.add(t1_us=50_000_000, t2_utc_us=47_010_000, t3_utc_us=47_010_000, t4_us=50_020_000)
    best = clock.best()
    assert best is not None
    assert (best.offset_us, len(clock)) == (-3_000_000, 1)


def test_a_clock_that_was_set_back_stops_nobody_for_longer_than_the_burst_lasts() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=2)
    assert bucket.take(2, now_us=3_600_000_000)
    assert not bucket.take(1, now_us=0)
    assert bucket.take(1, now_us=100_000)


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=1)
    assert bucket.take(1, now_us=10_000_000)
    assert not bucket.take(1, now_us=0)
    assert not bucket.take(1, now_us=500_000)
    assert bucket.take(1, now_us=1_000_000)
