"""The agent's eyes with the real detector: from video files to crops, no network."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.camera.frames import Frame, make_view
from edge_agent.camera.video_file import VideoFile
from edge_agent.errors import DetectorError
from edge_agent.tracking.detector_selection import detector_manifest, measure_and_remember, select_detector
from edge_agent.tracking.litert_detector import load_network
from edge_agent.tracking.pipeline import FramePipeline
from edge_agent.tracking.search import FaceSearch
from edge_agent.tracking.self_test import draw_face, self_test
from privacy.protocol.messages import SkipReason
from privacy.protocol.payload import max_content_bytes

VARIANTS = ["int8", "float32"]


@pytest.fixture(scope="module", params=VARIANTS)
def network(request):
    return load_network(detector_manifest(), request.param)


@pytest.fixture(scope="module")
def drawn_video(tmp_path_factory):
    """Three seconds of the drawn face wandering about, with a black second in the middle."""
    path = tmp_path_factory.mktemp("films") / "drawn.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (640, 480))
    face = draw_face(220)
    for index in range(90):
        picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
        x, y = 180 + round(80 * np.sin(index / 15)), 120 + round(40 * np.cos(index / 20))
        picture[y : y + 220, x : x + 220] = face
        writer.write(picture if not 30 <= index < 60 else np.zeros_like(picture))
    writer.release()
    return path


def new_pipeline(network, **options):
    return FramePipeline(FaceSearch(network), content_limit_bytes=max_content_bytes(), **options)


def watch(network, path, *, limit=400, change=lambda picture: picture):
    """Return the outcomes of a film."""
    source = VideoFile(path)
    pipeline = new_pipeline(network)
    outcomes = []
    while len(outcomes) < limit and (picture := source.read()) is not None:
        index = len(outcomes)
        outcomes.append(
            pipeline.look_at(Frame(pixels=change(picture), index=index, monotonic_us=index * 33_333))
        )
    source.close()
    return outcomes


def data_film(name):
    folder = os.environ.get("COUNTENANCE_DATA")
    if not folder:
        pytest.skip("COUNTENANCE_DATA names no folder with films of real people")
    path = Path(folder) / "videos" / name
    if not path.is_file():
        pytest.skip(f"the data folder has no {name}")
    return path


def test_every_variant_passes_its_self_test(network):
    assert self_test(network) is None


def test_the_first_start_measures_and_the_next_remembers(tmp_path):
    manifest = detector_manifest()
    first = select_detector("auto", tmp_path, manifest)
    assert {m.variant for m in first.measured} == set(VARIANTS)
    assert first.variant == min(first.measured, key=lambda m: m.median_us).variant
    assert select_detector("auto", tmp_path, manifest) == first


def test_a_named_variant_is_taken_without_measuring(tmp_path):
    choice = select_detector("int8", tmp_path, detector_manifest())
    assert (choice.variant, choice.measured) == ("int8", ())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_variant_is_a_clear_error(tmp_path):
    with pytest.raises(DetectorError, match="no variant 'int4'"):
        select_detector("int4", tmp_path, detector_manifest())


def test_a_home_that_cannot_be_written_still_gives_a_detector(tmp_path):
    (tmp_path / "home").write_text("in the way")
    assert measure_and_remember(tmp_path / "home", detector_manifest()).variant in VARIANTS


def test_a_drawn_face_is_sent_and_the_black_second_is_a_flagged_gap(network, drawn_video):
    outcomes = watch(network, drawn_video)
    reasons = [o.skip for o in outcomes]
    assert reasons[:30] == [None] * 30
    assert set(reasons[32:60]) <= {SkipReason.DARK}
    assert reasons[66:] == [None] * 24


def drawn_picture(side, *, roll_deg=0.0, gain=1.0):
    """The drawn face in the middle of a camera frame; tilted clockwise, in the dark."""
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    top, left = 240 - side // 2, 320 - side // 2
    picture[top : top + side, left : left + side] = draw_face(side)
    turn = cv2.getRotationMatrix2D((320, 240), -roll_deg, 1.0)
    picture = cv2.warpAffine(picture, turn, (640, 480), borderValue=(150, 140, 130))
    noise = np.random.default_rng(0).normal(0, 1, picture.shape)
    return np.clip(picture * gain + noise, 0, 255).astype(np.uint8)


def watch_still(pipeline, picture, frames):
    return [pipeline.look_at(Frame(pixels=picture, index=i, monotonic_us=33_333 * i)) for i in range(frames)]


HARD_TO_SEE = {"tilted": {"side": 260, "roll_deg": 75.0}, "far": {"side": 64}}


@pytest.mark.parametrize("kind", HARD_TO_SEE)
def test_what_the_whole_view_misses_is_found_by_looking_again_and_then_kept(network, kind):
    picture = drawn_picture(**HARD_TO_SEE[kind])
    assert all(o.faces == 0 for o in watch_still(new_pipeline(network, fallbacks=()), picture, 6))
    outcomes = watch_still(new_pipeline(network), picture, 50)
    assert all(o.crop is None for o in outcomes[:10]), "nobody is chosen before the survey for company"
    assert all(o.faces == 1 for o in outcomes[30:])
    assert all(o.skip is None for o in outcomes[40:])


def test_of_two_people_whom_only_looking_again_finds_nobody_is_cropped(network):
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    for left, top in ((60, 70), (500, 330)):
        picture[top : top + 64, left : left + 64] = draw_face(64)
    outcomes = watch_still(new_pipeline(network), picture, 60)
    assert all(o.crop is None for o in outcomes)
    assert any(o.faces for o in outcomes)


def test_a_face_in_the_dark_is_followed_from_the_first_frame(network):
    picture = drawn_picture(260, gain=0.12)
    outcomes = watch_still(new_pipeline(network), picture, 10)
    assert all(o.skip is None for o in outcomes)


def test_a_covered_lens_shows_no_face_however_much_its_noise_is_lifted(network):
    rng, pipeline = np.random.default_rng(5), new_pipeline(network)
    for index in range(25):
        noise = np.clip(rng.normal(2, 2, (480, 640, 3)), 0, 255).astype(np.uint8)
        outcome = pipeline.look_at(Frame(pixels=noise, index=index, monotonic_us=0))
        assert (outcome.skip, outcome.faces) == (SkipReason.DARK, 0)


def test_eyes_and_mouth_of_the_crop_are_where_the_template_says(network, drawn_video):
    outcome = watch(network, drawn_video, limit=20)[-1]
    crop = cv2.imdecode(np.frombuffer(outcome.crop.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    eyes = cv2.GaussianBlur(crop, (0, 0), 1.5)
    for x in (0.30, 0.70):
        around = eyes[26:42, round(96 * x) - 9 : round(96 * x) + 9]
        dark_y, dark_x = np.unravel_index(np.argmin(around), around.shape)
        assert abs(dark_x - 9) <= 5
        assert abs(dark_y - 8) <= 7


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "single_face.mp4",
        "WolfgangLanger_Pexels.mp4",
        "liveportrait_d19.mp4",
        "intel_asl/again.mkv",
        "intel_asl/thanks.mkv",
        "intel_asl/walk.mkv",
        "intel_head-pose-face-detection-male.mp4",
    ],
)
def test_a_face_is_found_in_nearly_every_frame_that_shows_one(network, name):
    outcomes = watch(network, data_film(name), limit=150)
    assert sum(o.faces > 0 for o in outcomes) >= 0.95 * len(outcomes)
    assert sum(o.skip is None for o in outcomes) >= 0.95 * len(outcomes)
    assert all(len(o.crop.content) <= max_content_bytes() for o in outcomes if o.crop)


@pytest.mark.data
@pytest.mark.parametrize("name", ["no_face.mp4", "intel_classroom.mp4"])
def test_a_film_without_a_near_face_gives_no_crop(network, name):
    outcomes = watch(network, data_film(name), limit=100)
    assert all(o.crop is None for o in outcomes)


@pytest.mark.data
@pytest.mark.parametrize(("first", "stride"), [(0, 1), (1, 2), (1, 3), (4, 5), (2, 7)])
def test_a_film_without_a_face_shows_none_whichever_frames_are_skipped(network, first, stride):
    source, pipeline = VideoFile(data_film("no_face.mp4")), new_pipeline(network)
    index = 0
    while (picture := source.read()) is not None:
        if index >= first and (index - first) % stride == 0:
            outcome = pipeline.look_at(Frame(pixels=picture, index=index, monotonic_us=0))
            assert (outcome.faces, outcome.crop) == (0, None)
        index += 1
    source.close()


@pytest.mark.data
@pytest.mark.parametrize("name", ["no_face.mp4", "intel_classroom.mp4"])
def test_no_single_frame_of_a_film_without_a_near_face_could_begin_a_track(network, name):
    """What begins a track depends on one frame alone, so that no load and no skipped frame can make a false one."""
    source = VideoFile(data_film(name))
    search, frames = FaceSearch(network), 0
    while (picture := source.read()) is not None:
        frame = Frame(pixels=picture, index=frames, monotonic_us=0)
        assert search.scan(frame, make_view(frame), is_wary=True).faces == ()
        frames += 1
    source.close()
    assert frames > 40


@pytest.mark.data
def test_a_face_that_leaves_is_a_gap_from_then_on(network):
    outcomes = watch(network, data_film("face_noface.mov"))
    assert all(o.skip is None for o in outcomes[:72])
    assert all(o.crop is None for o in outcomes[76:])


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "intel_head-pose-face-detection-female-and-male.mp4",
        "intel_face-demographics-walking-and-pause.mp4",
    ],
)
def test_people_side_by_side_are_never_cropped(network, name):
    outcomes = watch(network, data_film(name))
    assert all(o.crop is None for o in outcomes)
    assert {o.skip for o in outcomes if o.faces} == {SkipReason.AMBIGUOUS_TRACK}


@pytest.mark.data
@pytest.mark.parametrize(("contrast", "blur_px"), [(0.5, 0), (0.25, 0), (0.2, 0), (1.0, 3), (1.0, 5)])
def test_nobody_is_cropped_where_one_of_two_people_is_hard_to_see(network, contrast, blur_px):
    film = data_film("intel_head-pose-face-detection-female-and-male.mp4")

    def spoil(picture):
        left = 128 + contrast * (picture[:, :200].astype(np.float32) - 128)
        spoilt = picture.copy()
        spoilt[:, :200] = cv2.GaussianBlur(left, (0, 0), blur_px) if blur_px else left
        return spoilt

    assert all(o.crop is None for o in watch(network, film, change=spoil))
