import numpy as np
import pytest

from edge_agent.tracking.company import Company, CompanySettings, face_distance
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.tracks import Track

SIZE = (1280, 720)


def box(x, y=360, side=100):
    return Box.of([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


VIEWER = box(640)


def track(number, x, *, side=100, velocity=(0.0, 0.0), undetected=0):
    return Track(
        number=number,
        box=box(x, side=side),
        landmarks=np.zeros((6, 2), np.float32),
        score=0.9,
        flowed=True,
        velocity=velocity,
        undetected_frames=undetected,
    )


def note(company, *others, is_open=False, glimpses=()):
    company.note(others, viewer=VIEWER, size=SIZE, is_open=is_open, glimpses=glimpses)


def face(number=9, x=640, side=100):
    return track(number, x, side=side)


def walk(company, number, places, *, is_open=False):
    for x in places:
        note(company, track(number, x), is_open=is_open)


def test_nobody_is_accounted_for_and_nobody_is_near():
    company = Company()
    note(company)
    assert company.is_accounted_for(face())
    assert not company.is_near()
    assert not company.is_known


@pytest.mark.parametrize(("x", "is_near"), [(460, True), (900, False)])
def test_who_is_within_two_faces_may_hide_the_viewer(x, is_near):
    company = Company()
    note(company, track(2, x))
    assert company.is_near() == is_near


def test_who_was_near_counts_as_near_for_half_a_second():
    company = Company()
    note(company, track(2, 460))
    seen = []
    for _ in range(CompanySettings().near_frames + 1):
        note(company)
        seen.append(company.is_near())
    assert seen == [True] * CompanySettings().near_frames + [False]


def test_who_came_near_and_is_not_seen_any_more_may_be_at_the_viewers_place():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    note(company, is_open=True)
    assert not company.is_accounted_for(face())


def test_who_is_seen_on_the_other_side_is_accounted_for_though_their_track_broke():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    note(company, is_open=True)
    assert not company.is_accounted_for(face())
    walk(company, 5, range(760, 820, 20), is_open=True)
    assert company.is_accounted_for(face())


def test_a_face_that_arrives_where_the_viewer_was_is_not_accounted_for_by_itself():
    """The stranger stops where the viewer sat: the only face there is must not clear itself."""
    company = Company()
    walk(company, 2, range(300, 560, 20))
    for _ in range(50):
        note(company, track(3, 640), is_open=True)
        assert not company.is_accounted_for(face(3))


def test_a_stranger_whose_track_goes_on_is_known_wherever_they_are():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    walk(company, 2, range(560, 641, 20), is_open=True)
    assert company.unbroken_numbers == {2}
    assert company.is_accounted_for(face(9, x=540))
    assert not company.is_accounted_for(face(2)), "the stranger is not the viewer"


def test_a_track_that_was_not_seen_for_a_moment_may_be_another_face_by_now():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    note(company, is_open=True)
    note(company, is_open=True)
    note(company, track(2, 640), is_open=True)
    assert company.unbroken_numbers == frozenset()


def test_who_walks_out_of_the_picture_is_gone():
    company = Company()
    walk_out = [track(2, x, velocity=(30.0, 0.0)) for x in range(1100, 1271, 30)]
    note(company, track(2, 700))
    for step in walk_out:
        note(company, step, is_open=True)
    for _ in range(3):
        note(company, is_open=True)
    assert company.is_accounted_for(face())


def test_who_was_seen_only_once_within_reach_may_be_anywhere_by_now():
    company = Company()
    note(company, track(2, 440))
    note(company, is_open=True)
    assert not company.is_accounted_for(face())


def test_a_face_of_quite_another_size_is_not_the_strangers_once_they_are_out_of_sight():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    for _ in range(CompanySettings().near_frames + 1):
        note(company, is_open=True)
    assert company.is_accounted_for(face(side=160))
    assert not company.is_accounted_for(face(side=110))


def test_a_face_beside_the_viewers_in_close_up_is_company():
    company = Company()
    note(company, glimpses=[box(545, side=80)])
    assert company.is_near()
    note(company, is_open=True)
    assert not company.is_accounted_for(face(side=90))


def test_a_second_likeness_on_the_viewers_own_face_is_nobody():
    company = Company()
    note(company, glimpses=[box(650, side=60)])
    assert not company.is_near()


def test_who_is_not_accounted_for_is_remembered_for_ten_seconds():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    for _ in range(CompanySettings().memory_frames):
        note(company, is_open=True)
    assert not company.is_accounted_for(face())
    note(company, is_open=True)
    assert company.is_accounted_for(face())


def test_places_follow_when_pictures_are_resized():
    company = Company()
    walk(company, 2, range(300, 560, 20))
    company.rescale(0.5)
    company.note([], viewer=VIEWER.scaled(0.5), size=(640, 360), is_open=True)
    company.note([track(3, 275, side=50)], viewer=VIEWER.scaled(0.5), size=(640, 360), is_open=True)
    assert company.numbers == {3}


def test_distance_is_counted_in_sides_of_the_larger_face():
    assert face_distance(box(0, side=100), box(200, side=50)) == pytest.approx(2.0)
