import numpy as np
import pytest

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.schedule import Look, Schedule, ScheduleSettings
from edge_agent.tracking.tracks import Track


def track(x=300, *, number=1, flowed=True, visible=True, undetected=0, unrest=1.0):
    return Track(
        number=number,
        box=Box.of([x - 50, 150, x + 50, 250]),
        landmarks=np.zeros((6, 2), np.float32),
        score=0.9,
        visible=visible,
        flowed=flowed,
        undetected_frames=undetected,
        unrefined_frames=undetected,
        unrest=unrest,
    )


def looks(schedule, tracks, *, followed, frames):
    return [schedule.next_look(tracks, followed=followed) for _ in range(frames)]


def test_without_any_face_every_frame_is_scanned_at_first_and_every_third_later():
    schedule = Schedule()
    seen = looks(schedule, [], followed=None, frames=45)
    assert seen[:15] == [Look.SCAN] * 15
    assert seen[24:45].count(Look.SCAN) == 7


def follow(schedule, viewer, *, frames, is_settled=True):
    """Return the looks at a face that every close-up sees."""
    schedule.next_look([viewer], followed=viewer, is_settled=is_settled)
    seen = []
    for _ in range(frames):
        viewer.unrefined_frames += 1
        look = schedule.next_look([viewer], followed=viewer, is_settled=is_settled)
        if look is Look.CLOSE_UP:
            viewer.unrefined_frames = 0
        seen.append(look)
    return seen


def test_a_followed_face_is_looked_at_in_close_up_every_third_frame():
    seen = follow(Schedule(), track(), frames=12)
    assert seen.count(Look.CLOSE_UP) == 4
    assert seen.count(Look.CARRY) == 8


def test_a_settled_face_that_hardly_moves_is_looked_at_every_fifth_frame_and_scanned_as_often_as_any():
    still, moving = (follow(Schedule(), track(unrest=unrest), frames=60) for unrest in (0.02, 1.0))
    assert [i for i, look in enumerate(still[:14]) if look is Look.CLOSE_UP] == [4, 9]
    assert [look is Look.SCAN for look in still] == [look is Look.SCAN for look in moving]


def test_before_the_choice_stands_even_a_still_face_is_looked_at_every_third_frame():
    seen = follow(
        Schedule(ScheduleSettings(wary_scan_every=99)), track(unrest=0.0), frames=12, is_settled=False
    )
    assert seen.count(Look.CLOSE_UP) == 4


@pytest.mark.parametrize("unrest", [0.5, float("inf")])
def test_a_still_face_that_begins_to_move_is_looked_at_as_soon_as_any(unrest):
    schedule, viewer = Schedule(), track(undetected=2, unrest=0.0)
    schedule.next_look([], followed=None)
    assert schedule.next_look([viewer], followed=viewer) is Look.CARRY
    viewer.unrefined_frames, viewer.unrest = 3, unrest
    assert schedule.next_look([viewer], followed=viewer) is Look.CLOSE_UP


def test_the_whole_view_is_scanned_twice_a_second_for_further_faces():
    schedule, viewer = Schedule(), track()
    seen = looks(schedule, [viewer], followed=viewer, frames=60)
    assert seen.count(Look.SCAN) == 4


def test_failed_flow_demands_a_close_up_at_once():
    schedule, viewer = Schedule(), track(flowed=False)
    schedule.next_look([viewer], followed=viewer)
    assert schedule.next_look([viewer], followed=viewer) is Look.CLOSE_UP


def test_further_faces_are_watched_more_closely_when_they_are_near():
    viewer = track(300)
    far = looks(Schedule(), [viewer, track(560, number=2)], followed=viewer, frames=40)
    near = looks(Schedule(), [viewer, track(420, number=2)], followed=viewer, frames=40)
    assert near.count(Look.SCAN) > far.count(Look.SCAN) > 40 // 15


def test_while_nobody_is_chosen_among_several_the_scans_stay_affordable():
    seen = looks(Schedule(), [track(100), track(500, number=2)], followed=None, frames=30)
    assert seen.count(Look.SCAN) == 10


def test_while_a_second_face_would_matter_the_whole_view_is_scanned_more_often():
    schedule, viewer = Schedule(), track()
    seen = [schedule.next_look([viewer], followed=viewer, is_settled=False) for _ in range(30)]
    assert seen.count(Look.SCAN) == 8


def test_a_scan_that_saw_the_face_from_afar_does_not_put_off_its_close_up():
    schedule, viewer = Schedule(), track()
    viewer.unrefined_frames, viewer.undetected_frames = 3, 0
    assert schedule.is_close_up_due(viewer)


def test_a_slower_source_is_looked_at_as_often_in_time():
    schedule = Schedule()
    looks(schedule, [], followed=None, frames=45)
    assert [schedule.next_look([], followed=None, elapsed_frames=3) for _ in range(5)] == [Look.SCAN] * 5
    viewer = track(unrest=0.0)
    seen = [schedule.next_look([viewer], followed=viewer, elapsed_frames=3) for _ in range(30)]
    assert seen.count(Look.SCAN) == pytest.approx(6, abs=1)


def test_where_flow_breaks_up_the_face_is_looked_at_in_close_up_and_soon_the_whole_view():
    schedule, viewer = Schedule(), track(unrest=0.0)
    looks(schedule, [viewer], followed=viewer, frames=1)
    viewer.agreement = 0.7
    assert looks(schedule, [viewer], followed=viewer, frames=3) == [Look.CLOSE_UP, Look.CLOSE_UP, Look.SCAN]


def test_while_somebody_near_may_hide_the_viewer_every_frame_is_looked_at():
    schedule, viewer = Schedule(), track(unrest=0.0)
    seen = [schedule.next_look([viewer], followed=viewer, is_guarded=True) for _ in range(12)]
    assert Look.CARRY not in seen
    assert seen.count(Look.SCAN) == 4
