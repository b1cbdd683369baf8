import threading
from itertools import pairwise

import numpy as np
import pytest

from edge_agent.camera.capture import CaptureSettings, CaptureThread
from edge_agent.camera.latest import Absent, LatestFrame
from edge_agent.camera.presentation import Moment
from edge_agent.errors import CameraError, CameraLostError
from privacy.protocol.messages import SkipReason

PICTURE = np.zeros((48, 64, 3), np.uint8)


class FakeClock:
    """Time that passes only when somebody waits or a frame is read."""

    def __init__(self):
        self.us = 0

    def now(self):
        return self.us


class FakeSource:
    """Implements `FrameSource`."""

    def __init__(self, clock, pictures, *, cost_us=0, fps=30.0):
        self.clock, self.pictures, self.cost_us, self.fps = clock, list(pictures), cost_us, fps
        self.position, self.is_closed = 0, False

    def read(self):
        self.clock.us += self.cost_us if not callable(self.cost_us) else self.cost_us(self.position)
        if self.position >= len(self.pictures):
            return None
        self.position += 1
        return self.pictures[self.position - 1]

    def close(self):
        self.is_closed = True


class FakeRecording(FakeSource):
    """Implements `Recording`; reading a moment takes time, showing it none."""

    def __init__(self, clock, pictures, *, times_us=None, end_problem=None, **options):
        super().__init__(clock, pictures, **options)
        self.times_us = times_us or [round(n * 1e6 / self.fps) for n in range(len(self.pictures))]
        self.end_problem, self.hurries = end_problem, []

    def next_moment(self):
        self.clock.us += self.cost_us if not callable(self.cost_us) else self.cost_us(self.position)
        if self.position >= len(self.pictures):
            return None
        self.position += 1
        return Moment(media_us=self.times_us[self.position - 1], picture=self.pictures[self.position - 1])

    def picture(self, moment):
        return moment.picture

    def hurry(self, until_us):
        self.hurries.append(until_us)

    def rewind(self):
        self.position = 0
        return True


class Recorder(LatestFrame):
    def __init__(self):
        super().__init__()
        self.items = []

    def put(self, item):
        self.items.append(item)


class FakeEvent(threading.Event):
    def __init__(self, clock, *, stop_after_us=None):
        super().__init__()
        self.clock, self.stop_after_us = clock, stop_after_us

    def wait(self, timeout=None):
        self.clock.us += round((timeout or 0) * 1e6)
        return self.is_set()

    def is_set(self):
        return super().is_set() or (self.stop_after_us is not None and self.clock.us >= self.stop_after_us)


def capture(source, clock, *, reopen=None, stop_after_us=None, **settings):
    slot = Recorder()
    thread = CaptureThread(
        source,
        reopen=reopen or (lambda: source),
        slot=slot,
        now_us=clock.now,
        settings=CaptureSettings(**settings),
    )
    thread._stopped = FakeEvent(clock, stop_after_us=stop_after_us)
    thread.run()
    return slot, thread


def test_a_file_plays_at_its_own_rate_and_then_ends():
    clock = FakeClock()
    source = FakeRecording(clock, [PICTURE] * 90)
    slot, thread = capture(source, clock)
    assert thread.error is None
    assert [i.frame.index for i in slot.items] == list(range(90))
    assert slot.items[-1].frame.monotonic_us == pytest.approx(89 * 33_333, abs=100)
    assert source.is_closed
    assert slot.is_closed


def test_each_picture_of_a_file_is_due_at_its_own_time():
    clock, times_us = FakeClock(), [0, 100_000, 133_000, 900_000, 1_000_000]
    slot, thread = capture(FakeRecording(clock, [PICTURE] * 5, times_us=times_us), clock)
    assert [i.frame.monotonic_us for i in slot.items] == times_us
    assert (thread.next_index, thread.ended_us) == (5, 1_000_000)


def test_where_a_file_shows_nothing_a_frame_is_lost_and_counted_in_its_time():
    clock = FakeClock()
    slot, thread = capture(FakeRecording(clock, [PICTURE] * 10 + [None] * 30 + [PICTURE] * 10), clock)
    absent = [i for i in slot.items if isinstance(i, Absent)]
    assert [i.index for i in absent] == list(range(10, 40))
    assert {i.missed for i in absent} == {SkipReason.CAMERA_LOST}
    assert absent[0].monotonic_us == pytest.approx(10 * 33_333, abs=100)
    assert slot.items[-1].frame.index == 49
    assert thread.next_index == 50


def test_a_looped_file_goes_on_until_it_is_stopped():
    clock = FakeClock()
    slot, thread = capture(FakeRecording(clock, [PICTURE] * 10), clock, loop=True, stop_after_us=2_000_000)
    assert thread.error is None
    assert len(slot.items) == pytest.approx(60, abs=2)
    steps = [b.frame.monotonic_us - a.frame.monotonic_us for a, b in pairwise(slot.items)]
    assert all(step == pytest.approx(33_333, abs=10) for step in steps)


def test_frames_that_nobody_read_in_time_have_passed():
    clock = FakeClock()
    source = FakeRecording(clock, [PICTURE] * 60, cost_us=lambda n: 200_000 if n == 20 else 0)
    slot, thread = capture(source, clock)
    indices = [i.frame.index for i in slot.items]
    assert indices == sorted(set(indices))
    jumps = [b - a for a, b in pairwise(indices)]
    assert max(jumps) in (2, 3, 4)
    assert indices[-1] == 59
    assert all(i.missed is SkipReason.OVERLOAD for i in slot.items)
    assert all(i.frame.monotonic_us == pytest.approx(i.frame.index * 33_333, abs=100) for i in slot.items)
    assert thread.next_index == 60


def test_a_hiccup_that_is_soon_over_costs_a_file_no_frame():
    clock = FakeClock()
    source = FakeRecording(clock, [PICTURE] * 60, cost_us=lambda n: 120_000 if n == 20 else 0)
    slot, _ = capture(source, clock)
    assert [i.frame.index for i in slot.items] == list(range(60))


def test_a_process_that_was_stopped_past_the_end_has_missed_the_rest_in_its_own_time():
    clock = FakeClock()
    source = FakeRecording(clock, [PICTURE] * 250, cost_us=lambda n: 60_000_000 if n == 90 else 0)
    slot, thread = capture(source, clock)
    assert len(slot.items) == 90
    assert thread.next_index == 250
    assert thread.ended_us == pytest.approx(249 * 33_333, abs=100)


def test_a_file_that_decodes_too_slowly_is_shown_in_part_and_asks_for_less():
    clock = FakeClock()
    source = FakeRecording(clock, [PICTURE] * 300, cost_us=50_000)
    slot, thread = capture(source, clock)
    assert thread.next_index == 300
    assert len(slot.items) >= 3
    assert any(until_us is not None for until_us in source.hurries)


def test_a_file_that_was_cut_off_is_an_error_after_its_last_frame():
    clock = FakeClock()
    slot, thread = capture(FakeRecording(clock, [PICTURE] * 5, end_problem="film.mp4 was cut off"), clock)
    assert len(slot.items) == 5
    assert isinstance(thread.error, CameraError)
    assert str(thread.error) == "film.mp4 was cut off"


def test_a_picture_of_an_impossible_shape_ends_capture_with_a_reason():
    clock = FakeClock()
    _, thread = capture(FakeRecording(clock, [np.zeros((4, 4, 3), np.uint8)]), clock)
    assert isinstance(thread.error, CameraError)


def test_a_driver_that_raises_ends_capture_with_a_reason_and_no_detail():
    class Broken(FakeSource):
        def read(self):
            raise RuntimeError("secret driver state")

    clock = FakeClock()
    _, thread = capture(Broken(clock, []), clock)
    assert str(thread.error) == "capture failed: RuntimeError"


def test_a_camera_that_comes_back_leaves_a_flagged_gap():
    clock = FakeClock()
    first = FakeSource(clock, [PICTURE] * 30, cost_us=33_333)
    second = FakeSource(clock, [PICTURE] * 30, cost_us=33_333)
    attempts = iter([None, None, second])

    def reopen():
        source = next(attempts)
        if source is None:
            raise CameraError("still gone")
        return source

    slot, thread = capture(first, clock, reopen=reopen, stop_after_us=3_600_000)
    assert thread.error is None
    assert first.is_closed
    back = slot.items[30]
    assert back.missed is SkipReason.CAMERA_LOST
    away_us = back.frame.monotonic_us - slot.items[29].frame.monotonic_us
    assert back.frame.index - 29 == pytest.approx(away_us / 33_333, abs=2)


def test_a_camera_that_never_comes_back_is_a_clear_error():
    clock = FakeClock()

    def reopen():
        raise CameraError("gone")

    source = FakeSource(clock, [PICTURE] * 3, cost_us=33_333)
    _, thread = capture(source, clock, reopen=reopen, lost_max_us=5_000_000)
    assert isinstance(thread.error, CameraLostError)
    assert clock.us < 12_000_000


def test_a_camera_that_hung_for_a_second_leaves_a_flagged_gap():
    clock = FakeClock()
    source = FakeSource(
        clock,
        [PICTURE] * 20,
        cost_us=lambda n: 1_200_000 if n == 10 else 33_333,
    )
    slot, _ = capture(source, clock, stop_after_us=1_800_000)
    assert slot.items[10].missed is SkipReason.CAMERA_LOST
    assert slot.items[10].frame.index > 40


def test_a_camera_at_half_the_nominal_rate_has_no_gaps():
    clock = FakeClock()
    source = FakeSource(clock, [PICTURE] * 20, cost_us=66_666)
    slot, _ = capture(source, clock, stop_after_us=1_000_000)
    assert [i.frame.index for i in slot.items] == list(range(len(slot.items)))
