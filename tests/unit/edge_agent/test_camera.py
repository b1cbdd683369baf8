import pytest

from edge_agent.camera import source as camera
from edge_agent.camera.source import open_source
from edge_agent.errors import CameraError


def test_a_name_that_is_a_file_means_that_file_and_only_a_bare_number_a_device(films, monkeypatch):
    monkeypatch.chdir(films.folder)
    assert camera.is_device("0")
    assert not camera.is_device("film.mp4")
    assert not camera.is_device("./0")
    assert not camera.is_device("9" * 30)
    films.make("film.mp4").rename(films.folder / "0")
    assert not camera.is_device("0")
    film = open_source("0")
    assert film.read() is not None
    film.close()


def test_a_number_that_no_camera_has_is_a_clear_error():
    with pytest.raises(CameraError, match="there is no video 99999999999999999999"):
        open_source("9" * 20)


def test_a_camera_that_is_not_there_is_a_clear_error():
    with pytest.raises(CameraError, match="camera 97 cannot be opened"):
        open_source("97")


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
