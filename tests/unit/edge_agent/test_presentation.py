from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.camera.presentation import Decoded, Sampler, moments

MS = 1000


def shown(*stamps_ms, lost=()):
    """What a decoder gives for pictures at some times and losses at others, in order."""
    items = [(at, "picture") for at in stamps_ms] + [(at, None) for at in lost]
    ordered = sorted(items, key=lambda item: item[0])
    return [Decoded(pts_us=round(at * MS), picture=picture) for at, picture in ordered]


def placed(decoded, *, period_ms=1000 / 30):
    return list(moments(decoded, period_us=period_ms * MS))


def pictures_ms(found):
    return [moment.media_us / MS for moment in found if moment.picture is not None]


def gaps_ms(found):
    return [moment.media_us / MS for moment in found if moment.picture is None]


def test_media_time_is_presentation_time_less_that_of_the_first_picture():
    found = placed(shown(3000, 3040, 3100, 3110))
    assert pictures_ms(found) == [0, 40, 100, 110]
    assert gaps_ms(found) == []


@pytest.mark.parametrize("step_ms", [1000 / 240, 1000 / 30, 100, 1000, 5000])
def test_at_a_constant_rate_nothing_is_missing_whatever_the_rate(step_ms):
    found = placed(shown(*(n * step_ms for n in range(40))), period_ms=step_ms)
    assert gaps_ms(found) == []


@pytest.mark.parametrize(("first_ms", "then_ms"), [(1000 / 30, 100), (100, 1000 / 30), (1000 / 30, 1000)])
def test_a_recorder_that_changes_its_rate_has_lost_nothing(first_ms, then_ms):
    stamps = [n * first_ms for n in range(50)]
    stamps += [stamps[-1] + (n + 1) * then_ms for n in range(50)]
    assert gaps_ms(placed(shown(*stamps), period_ms=first_ms)) == []


@pytest.mark.parametrize("off_ms", [500, 10_000, 100_000])
def test_time_without_pictures_is_filled_with_moments_that_show_nothing(off_ms):
    before = [n * 1000 / 30 for n in range(90)]
    after = [before[-1] + off_ms + n * 1000 / 30 for n in range(90)]
    found = placed(shown(*before, *after))
    assert pictures_ms(found)[90] == pytest.approx(before[-1] + off_ms)
    assert len(gaps_ms(found)) == pytest.approx(off_ms * 30 / 1000 - 1, abs=1)
    steps = [b.media_us - a.media_us for a, b in pairwise(found)]
    assert max(steps) < 60 * MS


def test_a_picture_that_could_not_be_decoded_leaves_a_moment_that_shows_nothing():
    stamps = [n * 1000 / 30 for n in range(60) if n not in (20, 21, 22)]
    lost = [n * 1000 / 30 for n in (20, 21, 22)]
    assert gaps_ms(placed(shown(*stamps, lost=lost))) == [pytest.approx(at, abs=0.01) for at in lost]


def test_pictures_lost_at_the_end_are_told_too():
    found = placed(shown(0, 33, 66, lost=[100, 133]))
    assert gaps_ms(found) == [100, 133]


def test_what_a_codec_hides_between_two_pictures_is_no_loss():
    found = placed(shown(0, 33, 66, 100, 133, lost=[65, 99]))
    assert gaps_ms(found) == []


def test_losses_before_the_first_picture_are_a_gap_at_the_beginning():
    found = placed(shown(1100, 1133, lost=[1000, 1033, 1066]))
    assert gaps_ms(found) == [0, 33, 66]
    assert pictures_ms(found) == [100, 133]


def test_pictures_without_time_stamps_follow_each_other_at_the_claimed_rate():
    found = placed([Decoded(pts_us=None, picture="p")] * 4, period_ms=40)
    assert pictures_ms(found) == [0, 40, 80, 120]


def test_time_stamps_that_never_move_are_none():
    found = placed([Decoded(pts_us=0, picture="p")] * 4, period_ms=40)
    assert pictures_ms(found) == [0, 40, 80, 120]


@pytest.mark.parametrize("leap_ms", [-90_000, -26.5 * 3_600_000, 26.5 * 3_600_000])
def test_a_clock_that_is_reset_in_the_middle_goes_on_where_it_was(leap_ms):
    stamps = [90_000 + n * 40 for n in range(25)] + [91_000 + leap_ms + n * 40 for n in range(25)]
    found = placed([Decoded(pts_us=round(at * MS), picture="p") for at in stamps], period_ms=40)
    assert pictures_ms(found) == [n * 40 for n in range(50)]


@pytest.mark.parametrize("stray_ms", [60_000, 3 * 3_600_000])
def test_one_stray_time_stamp_is_none(stray_ms):
    stamps = [n * 40 for n in range(50)]
    stamps[20] = stray_ms
    found = placed([Decoded(pts_us=at * MS, picture="p") for at in stamps], period_ms=40)
    assert pictures_ms(found) == [n * 40 for n in range(50)]
    assert gaps_ms(found) == []


def test_two_hours_do_not_drift():
    stamps_us = [round(n * 1001e6 / 30_000) for n in range(2 * 3600 * 30)]
    times = [
        moment.media_us
        for moment in moments((Decoded(pts_us=at, picture=1) for at in stamps_us), period_us=33_367)
    ]
    assert times == stamps_us


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(-(10**12), 10**12)), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_media_time_never_falls_and_no_picture_is_lost_whatever_a_file_claims(items):
    decoded = [Decoded(pts_us=at, picture="p" if is_shown else None) for at, is_shown in items]
    found = list(moments(decoded, period_us=1e6 / 30))
    times = [moment.media_us for moment in found]
    assert times == sorted(times)
    assert all(at >= 0 for at in times)
    assert sum(moment.picture is not None for moment in found) == sum(shown for _, shown in items)


def taken(stamps_ms, fps):
    sampler = Sampler(fps)
    return [at for at in stamps_ms if sampler.takes(round(at * MS))]


@pytest.mark.parametrize("own_fps", [1, 10, 15, 24, 25, 29.97, 30])
def test_a_slower_source_stays_as_it_is(own_fps):
    stamps = [n * 1000 / own_fps for n in range(200)]
    assert taken(stamps, 30) == stamps


@pytest.mark.parametrize("own_fps", [40, 50, 59.94, 60, 120, 240, 1000])
def test_a_faster_source_is_sampled_evenly_and_at_its_own_speed(own_fps):
    stamps = [n * 1000 / own_fps for n in range(round(own_fps * 10))]
    found = taken(stamps, 30)
    assert len(found) == pytest.approx(300, abs=3)
    assert max(b - a for a, b in pairwise(found)) <= 1000 / 30 + 1000 / own_fps + 0.001


def test_time_stamps_in_whole_milliseconds_drop_nothing_at_thirty_a_second():
    stamps = [round(n * 1000 / 30) for n in range(3000)]
    assert taken(stamps, 30) == stamps


def test_a_lower_rate_that_was_asked_for_takes_fewer():
    assert len(taken([n * 1000 / 30 for n in range(300)], 10)) == 100


def test_a_source_that_was_slow_loses_nothing_in_a_short_burst():
    stamps = [n * 40 for n in range(25)] + [975, 1015, 1055]
    assert taken(stamps, 30) == stamps
