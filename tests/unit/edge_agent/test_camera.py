import cv2
import numpy as np
import pytest

from edge_agent.adapters import camera
from edge_agent.adapters.camera import OpenCvSource
from edge_agent.errors import CameraError


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 120))
    for shade in range(10):
        writer.write(np.full((120, 160, 3), 20 * shade, np.uint8))
    writer.release()
    return path


def test_a_file_gives_its_pictures_in_order_and_then_ends(video):
    source = OpenCvSource(str(video))
    shades = []
    while (picture := source.read()) is not None:
        shades.append(round(float(picture.mean()) / 20))
    assert shades == list(range(10))
    assert source.fps == pytest.approx(25.0)
    assert not source.is_live
    source.close()


def test_a_file_can_be_played_at_another_rate(video):
    assert OpenCvSource(str(video), fps=30.0).fps == 30.0


def test_a_picture_can_be_skipped_and_the_file_rewound(video):
    source = OpenCvSource(str(video))
    assert source.skip()
    assert round(float(source.read().mean()) / 20) == 1
    assert source.rewind()
    assert round(float(source.read().mean()) / 20) == 0


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(CameraError, match="no video"):
        OpenCvSource(str(tmp_path / "none.mp4"))


def test_a_directory_is_a_clear_error(tmp_path):
    with pytest.raises(CameraError, match="not a file"):
        OpenCvSource(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"this is no video", b"\x00" * 5000, b"\xff\xd8\xff" + b"x" * 999])
def test_a_file_that_is_not_a_video_is_a_clear_error(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match="not a video"):
        OpenCvSource(str(path))


def test_a_single_picture_is_not_a_video(tmp_path):
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(CameraError, match="picture"):
        OpenCvSource(str(path))


def test_a_camera_that_is_not_there_is_a_clear_error():
    with pytest.raises(CameraError, match="camera 97 cannot be opened"):
        OpenCvSource("97")


@pytest.fixture
def devices(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


def test_where_there_is_no_camera_at_all_the_error_says_what_else_to_do(devices):
    text = camera._why_closed(0, devices=devices)
    assert "no camera" in text
    assert "--camera film.mp4" in text


def test_another_number_than_the_ones_present_is_told_those(devices):
    for number in (2, 4):
        (devices / f"video{number}").touch()
    assert "try --camera 2" in camera._why_closed(0, devices=devices)


def test_a_camera_that_this_user_may_not_open_names_the_group(devices, monkeypatch):
    (devices / "video0").touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "group `video`" in camera._why_closed(0, devices=devices)


def test_a_camera_that_is_there_and_allowed_is_in_use(devices):
    (devices / "video0").touch()
    assert "another program" in camera._why_closed(0, devices=devices)


def test_a_truncated_video_ends_instead_of_raising(video, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    try:
        source = OpenCvSource(str(cut))
    except CameraError:
        return
    seen = 0
    while source.read() is not None:
        seen += 1
    assert seen < 10
