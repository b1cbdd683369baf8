import cv2
import numpy as np
import pytest

from edge_agent.camera.frames import Frame
from edge_agent.tracking.pipeline import FramePipeline
from edge_agent.tracking.schedule import Look
from edge_agent.tracking.search import FaceSearch
from privacy.protocol.messages import SkipReason
from privacy.protocol.payload import max_content_bytes


@pytest.fixture
def pipeline(patch_network):
    return FramePipeline(FaceSearch(patch_network), content_limit_bytes=max_content_bytes())


def play(pipeline, frame_of, scenes, **options):
    return [pipeline.look_at(frame_of(faces, index=i, **options)) for i, faces in enumerate(scenes)]


def test_a_moving_viewer_is_sent_on_every_frame_with_few_inferences(pipeline, patch_network, frame_of):
    scenes = [[(200 + 4 * i, 220 + 2 * i, 120)] for i in range(45)]
    outcomes = play(pipeline, frame_of, scenes)
    assert [o.skip for o in outcomes] == [None] * 45
    assert patch_network.inferences <= 30
    assert {o.look for o in outcomes} == {Look.SCAN, Look.CLOSE_UP, Look.CARRY}


def test_an_empty_room_is_skipped_as_no_face(pipeline, frame_of):
    outcomes = play(pipeline, frame_of, [[]] * 30)
    assert {o.skip for o in outcomes} == {SkipReason.NO_FACE}
    assert all(o.crop is None and o.faces == 0 for o in outcomes)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_chance_likeness_begins_no_track_whichever_frames_are_skipped(
    patch_network, frame_of, stride, first
):
    """The likeness passes the plain close-up on every frame, so only the mirrored look can refuse it."""
    pipeline = FramePipeline(FaceSearch(patch_network), content_limit_bytes=max_content_bytes(), fallbacks=())
    for index in range(first, 60, stride):
        outcome = pipeline.look_at(frame_of([(300, 240, 130, "lopsided")], index=index))
        assert (outcome.skip, outcome.faces) == (SkipReason.NO_FACE, 0)


def test_a_black_frame_is_skipped_as_dark(pipeline):
    frame = Frame(pixels=np.zeros((480, 640, 3), np.uint8), index=0, monotonic_us=0)
    assert pipeline.look_at(frame).skip is SkipReason.DARK


def test_a_minute_without_a_face_costs_few_inferences_and_ends_when_one_appears(
    pipeline, patch_network, frame_of
):
    empty = frame_of([])
    minute = 60 * 30
    for i in range(minute):
        pipeline.look_at(Frame(pixels=empty.pixels, index=i, monotonic_us=i * 33_333))
    assert patch_network.inferences <= 1.4 * 300 + 0.7 * (minute - 300) + 30
    outcomes = [pipeline.look_at(frame_of([(320, 240, 130)], index=minute + i)) for i in range(6)]
    assert outcomes[-1].skip is None
    assert sum(o.skip is not None for o in outcomes) <= 3


def test_a_second_face_is_counted_and_never_cropped(pipeline, frame_of):
    scenes = [[(200, 240, 140)]] * 5 + [[(200, 240, 140), (520, 240, 90)]] * 30
    outcomes = play(pipeline, frame_of, scenes)
    assert all(o.skip is None for o in outcomes)
    alone, accompanied = outcomes[4], outcomes[-1]
    assert accompanied.second_face
    assert not alone.second_face
    assert accompanied.faces == 2


def test_the_crop_shows_the_viewer_and_not_the_other_face(pipeline, frame_of):
    import cv2

    scenes = [[(200, 240, 140)]] * 3 + [[(200, 240, 140), (520, 240, 90)]] * 12
    outcomes = play(pipeline, frame_of, scenes)
    first, last = (
        cv2.imdecode(np.frombuffer(o.crop.content, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for o in (outcomes[2], outcomes[-1])
    )
    assert np.abs(first - last).mean() < 12


def test_two_equal_faces_from_the_start_are_ambiguous_and_nothing_is_cropped(pipeline, frame_of):
    outcomes = play(pipeline, frame_of, [[(180, 240, 120), (460, 240, 120)]] * 30)
    assert {o.skip for o in outcomes} == {SkipReason.AMBIGUOUS_TRACK}
    assert all(o.crop is None for o in outcomes)


def test_five_faces_are_counted_and_nothing_is_cropped(pipeline, frame_of):
    scene = [(80 + 120 * i, 240, 90) for i in range(5)]
    outcomes = play(pipeline, frame_of, [scene] * 10)
    assert all(o.skip is SkipReason.AMBIGUOUS_TRACK for o in outcomes)
    assert outcomes[-1].faces == 5


def test_a_viewer_who_is_hidden_for_a_moment_is_a_gap_and_then_goes_on(pipeline, frame_of):
    scenes = [[(300, 240, 130)]] * 10 + [[]] * 6 + [[(300, 240, 130)]] * 10
    outcomes = play(pipeline, frame_of, scenes)
    assert all(o.skip is None for o in outcomes[:10])
    assert outcomes[14].skip is SkipReason.NO_FACE
    assert outcomes[-1].skip is None


def test_a_second_person_whom_the_detector_half_sees_keeps_both_from_being_cropped(pipeline, frame_of):
    outcomes = play(pipeline, frame_of, [[(180, 240, 120), (460, 240, 120, "faint")]] * 60)
    assert {o.skip for o in outcomes} == {SkipReason.AMBIGUOUS_TRACK}


def test_two_people_are_not_told_apart_by_who_sits_in_the_middle(pipeline, frame_of):
    outcomes = play(pipeline, frame_of, [[(320, 240, 120), (70, 100, 110)]] * 60)
    assert {o.skip for o in outcomes} == {SkipReason.AMBIGUOUS_TRACK}


def test_when_faces_cross_nothing_is_cropped_while_they_touch(pipeline, frame_of):
    scenes = [[(150, 240, 120)]] * 40
    scenes += [[(150 + 8 * i, 240, 120), (560 - 8 * i, 240, 120)] for i in range(40)]
    outcomes = play(pipeline, frame_of, scenes)
    closest = outcomes[40 + 25]
    assert closest.crop is None
    assert all(o.skip is None for o in outcomes[:50])


def test_a_grey_camera_a_4k_camera_and_an_odd_aspect_all_work(patch_network, frame_of):
    for width, height, side in [(3840, 2160, 700), (320, 900, 160), (1000, 240, 120)]:
        pipeline = FramePipeline(FaceSearch(patch_network), content_limit_bytes=max_content_bytes())
        faces = [[(width / 2, height / 2, side)]] * 5
        outcomes = play(pipeline, frame_of, faces, width=width, height=height)
        assert [o.skip for o in outcomes] == [None] * 5


def test_a_network_that_goes_blind_is_bridged_by_flow_and_then_a_gap(pipeline, patch_network, frame_of):
    play(pipeline, frame_of, [[(300, 240, 130)]] * 4)
    patch_network.is_blind = True
    outcomes = [pipeline.look_at(frame_of([(300, 240, 130)], index=4 + i)) for i in range(20)]
    assert outcomes[0].skip is None
    assert outcomes[-1].skip is SkipReason.NO_FACE
    assert sum(o.skip is None for o in outcomes) <= 10


@pytest.mark.parametrize("seen_frames", range(41, 56, 2))
def test_a_still_face_is_carried_through_five_failed_looks_wherever_they_begin(
    pipeline, patch_network, frame_of, seen_frames
):
    """Looks are rarer once a face is at rest; how many of them may fail is as before."""
    play(pipeline, frame_of, [[(300, 240, 130)]] * seen_frames)
    patch_network.is_blind = True
    before = patch_network.inferences
    sent = looks = 0
    for i in range(20):
        outcome = pipeline.look_at(frame_of([(300, 240, 130)], index=seen_frames + i))
        sent += outcome.skip is None
        if outcome.skip is not None:
            break
        looks = patch_network.inferences - before
    assert 6 <= sent <= 10
    assert looks >= 5


def test_every_crop_fits_an_envelope_even_on_noise(pipeline, frame_of):
    outcomes = play(pipeline, frame_of, [[(320, 240, 400)]] * 5)
    assert all(len(o.crop.content) <= max_content_bytes() for o in outcomes if o.crop is not None)


def resized(frame, size):
    pixels = np.asarray(cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Frame(pixels=pixels, index=frame.index, monotonic_us=frame.monotonic_us)


def test_a_picture_that_goes_on_in_another_size_loses_no_frame(pipeline, frame_of):
    frames = [frame_of([(300 + 2 * i, 240, 130)], index=i) for i in range(40)]
    sizes = [(640, 480)] * 15 + [(320, 240)] * 15 + [(640, 480)] * 10
    outcomes = [pipeline.look_at(resized(f, size)) for f, size in zip(frames, sizes, strict=True)]
    assert [o.skip for o in outcomes] == [None] * 40


def test_a_picture_that_goes_on_in_another_shape_begins_anew_and_soon_goes_on(pipeline, frame_of):
    frames = [frame_of([(300, 240, 130)], index=i) for i in range(40)]
    outcomes = [pipeline.look_at(f) for f in frames[:20]]
    for frame in frames[20:]:
        square = Frame(
            pixels=frame.pixels[:, 80:560].copy(), index=frame.index, monotonic_us=frame.monotonic_us
        )
        outcomes.append(pipeline.look_at(square))
    assert sum(o.skip is not None for o in outcomes) <= 3
    assert {o.faces for o in outcomes} == {1}


@pytest.mark.parametrize(("missing", "is_forgotten"), [(5, False), (60, True)])
def test_after_a_long_absence_the_viewer_is_chosen_anew(pipeline, frame_of, missing, is_forgotten):
    for i in range(10):
        outcome = pipeline.look_at(frame_of([(300, 240, 130)], index=i))
    assert outcome.skip is None
    outcome = pipeline.look_at(frame_of([(300, 240, 130)], index=10 + missing))
    assert (outcome.skip == SkipReason.AMBIGUOUS_TRACK) is is_forgotten
