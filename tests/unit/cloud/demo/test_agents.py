from cloud.demo.agents import is_device


def test_a_bare_number_is_a_camera_unless_a_file_is_called_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_device("0")
    assert not is_device("film.mp4")
    assert not is_device("x" * 5000)
    (tmp_path / "0").touch()
    assert not is_device("0")
