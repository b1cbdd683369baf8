import pytest

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.lost_search import LOOK_EVERY, LostSearch
from edge_agent.tracking.search import FaceSearch

PLACE = Box.of([250, 150, 350, 250])


@pytest.fixture
def lost_search(patch_network):
    return LostSearch(FaceSearch(patch_network))


def steps(lost_search, frame, *, place=PLACE, tracked=(), count=LOOK_EVERY):
    return [lost_search.step(frame, place=place, tracked=tracked) for _ in range(count)][-1]


def test_faces_at_the_place_and_beside_it_are_found(lost_search, frame_of):
    faces, others = steps(lost_search, frame_of([(305, 205, 100), (460, 200, 90)]))
    assert sorted(face.box.centre for face in faces) == [
        pytest.approx((305, 205), abs=6),
        pytest.approx((460, 200), abs=6),
    ]
    assert others == ()


def test_what_is_no_face_in_the_mirror_begins_no_track_and_is_told(lost_search, frame_of):
    faces, (likeness,) = steps(lost_search, frame_of([(460, 200, 90, "lopsided")]))
    assert faces == ()
    assert likeness.centre == pytest.approx((460, 200), abs=6)


def test_a_face_that_is_followed_already_is_not_found_again(lost_search, frame_of):
    assert steps(lost_search, frame_of([(305, 205, 100)]), tracked=(PLACE,)) == ((), ())


def test_every_second_frame_costs_one_run_and_only_while_the_viewer_is_lost(
    lost_search, patch_network, frame_of
):
    frame = frame_of([])
    steps(lost_search, frame, place=None, count=10)
    assert patch_network.inferences == 0
    steps(lost_search, frame, count=10)
    assert patch_network.inferences == 5
