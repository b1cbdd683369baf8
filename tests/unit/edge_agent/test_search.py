import pytest

from edge_agent.camera.frames import make_view
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.search import FaceSearch


def test_a_small_face_is_confirmed_in_close_up(patch_network, frame_of):
    frame = frame_of([(300, 200, 80)])
    search = FaceSearch(patch_network)
    (face,) = search.scan(frame, make_view(frame)).faces
    assert face.box.centre == pytest.approx((300, 200), abs=4)
    assert search.inferences == 3


def test_a_large_certain_face_needs_the_mirrored_look_only(patch_network, frame_of):
    frame = frame_of([(300, 240, 300)])
    search = FaceSearch(patch_network)
    assert len(search.scan(frame, make_view(frame)).faces) == 1
    assert search.inferences == 2


def test_a_proposal_that_the_close_up_does_not_confirm_is_no_face(patch_network, frame_of):
    patch_network.score = 0.6
    frame = frame_of([(300, 200, 80)])
    assert FaceSearch(patch_network).scan(frame, make_view(frame)).faces == ()


def test_a_followed_face_is_kept_on_a_score_that_would_not_begin_one(patch_network, frame_of):
    patch_network.score = 0.6
    frame = frame_of([(300, 200, 80)])
    known = (Box.of([260, 160, 340, 240]),)
    assert len(FaceSearch(patch_network).scan(frame, make_view(frame), known=known).faces) == 1


def test_a_crowd_costs_a_bounded_number_of_inferences(patch_network, frame_of):
    frame = frame_of([(60 + 110 * i, 60 + 110 * j, 60) for i in range(5) for j in range(4)])
    search = FaceSearch(patch_network)
    faces = search.scan(frame, make_view(frame)).faces
    assert search.inferences <= 17
    before = search.inferences
    search.scan(frame, make_view(frame), tracked=tuple(face.box for face in faces))
    assert search.inferences - before <= 9


def test_a_close_up_prefers_the_face_that_was_asked_for(patch_network, frame_of):
    frame = frame_of([(250, 200, 80), (370, 200, 80)])
    face = FaceSearch(patch_network).close_up(frame, Box.of([330, 160, 410, 240]))
    assert face is not None
    assert face.box.centre == pytest.approx((370, 200), abs=5)


def test_a_close_up_off_the_frame_finds_nothing(patch_network, frame_of):
    frame = frame_of([(300, 200, 80)])
    assert FaceSearch(patch_network).close_up(frame, Box.of([900, 900, 950, 950])) is None


def test_a_proposal_that_is_not_confirmed_is_a_rival(patch_network, frame_of):
    patch_network.score = 0.6
    frame = frame_of([(300, 200, 80)])
    (rival,) = FaceSearch(patch_network).scan(frame, make_view(frame)).rivals
    assert rival.centre == pytest.approx((300, 200), abs=5)


@pytest.mark.parametrize("side", [80, 300])
def test_what_is_no_face_in_the_mirror_begins_no_track_and_is_a_rival(patch_network, frame_of, side):
    frame = frame_of([(300, 240, side, "lopsided")])
    sighting = FaceSearch(patch_network).scan(frame, make_view(frame))
    assert sighting.faces == ()
    assert len(sighting.rivals) == 1


def test_where_a_track_is_already_the_mirror_is_not_asked_again(patch_network, frame_of):
    frame = frame_of([(300, 240, 80, "lopsided")])
    sighting = FaceSearch(patch_network).scan(
        frame, make_view(frame), tracked=(Box.of([260, 200, 340, 280]),)
    )
    assert len(sighting.faces) == 1


def test_a_place_that_the_close_up_clears_of_any_likeness_is_no_rival(patch_network, frame_of):
    patch_network.score = 0.28
    frame = frame_of([(300, 200, 80)])
    assert FaceSearch(patch_network).scan(frame, make_view(frame)).rivals == ()


@pytest.mark.parametrize(("is_wary", "rivals"), [(True, 1), (False, 0)])
def test_a_fainter_place_beside_a_face_is_looked_at_only_while_it_matters(
    patch_network, frame_of, is_wary, rivals
):
    frame = frame_of([(160, 240, 100), (480, 240, 100, "faint")])
    sighting = FaceSearch(patch_network).scan(frame, make_view(frame), is_wary=is_wary)
    assert (len(sighting.faces), len(sighting.rivals)) == (1, rivals)
