import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.subject_selector import ChoiceSettings, ConsentedTrack, Standing
from edge_agent.tracking.tracks import Track

SIZE = {"width": 640, "height": 480}


def track(number, x=320, y=240, side=120, *, visible=True):
    return Track(
        number=number,
        box=Box.of([x - side / 2, y - side / 2, x + side / 2, y + side / 2]),
        landmarks=np.zeros((6, 2), np.float32),
        score=0.9,
        visible=visible,
        flowed=visible,
    )


def test_a_single_face_is_the_viewer_from_its_first_frame():
    choice = ConsentedTrack().choose([track(1)], **SIZE)
    assert choice.standing is Standing.FOLLOWED
    assert choice.track.number == 1


def test_an_empty_room_has_nobody():
    choice = ConsentedTrack().choose([], **SIZE)
    assert (choice.standing, choice.faces) == (Standing.NOBODY, 0)


def test_among_several_the_dominant_one_is_chosen_after_a_third_of_a_second():
    viewer, other = track(1, side=160), track(2, x=560, side=80)
    consented = ConsentedTrack()
    standings = [consented.choose([viewer, other], **SIZE).standing for _ in range(12)]
    needed = ChoiceSettings().crowd_frames
    assert standings[: needed - 1] == [Standing.AMBIGUOUS] * (needed - 1)
    assert standings[needed - 1 :] == [Standing.FOLLOWED] * (12 - needed + 1)
    assert consented.followed is viewer


def test_two_equal_faces_stay_ambiguous_for_ever():
    consented = ConsentedTrack()
    pair = [track(1, x=200), track(2, x=440)]
    assert {consented.choose(pair, **SIZE).standing for _ in range(100)} == {Standing.AMBIGUOUS}


def settled(viewer):
    consented = ConsentedTrack()
    for _ in range(ChoiceSettings().probation_frames + 1):
        consented.choose([viewer], **SIZE)
    assert consented.is_settled
    return consented


def test_a_second_face_far_away_does_not_stop_the_viewer():
    viewer = track(1)
    consented = settled(viewer)
    choice = consented.choose([viewer, track(2, x=560, side=200)], **SIZE)
    assert (choice.standing, choice.track, choice.faces) == (Standing.FOLLOWED, viewer, 2)


def test_tracks_that_touch_are_ambiguous_until_the_choice_is_clear_again():
    consented = ConsentedTrack()
    viewer, other = track(1), track(2, x=380)
    consented.choose([viewer], **SIZE)
    assert consented.choose([viewer, other], **SIZE).standing is Standing.AMBIGUOUS
    apart = [track(1, x=200), track(2, x=440)]
    assert consented.choose(apart, **SIZE).standing is Standing.AMBIGUOUS
    assert consented.followed is None


def test_a_viewer_who_looks_away_for_a_moment_is_hidden_not_lost():
    consented = ConsentedTrack()
    viewer = track(1)
    consented.choose([viewer], **SIZE)
    viewer.visible = False
    assert consented.choose([viewer], **SIZE).standing is Standing.HIDDEN
    viewer.visible = True
    assert consented.choose([viewer], **SIZE).standing is Standing.FOLLOWED


def test_while_the_viewer_is_hidden_another_face_is_never_taken_instead():
    viewer = track(1)
    consented = settled(viewer)
    viewer.visible = False
    choice = consented.choose([viewer, track(2, x=100)], **SIZE)
    assert (choice.standing, choice.track, choice.faces) == (Standing.HIDDEN, None, 1)


def test_after_a_loss_a_single_face_must_be_alone_for_a_while():
    consented = ConsentedTrack()
    consented.choose([track(1)], **SIZE)
    consented.choose([], **SIZE)
    back = track(2)
    standings = [consented.choose([back], **SIZE).standing for _ in range(4)]
    assert standings == [Standing.AMBIGUOUS] * 2 + [Standing.FOLLOWED] * 2


def test_after_a_loss_two_faces_are_ambiguous():
    consented = ConsentedTrack()
    consented.choose([track(1)], **SIZE)
    consented.choose([], **SIZE)
    pair = [track(2, x=200), track(3, x=440)]
    assert consented.choose(pair, **SIZE).standing is Standing.AMBIGUOUS


def box(x, y, side):
    return track(0, x, y, side).box


@pytest.mark.parametrize("side", [90, 120, 160])
def test_a_face_of_similar_size_leaves_the_choice_open_however_central_the_other_is(side):
    consented = ConsentedTrack()
    pair = [track(1, x=320), track(2, x=80, y=100, side=side)]
    assert {consented.choose(pair, **SIZE).standing for _ in range(100)} == {Standing.AMBIGUOUS}


def test_a_rival_that_was_not_confirmed_leaves_the_choice_open_until_it_is_gone():
    consented, choosing = ConsentedTrack(), ChoiceSettings()
    viewer, rival = track(1, x=200), box(440, 240, 110)
    for _ in range(60):
        assert consented.choose([viewer], rivals=[rival], **SIZE).standing is Standing.AMBIGUOUS
    standings = [consented.choose([viewer], **SIZE).standing for _ in range(choosing.rival_memory_frames + 1)]
    assert standings == [Standing.AMBIGUOUS] * choosing.rival_memory_frames + [Standing.FOLLOWED]


def test_a_rival_is_remembered_when_another_place_is_seen_after_it():
    consented, viewer = ConsentedTrack(), track(1, x=200)
    consented.choose([viewer], rivals=[box(440, 240, 110)], **SIZE)
    print_on_shirt = box(200, 380, 110)
    choice = consented.choose([viewer], rivals=[print_on_shirt], **SIZE)
    assert choice.standing is Standing.AMBIGUOUS


def test_a_rival_or_a_second_face_within_the_first_second_reopens_the_choice():
    viewer = track(1, x=200)
    for late in ({"rivals": [box(440, 240, 120)]}, {"others": [track(2, x=440)]}):
        consented = ConsentedTrack()
        assert consented.choose([viewer], **SIZE).standing is Standing.FOLLOWED
        tracks = [viewer, *late.get("others", [])]
        choice = consented.choose(tracks, rivals=late.get("rivals", []), **SIZE)
        assert (choice.standing, choice.track) == (Standing.AMBIGUOUS, None)


def test_a_rival_after_the_first_second_changes_nothing():
    viewer = track(1, x=200)
    consented = settled(viewer)
    choice = consented.choose([viewer], rivals=[box(440, 240, 120)], **SIZE)
    assert choice.standing is Standing.FOLLOWED


@pytest.mark.parametrize(
    "place",
    [(320, 240, 120), (330, 400, 110), (180, 340, 120), (560, 240, 70), (560, 240, 300)],
    ids=["the face itself", "a print on the shirt", "a hand", "someone far behind", "a patch of the wall"],
)
def test_what_is_no_second_person_beside_the_viewer_is_no_rival(place):
    choice = ConsentedTrack().choose([track(1)], rivals=[box(*place)], **SIZE)
    assert choice.standing is Standing.FOLLOWED


places = st.tuples(st.integers(60, 580), st.integers(60, 420), st.integers(30, 200), st.booleans())


@settings(deadline=None)
@given(st.lists(st.lists(places, max_size=5), max_size=25))
def test_only_a_visible_track_that_touches_no_other_is_ever_passed_on(frames):
    consented, choosing = ConsentedTrack(), ChoiceSettings()
    pool = [track(i) for i in range(5)]
    for frame in frames:
        for kept, (x, y, side, visible) in zip(pool, frame, strict=False):
            kept.box = Box.of([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
            kept.visible = visible
        live = pool[: len(frame)]
        choice = consented.choose(live, **SIZE)
        assert (choice.track is not None) == (choice.standing is Standing.FOLLOWED)
        if choice.track is None:
            continue
        assert choice.track.visible
        for other in live:
            if other is choice.track or not other.visible:
                continue
            gap = np.hypot(*(np.array(other.box.centre) - np.array(choice.track.box.centre)))
            assert gap >= choosing.touch_distance * (other.box.side + choice.track.box.side) / 2


def test_a_track_that_ends_while_somebody_is_near_is_not_followed_by_the_one_that_begins_there():
    viewer, passing = track(1), track(2, x=160)
    consented = settled(viewer)
    for x in range(160, 230, 10):
        passing.box = track(2, x=x).box
        consented.choose([viewer, passing], **SIZE)
    arrived = track(3, x=330)
    standings = {consented.choose([arrived], **SIZE).standing for _ in range(60)}
    assert standings == {Standing.AMBIGUOUS}


def test_a_viewer_who_was_covered_is_back_when_the_passer_by_is_clear_of_them():
    viewer, passing = track(1), track(2, x=160)
    consented = settled(viewer)
    for x in range(160, 230, 10):
        passing.box = track(2, x=x).box
        consented.choose([viewer, passing], **SIZE)
    for x in range(230, 420, 10):
        passing.box = track(2, x=x).box
        assert consented.choose([passing], **SIZE).track is None
    back = track(3)
    choices = []
    for x in range(420, 540, 10):
        passing.box = track(2, x=x).box
        choices.append(consented.choose([passing, back], **SIZE))
    assert all(choice.track in (None, back) for choice in choices)
    assert [c.standing for c in choices[2:]] == [Standing.FOLLOWED] * 10


def test_a_face_in_the_close_up_that_touches_the_viewers_leaves_the_frame_open():
    viewer = track(1)
    consented = settled(viewer)
    choice = consented.choose([viewer], glimpses=[box(350, 260, 60)], **SIZE)
    assert (choice.standing, choice.track) == (Standing.AMBIGUOUS, None)
    assert consented.followed is viewer


def test_a_rival_who_comes_after_a_third_of_a_second_suspends_the_choice_until_he_leaves():
    viewer, other = track(1, x=200), track(2, x=500)
    consented = ConsentedTrack()
    for _ in range(ChoiceSettings().incumbent_frames + 1):
        consented.choose([viewer], **SIZE)
    standings = {consented.choose([viewer, other], **SIZE).standing for _ in range(60)}
    assert standings == {Standing.AMBIGUOUS}
    assert consented.choose([viewer], **SIZE).track is viewer


def test_on_a_slower_camera_the_choice_stands_after_the_same_time():
    viewer, consented = track(1), ConsentedTrack()
    for _ in range(11):
        consented.choose([viewer], elapsed_frames=3.0, **SIZE)
    assert consented.is_settled
