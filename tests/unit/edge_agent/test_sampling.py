from hypothesis import given
from hypothesis import strategies as st

from edge_agent.camera.sampling import REOPEN_LAST_US, overrun_frames, reopen_wait_us


def test_jitter_is_not_loss():
    assert overrun_frames(50_000, period_us=33_333.3, tolerance_frames=1) == 0


def test_two_periods_late_means_two_frames_have_passed():
    assert overrun_frames(70_000, period_us=33_333.3, tolerance_frames=1) == 2


@given(st.integers(-(10**6), 10**8), st.floats(8_000, 1e6), st.integers(0, 30))
def test_passed_frames_are_never_negative_and_never_more_than_the_time_allows(late, period, tolerance):
    frames = overrun_frames(late, period_us=period, tolerance_frames=tolerance)
    assert 0 <= frames <= max(0, late) / period
    assert frames == 0 or frames > tolerance


def test_a_lost_camera_is_tried_again_ever_less_often_up_to_a_limit():
    waits = [reopen_wait_us(attempt) for attempt in range(40)]
    assert waits == sorted(waits)
    assert waits[0] == 250_000
    assert waits[-1] == REOPEN_LAST_US
