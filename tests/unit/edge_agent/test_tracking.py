from itertools import pairwise

import cv2
import numpy as np
import pytest

from edge_agent.tracking.detection import Detection
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.tracks import CARRY_MAX_FRAMES, MEMORY_FRAMES, MISSED_CARRY_FRAMES, Tracker

MARKS = np.array([[-20, -13], [20, -13], [0, 3], [0, 22], [-42, -5], [42, -5]], np.float32)


def detection(x, y, side=100, score=0.9):
    half = side / 2
    return Detection(
        box=Box.of([x - half, y - half, x + half, y + half]),
        landmarks=MARKS * side / 100 + np.array([x, y], np.float32),
        score=score,
    )


def begin(*places):
    tracker = Tracker()
    tracker.take(tuple(detection(*place) for place in places), fine=True)
    tracker.settle()
    return tracker


def advance_blind(tracker, frames=1):
    for _ in range(frames):
        tracker.advance(None, np.zeros((240, 320), np.uint8), scale=0.5)
        tracker.settle()


def test_each_detection_begins_one_track():
    assert [t.number for t in begin((100, 100), (400, 100)).tracks] == [1, 2]


def test_a_detection_nearby_supports_the_track_instead_of_beginning_another():
    tracker = begin((100, 100))
    tracker.advance(None, np.zeros((240, 320), np.uint8), scale=0.5)
    supported = tracker.take((detection(110, 104),), fine=True)
    assert [t.number for t in supported] == [1]
    assert len(tracker.tracks) == 1
    assert tracker.tracks[0].box.centre == pytest.approx((110, 104), abs=1)


def test_two_faces_keep_their_numbers_while_they_move_apart():
    tracker = begin((200, 100), (400, 100))
    for step in range(1, 6):
        tracker.advance(None, np.zeros((240, 320), np.uint8), scale=0.5)
        tracker.take((detection(400 + 8 * step, 100), detection(200 - 8 * step, 100)), fine=True)
        tracker.settle()
    places = {t.number: t.box.centre[0] for t in tracker.tracks}
    assert places[1] < 200 < 400 < places[2]


def test_a_track_that_nothing_supports_is_not_visible():
    tracker = begin((100, 100))
    advance_blind(tracker)
    assert tracker.visible == ()
    assert len(tracker.tracks) == 1


def test_a_track_is_forgotten_after_half_a_second():
    tracker = begin((100, 100))
    advance_blind(tracker, MEMORY_FRAMES)
    assert len(tracker.tracks) == 1
    advance_blind(tracker)
    assert tracker.tracks == []


def test_a_face_that_comes_back_gets_a_new_number():
    tracker = begin((100, 100))
    advance_blind(tracker, MEMORY_FRAMES + 1)
    tracker.take((detection(100, 100),), fine=True)
    assert [t.number for t in tracker.tracks] == [2]


@pytest.mark.parametrize(
    ("missed_at", "carried_frames"),
    [(None, CARRY_MAX_FRAMES), (1, CARRY_MAX_FRAMES), (3, CARRY_MAX_FRAMES), (5, 5 + MISSED_CARRY_FRAMES)],
)
def test_flow_alone_carries_a_track_only_so_long(paint_faces, missed_at, carried_frames):
    tracker = Tracker()
    tracker.take((detection(320, 240, 120),), fine=True)
    (track,) = tracker.tracks
    views = [
        cv2.cvtColor(paint_faces([(160 + i, 120, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
        for i in range(carried_frames + 3)
    ]
    seen = []
    for number, (before, after) in enumerate(pairwise(views), start=1):
        tracker.advance(before, after, scale=0.5)
        seen.append(bool(tracker.visible))
        if missed_at is not None and number in (missed_at, missed_at + 1):
            tracker.miss(track)
        tracker.settle()
    assert seen == [True] * carried_frames + [False] * 2


def test_landmarks_move_with_the_face_between_detections(paint_faces):
    tracker = Tracker()
    tracker.take((detection(320, 240, 120),), fine=True)
    before, after = (
        cv2.cvtColor(paint_faces([(160 + i, 120 + i, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
        for i in (0, 3)
    )
    tracker.advance(before, after, scale=0.5)
    shift = tracker.tracks[0].landmarks - (MARKS * 1.2 + np.array([320, 240], np.float32))
    assert shift == pytest.approx(np.full((6, 2), 6.0), abs=1.0)


def test_a_detection_of_quite_another_size_does_not_support_the_track():
    tracker = begin((100, 100))
    tracker.take((detection(100, 100, 300),), fine=True)
    assert len(tracker.tracks) == 2


def test_coarse_landmarks_do_not_disturb_a_track_that_flow_carried(paint_faces):
    tracker = Tracker()
    tracker.take((detection(320, 240, 120),), fine=True)
    view = cv2.cvtColor(paint_faces([(160, 120, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
    tracker.advance(view, view, scale=0.5)
    before = tracker.tracks[0].landmarks.copy()
    tracker.take((detection(330, 244, 130),), fine=False)
    assert np.allclose(tracker.tracks[0].landmarks, before)
    assert tracker.tracks[0].undetected_frames == 0


def test_looks_from_afar_put_off_the_next_close_up_only_once():
    tracker = begin((100, 100))
    (track,) = tracker.tracks
    ages = []
    for step in range(6):
        tracker.advance(None, np.zeros((240, 320), np.uint8), scale=0.5)
        if step % 2:
            tracker.support(track, detection(100, 100), fine=False)
        ages.append(track.unrefined_frames)
    assert ages == [1, 0, 1, 2, 3, 4]
    tracker.support(track, detection(100, 100), fine=True)
    assert (track.unrefined_frames, track.is_refined) == (0, True)


@pytest.fixture
def carried(paint_faces):
    """Return a track after a close-up at (320, 240), carried along centres on a view of half the size."""

    def make(centres, *, close_up=(320, 240, 120), hidden_from=None):
        tracker = Tracker()
        tracker.take((detection(320, 240, 120),), fine=True)
        (track,) = tracker.tracks
        views = [
            cv2.cvtColor(paint_faces([(x, y, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
            for x, y in [(160, 120), (160, 120), *centres]
        ]
        if hidden_from is not None:
            views[-1][:, hidden_from:] = 60
        tracker.advance(views[0], views[1], scale=0.5)
        tracker.support(track, detection(*close_up), fine=True)
        for before, after in pairwise(views[1:]):
            tracker.advance(before, after, scale=0.5)
        return track

    return make


STILL = [(160, 120)] * 3


def test_a_still_face_that_a_close_up_confirmed_is_at_rest(carried):
    assert carried(STILL).unrest < 0.02


def test_what_a_close_up_had_to_correct_is_unrest(carried):
    corrected = carried(STILL, close_up=(324, 240, 120))
    assert corrected.unrest == pytest.approx(2 / 48, abs=0.02)


def test_unrest_grows_with_every_step(carried):
    assert carried([(162, 120)]).unrest < carried([(162, 120), (164, 121)]).unrest
    assert carried([(162, 120), (164, 121), (166, 122)]).unrest == pytest.approx(0.1, abs=0.04)


def test_weak_flow_is_unrest_without_end(carried):
    """A hand over the edge of the face: the rest is still followed, and little is known of the landmarks."""
    track = carried([(160, 120)], hidden_from=176)
    assert track.flowed
    assert track.unrest == float("inf")


def test_a_track_that_no_close_up_has_corrected_yet_is_not_at_rest():
    assert begin((100, 100)).tracks[0].unrest == float("inf")


@pytest.mark.parametrize("place", [(355, 240, 120), (320, 240, 160)], ids=["elsewhere", "of another size"])
def test_a_close_up_beyond_what_flow_carried_ends_the_track_and_begins_another(paint_faces, place):
    tracker = Tracker()
    tracker.take((detection(320, 240, 120),), fine=True)
    view = cv2.cvtColor(paint_faces([(160, 120, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
    tracker.advance(view, view, scale=0.5)
    (track,) = tracker.tracks
    tracker.support(track, detection(*place), fine=True)
    assert [t.number for t in tracker.tracks] == [2]
    assert tracker.tracks[0].box.centre == pytest.approx(place[:2])


def test_a_close_up_that_shows_the_face_of_another_track_ends_this_one_alone(paint_faces):
    tracker = Tracker()
    tracker.take((detection(300, 240, 120), detection(420, 240, 120)), fine=True)
    view = cv2.cvtColor(
        paint_faces([(150, 120, 60), (210, 120, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY
    )
    tracker.advance(view, view, scale=0.5)
    tracker.support(tracker.tracks[0], detection(390, 240, 120), fine=True)
    assert [t.number for t in tracker.tracks] == [2]


def test_a_look_from_afar_beyond_what_flow_carried_says_nothing(paint_faces):
    tracker = Tracker()
    tracker.take((detection(320, 240, 120),), fine=True)
    view = cv2.cvtColor(paint_faces([(160, 120, 60)], width=320, height=240), cv2.COLOR_BGR2GRAY)
    tracker.advance(view, view, scale=0.5)
    tracker.take((detection(385, 240, 120),), fine=False)
    (track,) = tracker.tracks
    assert (track.number, track.undetected_frames) == (1, 1)


def test_where_flow_has_failed_a_detection_may_lie_farther_away():
    tracker = begin((100, 100))
    tracker.advance(None, np.zeros((240, 320), np.uint8), scale=0.5)
    tracker.take((detection(145, 100),), fine=True)
    assert [t.number for t in tracker.tracks] == [1]


def test_what_flow_alone_would_have_made_of_a_box_is_remembered(carried):
    track = carried([(162, 120), (164, 120)], close_up=(328, 240, 120))
    assert track.carried.centre[0] == pytest.approx(328, abs=1.5)
    assert track.box.centre[0] > track.carried.centre[0] + 2
