import numpy as np
import pytest

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.tracks import Track
from edge_agent.tracking.viewer_place import PlaceSettings, ViewerPlace

SIZE = (1280, 720)
SETTINGS = PlaceSettings()


def track(number, x=640.0, *, side=100, agreement=1.0, undetected=0, missed=0):
    return Track(
        number=number,
        box=Box.of([x - side / 2, 360 - side / 2, x + side / 2, 360 + side / 2]),
        landmarks=np.zeros((6, 2), np.float32),
        score=0.9,
        flowed=True,
        agreement=agreement,
        undetected_frames=undetected,
        missed_at_frames=missed,
    )


def keep(place, viewer, *others, glimpses=(), is_sure=True):
    place.keep(viewer, [viewer, *others], glimpses=glimpses, size=SIZE, is_sure=is_sure)


def wait(place, *visible):
    place.wait(visible, glimpses=(), size=SIZE)
    return place.returned(visible)


def frames_until_back(place, *visible, limit=400):
    for count in range(1, limit + 1):
        if wait(place, *visible) is not None:
            return count
    return None


@pytest.fixture
def alone():
    """A viewer who was followed alone for a second."""
    place, viewer = ViewerPlace(), track(1)
    for _ in range(30):
        keep(place, viewer)
    return place


@pytest.fixture
def passed():
    """Somebody came up to the viewer from the left; then the choice was open."""
    place, viewer = ViewerPlace(), track(1)
    for x in range(200, 560, 20):
        keep(place, viewer, track(2, x))
    place.lose(viewer, [])
    return place


def test_a_weak_flow_is_no_doubt_while_nobody_is_near(alone):
    assert not alone.may_be_hidden(track(1, agreement=0.3))


def test_a_weak_flow_or_a_failed_look_is_doubt_while_somebody_is_near(alone):
    keep(alone, track(1), track(2, 500))
    assert not alone.may_be_hidden(track(1, agreement=0.7))
    assert alone.may_be_hidden(track(1, agreement=0.5))
    assert alone.may_be_hidden(track(1, missed=1))


def test_weak_flow_and_a_failed_look_together_are_doubt_whoever_is_there(alone):
    assert alone.may_be_hidden(track(1, agreement=0.4, missed=1))


@pytest.mark.parametrize(("shift", "growth", "is_doubt"), [(20, 1.0, False), (30, 1.0, True), (0, 1.3, True)])
def test_looks_that_move_a_face_bit_by_bit_from_where_flow_carried_it_are_doubt(
    alone, shift, growth, is_doubt
):
    viewer = track(1)
    viewer.box = track(1, 640 + shift, side=100 * growth).box
    assert alone.may_be_hidden(viewer) == is_doubt


def test_a_viewer_who_was_hidden_is_back_at_the_same_place_after_three_frames(alone):
    alone.lose(track(1), [])
    assert frames_until_back(alone, track(2, 645)) == SETTINGS.return_frames


def test_a_face_that_moves_past_is_not_the_viewers(alone):
    alone.lose(track(1), [])
    passing = track(2)
    for x in np.arange(560, 720, 8):
        passing.box = track(2, x).box
        assert wait(alone, passing) is None


def test_a_face_elsewhere_must_be_still_and_alone_for_two_seconds(alone):
    keep(alone, track(1, agreement=0.7))
    alone.lose(track(1), [])
    assert frames_until_back(alone, track(2, 700)) == SETTINGS.elsewhere_frames


def test_a_viewer_who_was_clear_to_see_and_jumps_is_back_after_a_third_of_a_second(alone):
    alone.lose(track(1), [])
    assert frames_until_back(alone, track(2, 700)) == SETTINGS.near_frames


def test_while_a_passer_by_is_not_accounted_for_no_face_at_the_place_is_the_viewers(passed):
    assert frames_until_back(passed, track(3), limit=100) is None


def test_when_the_passer_by_is_seen_beyond_the_viewer_is_back_at_once(passed):
    for x in range(760, 860, 20):
        back = wait(passed, track(4, x))
        assert back is None
    viewer = track(3)
    for x in range(860, 920, 20):
        back = wait(passed, track(4, x), viewer)
    assert back is viewer


def test_the_passer_by_who_stops_in_front_of_the_viewer_and_stays_is_never_the_viewer():
    place, viewer = ViewerPlace(), track(1)
    for x in range(200, 560, 20):
        keep(place, viewer, track(2, x))
    place.lose(viewer, [])
    stranger = track(2, 560)
    for x in range(560, 641, 20):
        stranger.box = track(2, x).box
        wait(place, stranger)
    assert frames_until_back(place, stranger, limit=1000) is None


def test_the_place_is_forgotten_after_three_seconds_without_any_face(alone):
    alone.lose(track(1), [])
    for _ in range(SETTINGS.empty_frames):
        assert alone.box is not None
        wait(alone)
    assert alone.box is None


def test_the_place_is_kept_while_somebody_who_hid_the_viewer_is_not_accounted_for(passed):
    for _ in range(SETTINGS.empty_frames + 10):
        wait(passed)
    assert passed.box is not None


def test_a_look_while_somebody_touches_the_face_does_not_move_the_place(alone):
    before = alone.box
    keep(alone, track(1, 660), is_sure=False)
    assert alone.box is before


def test_the_place_follows_when_pictures_are_resized(alone):
    alone.rescale(2.0)
    assert alone.box.centre == pytest.approx((1280, 720))


def test_in_the_dark_the_place_is_forgotten_unless_somebody_was_near(alone, passed):
    for place, is_kept in ((alone, False), (passed, True)):
        if not is_kept:
            place.lose(track(1), [])
        place.wait([], glimpses=(), size=SIZE, is_unlit=True)
        assert (place.box is not None) == is_kept
