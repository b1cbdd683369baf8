from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.session.playback import MediaClock


def test_media_time_follows_the_clock_at_the_films_own_speed():
    clock = MediaClock()
    clock.begin(1_000_000)
    assert clock.locate(3_500_000) == (0, 2_500_000)


def test_a_pause_stops_media_time_and_a_new_segment_starts_it_again():
    clock = MediaClock()
    clock.begin(0)
    clock.begin(2_000_000, rate_permille=0)
    clock.begin(5_000_000)
    assert clock.locate(3_000_000) == (1, 2_000_000)
    assert clock.locate(6_000_000) == (2, 3_000_000)


def test_a_seek_jumps_and_a_rate_change_stretches():
    clock = MediaClock()
    clock.begin(0)
    clock.begin(1_000_000, media_time_us=60_000_000, rate_permille=2000)
    assert clock.locate(1_500_000) == (1, 61_000_000)


def test_the_cameras_own_delay_is_subtracted():
    clock = MediaClock(camera_delay_us=40_000)
    clock.begin(0)
    assert clock.locate(1_000_000) == (0, 960_000)


def test_a_frame_seen_before_a_pause_but_delivered_after_belongs_to_what_was_seen():
    clock = MediaClock(camera_delay_us=40_000)
    clock.begin(0)
    clock.begin(1_000_000, rate_permille=0)
    assert clock.locate(1_020_000) == (0, 980_000)


def test_time_cannot_run_backwards_and_rates_are_bounded():
    clock = MediaClock()
    clock.begin(1_000)
    with pytest.raises(ValueError, match="before"):
        clock.begin(999)
    with pytest.raises(ValueError, match="rate"):
        clock.begin(2_000, rate_permille=9_000)


def test_nothing_is_located_before_playback_begins():
    with pytest.raises(ValueError, match="no playback segment"):
        MediaClock().locate(5)


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 3000)), min_size=1, max_size=20),
    st.integers(0, 10**9),
)
def test_without_seeks_media_time_never_jumps_at_a_segment_boundary(steps, at):
    clock, now = MediaClock(), 0
    for wait, rate in steps:
        now += wait
        clock.begin(now, rate_permille=rate)
    for earlier, later in pairwise(clock.segments):
        assert earlier.media_time(later.monotonic_us) == later.media_time_us
    number, media = clock.locate(at)
    assert clock.segments[number].media_time(at) == media
