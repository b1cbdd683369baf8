import io

import pytest

from edge_agent.camera.container_end import is_cut


def told(content):
    return is_cut(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mp4", {}),
        ("film.mp4", {"movflags": "faststart"}),
        ("film.mov", {}),
        ("film.mkv", {}),
        ("film.webm", {"codec": "libvpx"}),
        ("film.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("film.ts", {}),
        ("film.ogv", {"codec": "libvpx"}),
        ("film.mp4", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_a_whole_file_is_whole_and_the_same_file_without_its_end_is_cut(films, name, options):
    options = dict(options)
    made = films.make(
        name,
        codec=options.pop("codec", "libx264"),
        pixel_format=options.pop("pixel_format", "yuv420p"),
        container_options=options,
    ).read_bytes()
    assert not told(made)
    assert told(made[: len(made) * 6 // 10])


def test_an_mp4_without_its_index_is_cut():
    assert told(b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00" + b"\x00\x00\x00\x00mdat" + b"x" * 100)


def test_a_live_recorder_that_declared_no_length_tells_nothing(films):
    made = films.make("film.webm", codec="libvpx", container_options={"live": "1"}).read_bytes()
    assert not told(made)
    assert not told(made[: len(made) * 6 // 10])


def test_padding_behind_the_last_box_is_no_cut(films):
    made = films.make("film.mp4").read_bytes()
    assert not told(made + bytes(1000))
    assert not told(made + b"\xff" * 1000)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"RIFF", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x00", bytes(64)]
)
def test_of_anything_else_nothing_is_said(content):
    assert not told(content)
