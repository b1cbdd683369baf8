from hypothesis import given
from hypothesis import strategies as st

from edge_agent.session.latency import CommitDelays, DelayHistogram


def test_an_empty_histogram_has_no_percentiles():
    assert DelayHistogram().summary() == {"p50": None, "p95": None, "p99": None}


@given(st.lists(st.integers(-(10**6), 5 * 10**6), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_covers_its_share_of_all_delays(delays, share):
    histogram = DelayHistogram()
    for delay in delays:
        histogram.add(delay)
    found = histogram.percentile_ms(share)
    clipped = [min(2000, max(0, delay) // 1000) for delay in delays]
    assert sum(delay <= found for delay in clipped) >= share * len(delays)
    assert found in clipped


def test_committed_frames_are_timed_from_capture_on_the_servers_clock():
    delays = CommitDelays()
    delays.sent(31, 1_000_000)
    delays.sent(33, 1_066_000)
    delays.committed(first_frame=30, mask=0b1010, committed_utc_us=900_001_200_000, offset_us=900_000_000_000)
    assert delays.histogram.count == 2
    assert delays.histogram.percentile_ms(1.0) == 200


def test_a_frame_is_timed_once_however_often_it_is_acked():
    delays = CommitDelays()
    delays.sent(30, 0)
    for _ in range(3):
        delays.committed(first_frame=30, mask=1, committed_utc_us=50_000, offset_us=0)
    assert delays.histogram.count == 1


def test_without_a_clock_offset_nothing_is_timed():
    delays = CommitDelays()
    delays.sent(0, 0)
    delays.committed(first_frame=0, mask=1, committed_utc_us=50_000, offset_us=None)
    assert delays.histogram.count == 0


def test_frames_that_are_never_acked_do_not_pile_up():
    delays = CommitDelays()
    for frame in range(10_000):
        delays.sent(frame, 0)
    delays.committed(first_frame=0, mask=1, committed_utc_us=1, offset_us=0)
    assert delays.histogram.count == 0
